"""Work of this room that one process of the installation does now and then."""

from accounts.audit import forget_old
from accounts.background import Job

JOBS = [Job("accounts.forget_audit", 24 * 3600, forget_old)]
