"""What can go wrong with billing.

BillingError
├── SpoolUnavailable   the spool's folder cannot be written; requests must be refused
└── SpoolCorrupt       a spool file cannot be read; it was put aside
"""


class BillingError(Exception):
    """The root of this room's errors."""


class SpoolUnavailable(BillingError):
    pass


class SpoolCorrupt(BillingError):
    pass
