"""Work of this room that one process of the installation does now and then."""

from accounts.background import Job
from billing.partitions import drop_old_months, ensure_partitions
from billing.refusals import forget_old
from billing.settling import free_expired


def keep_months() -> None:
    """Those to come are there before anybody needs them; those that need be kept no longer go."""
    ensure_partitions()
    drop_old_months()


JOBS = [
    Job("billing.partitions", 6 * 3600, keep_months),
    Job("billing.refusals", 24 * 3600, forget_old),
    Job("billing.reservations", 60, free_expired),
]
