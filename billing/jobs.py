"""Work of this room that one process of the installation does now and then."""

from accounts.background import Job
from billing.ledger import ensure_partitions
from billing.settling import free_expired

JOBS = [
    Job("billing.partitions", 6 * 3600, ensure_partitions),
    Job("billing.reservations", 60, free_expired),
]
