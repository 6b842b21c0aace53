"""What can go wrong with billing.

BillingError
├── SpoolUnavailable   the spool's folder cannot be written; requests must be refused
├── SpoolCorrupt       a spool file cannot be read; it was put aside
├── OverBudget         a call may cost more than a budget or credit has left
├── NoPrice            a call is to be paid in money and its model has no price
└── AlreadyEntered     the form that adds to a credit has done so before
"""

from datetime import date
from decimal import Decimal
from typing import Literal


class BillingError(Exception):
    """The root of this room's errors."""


class SpoolUnavailable(BillingError):
    pass


class SpoolCorrupt(BillingError):
    pass


class OverBudget(BillingError):
    """Amounts are tokens, or money in the installation's currency. `left` may be below 0: late rows count too.

    What running calls hold, `reserved`, is not left. `month` begins on its first day in the team's zone.
    """

    def __init__(
        self,
        *,
        whose: Literal["team", "key", "member"],
        credit: bool,
        money: bool,
        amount: Decimal,
        left: Decimal,
        reserved: Decimal,
        wanted: Decimal,
        month: date,
        time_zone: str,
    ) -> None:
        super().__init__(f"{whose}: {left} left, {wanted} wanted")
        self.whose, self.credit, self.money = whose, credit, money
        self.amount, self.left, self.reserved, self.wanted = amount, left, reserved, wanted
        self.month, self.time_zone = month, time_zone


class NoPrice(BillingError):
    pass


class AlreadyEntered(BillingError):
    pass
