"""What can go wrong with billing.

BillingError
├── SpoolUnavailable   the spool's folder cannot be written; requests must be refused
├── SpoolCorrupt       a spool file cannot be read; it was put aside
├── MonthDropped       the log no longer has the month, by RETENTION_LOG
└── MonthNotClosable   a month that lasts cannot be closed, nor one that is closed; nor one opened that is open
"""


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
