"""What can go wrong with billing.

BillingError
├── SpoolUnavailable   the spool's folder cannot be written; requests must be refused
├── SpoolCorrupt       a spool file cannot be read; it was put aside
├── MonthDropped       the log no longer has the month, by RETENTION_LOG
├── MonthNotClosable   a month that lasts cannot be closed, nor one that is closed; nor one opened that is open
├── PriceMistake       a price that cannot be; `param` is the verb's word for what is wrong
├── AdjustmentMistake  a correction of a request that cannot be; `param` is the verb's word for what is wrong
└── PriceListMistakes  a list of prices of which nothing was taken; `lines` says why, by line
"""

from collections.abc import Sequence


class BillingError(Exception):
    """The root of this room's errors."""


class SpoolUnavailable(BillingError):
    pass


class SpoolCorrupt(BillingError):
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
