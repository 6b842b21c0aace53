"""Work of this room that one process of the installation does now and then."""

from accounts.background import Job
from billing.partitions import ensure_partitions
from billing.refusals import forget_old

JOBS = [
    Job("billing.partitions", 6 * 3600, ensure_partitions),
    Job("billing.refusals", 24 * 3600, forget_old),
]
