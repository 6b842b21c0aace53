"""Work of this room that one process of the installation does now and then."""

from accounts.background import Job
from billing.budgets.settling import free_expired
from billing.ledger.checks import EVERY, check_everything, check_recent
from billing.ledger.partitions import drop_old_months, ensure_partitions
from billing.ledger.refusals import forget_old


def keep_months() -> None:
    """Those to come are there before anybody needs them; those that need be kept no longer go."""
    ensure_partitions()
    drop_old_months()


JOBS = [
    Job("billing.partitions", 6 * 3600, keep_months),
    Job("billing.check", EVERY, check_recent),
    Job("billing.check_everything", 24 * 3600, check_everything),
    Job("billing.refusals", 24 * 3600, forget_old),
    Job("billing.reservations", 60, free_expired),
]
