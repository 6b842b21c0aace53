"""What can go wrong with billing.

BillingError
├── SpoolUnavailable   the spool's folder cannot be written; requests must be refused
│   └── SpoolFull      its disk has no room; a request may be held in memory and go straight to the log
├── LogUnavailable     the log cannot be written now, or not in time
├── SpoolCorrupt       a spool file cannot be read; it was put aside
├── LimitReached       a window of a team, a key or a member is full
├── TierMistake        an operator's mistake with a tier; `param` is the field
├── BadFleet           REDIS_URL is no address, or there is no client for it
├── FleetAway          Redis does not answer
├── MonthDropped       the log no longer has the month, by RETENTION_LOG
├── MonthNotClosable   a month that lasts cannot be closed, nor one that is closed; nor one opened that is open
├── BooksClosed        a change would move what a closed month has come to
├── UnknownZone        PostgreSQL does not know a time zone by this name
├── PriceMistake       a price that cannot be; `param` is the verb's word for what is wrong
├── AdjustmentMistake  a correction of a request that cannot be; `param` is the verb's word for what is wrong
├── PriceListMistakes  a list of prices of which nothing was taken; `lines` says why, by line
├── OverBudget         a call may cost more than a budget or credit has left
├── NoPrice            a call is to be paid in money and its model has no price
├── AddressRefused     a webhook leads where this server calls nobody; `reason` says why
├── TooManyWebhooks    a team has as many as it may have
├── AlreadyEntered     the form that adds to a credit has done so before
└── TooManyGroups      usage was asked for in more groups than one answer holds
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from billing.limits.windows import Standing


class BillingError(Exception):
    """The root of this room's errors."""


class SpoolUnavailable(BillingError):
    pass


class SpoolFull(SpoolUnavailable):
    pass


class LogUnavailable(BillingError):
    pass


class SpoolCorrupt(BillingError):
    pass


class BooksClosed(BillingError):
    pass


class UnknownZone(BillingError):
    pass


class LimitReached(BillingError):
    """`full` is the window, `wait` the seconds until a call fits into it, `standings` all of the caller's windows."""

    def __init__(self, full: "Standing", wait: float, standings: "list[Standing]") -> None:
        super().__init__(f"{full.rule.window.name} of {full.subject.name}")
        self.full, self.wait, self.standings = full, wait, standings


class TierMistake(BillingError):
    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message)
        self.message, self.param = message, param


class BadFleet(BillingError):
    pass


class FleetAway(BillingError):
    pass


class MonthDropped(BillingError):
    pass


class MonthNotClosable(BillingError):
    pass


class PriceMistake(BillingError):
    """`message` is for people, in their language."""

    def __init__(self, message: str, *, param: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class AdjustmentMistake(BillingError):
    """`message` is for people, in their language."""

    def __init__(self, message: str, *, param: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class PriceListMistakes(BillingError):
    """`lines` are the mistakes, each with the line of the file it was found in; 0: the file as a whole."""

    def __init__(self, lines: Sequence[tuple[int, str]]) -> None:
        super().__init__(f"{len(lines)} mistakes")
        self.lines = lines


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


class AddressRefused(BillingError):
    """`reason`: malformed, scheme, credentials, port, private, unknown, or known: it is there already."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TooManyWebhooks(BillingError):
    pass


class AlreadyEntered(BillingError):
    pass


class TooManyGroups(BillingError):
    pass
