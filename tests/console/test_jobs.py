"""Background work: one leader, jobs when they are due, and failures that are remembered."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts.background import Job
from console.jobs import JOBS, Jobs, is_due, run
from console.models import JobRun


def nothing() -> None:
    pass


def fail() -> None:
    raise ValueError("on purpose")


def test_a_job_is_due_when_its_time_has_passed() -> None:
    now = timezone.now()
    job = Job("test", 60, nothing)
    assert is_due(job, None, now)
    assert is_due(job, now - timedelta(seconds=60), now)
    assert not is_due(job, now - timedelta(seconds=59), now)


def test_a_daily_job_is_also_due_when_a_day_of_utc_has_begun() -> None:
    before, after = datetime(2026, 11, 24, 23, 59, 50, tzinfo=UTC), datetime(2026, 11, 25, 0, 0, 1, tzinfo=UTC)
    assert is_due(Job("test", 60, nothing, daily=True), before, after)
    assert not is_due(Job("test", 60, nothing), before, after)
    assert not is_due(Job("test", 60, nothing, daily=True), after, after + timedelta(seconds=10))


def test_every_jobs_name_is_its_own() -> None:
    assert len({job.name for job in JOBS}) == len(JOBS)


@pytest.mark.django_db
def test_a_run_is_written_down() -> None:
    run(Job("test", 60, nothing))
    kept = JobRun.objects.get(name="test")
    assert kept.problem == ""
    assert kept.finished_at is not None


@pytest.mark.django_db
def test_a_failure_is_written_down_and_stops_nobody() -> None:
    run(Job("test", 60, fail))
    assert JobRun.objects.get(name="test").problem == "ValueError"


@pytest.mark.django_db(transaction=True)
def test_of_two_processes_one_leads_and_the_other_follows_when_it_ends() -> None:
    done: list[str] = []
    first, second = (Jobs([Job("test", 0, lambda who=who: done.append(who))]) for who in ("first", "second"))  # type: ignore[misc]
    first.start()
    wait_until(lambda: "first" in done)
    second.start()
    before = len(done)
    wait_until(lambda: len(done) > before + 1)
    assert set(done) == {"first"}
    first.stop()
    wait_until(lambda: "second" in done)
    second.stop()


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
