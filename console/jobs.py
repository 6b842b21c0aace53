"""Background work: every room's JOBS, done by one leader of the installation.

The leader holds an advisory lock on a connection of its own; when it dies, PostgreSQL lets the lock go and another
process takes over. A job that fails is logged and tried again when it is next due.
"""

import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import psycopg
from django.db import DatabaseError, connections
from django.utils import timezone

from accounts.background import Job
from accounts.jobs import JOBS as ACCOUNTS
from billing.jobs import JOBS as BILLING
from chat.jobs import JOBS as CHAT
from console.listen import direct_address
from console.models import JobRun
from gateway.jobs import JOBS as GATEWAY

JOBS: list[Job] = [*ACCOUNTS, *BILLING, *GATEWAY, *CHAT]
LOCK = 0x7E27  # the leader's advisory lock
EVERY = 1.0  # seconds between two looks
RETRY = 2.0

logger = logging.getLogger(__name__)


class Jobs:
    """The thread that leads, or waits to lead."""

    def __init__(self, jobs: list[Job] = JOBS) -> None:
        self._jobs = jobs
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 10) -> None:
        self._stopping.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(psycopg.Error):  # the database is away; the LISTEN connection says so
                self._follow_or_lead()
            self._stopping.wait(RETRY)

    def _follow_or_lead(self) -> None:
        with psycopg.connect(**direct_address()) as own:
            while not self._stopping.wait(EVERY):
                row = own.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
                if row and row[0]:
                    self._lead(own)

    def _lead(self, own: psycopg.Connection) -> None:
        while not self._stopping.is_set():
            own.execute("SELECT 1")  # raises when the connection, and with it the lock, is gone
            try:
                self._run_due()
            except DatabaseError:
                logger.exception("The jobs could not be looked through")
            finally:
                connections.close_all()
            self._stopping.wait(EVERY)

    def _run_due(self) -> None:
        last = dict(JobRun.objects.values_list("name", "started_at"))
        for job in self._jobs:
            if not self._stopping.is_set() and is_due(job, last.get(job.name), timezone.now()):
                run(job)


def is_due(job: Job, last: datetime | None, now: datetime) -> bool:
    if last is None or now - last >= timedelta(seconds=job.every_seconds):
        return True
    return job.daily and last.astimezone(UTC).date() < now.astimezone(UTC).date()


def run(job: Job) -> None:
    """Do one job and write down how it went."""
    JobRun.objects.update_or_create(name=job.name, defaults={"started_at": timezone.now()})
    problem = ""
    try:
        job.run()
    except Exception as error:
        logger.exception("A job failed", extra={"job": job.name})
        problem = type(error).__name__
    JobRun.objects.filter(name=job.name).update(finished_at=timezone.now(), problem=problem)
