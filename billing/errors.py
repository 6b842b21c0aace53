"""What can go wrong with billing.

BillingError
├── SpoolUnavailable   the spool's folder cannot be written; requests must be refused
├── SpoolCorrupt       a spool file cannot be read; it was put aside
├── LimitReached       a window of a team, a key or a member is full
├── TierMistake        an operator's mistake with a tier; `param` is the field
├── BadFleet           REDIS_URL is no address, or there is no client for it
└── FleetAway          Redis does not answer
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from billing.windows import Standing


class BillingError(Exception):
    """The root of this room's errors."""


class SpoolUnavailable(BillingError):
    pass


class SpoolCorrupt(BillingError):
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
