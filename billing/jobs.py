"""Work of this room that one process of the installation does now and then."""

from accounts.background import Job
from billing.partitions import ensure_partitions

JOBS = [Job("billing.partitions", 6 * 3600, ensure_partitions)]
