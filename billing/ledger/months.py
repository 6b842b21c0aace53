"""Closing a team's months, so that what was billed for them stays as it was.

A request that reaches the log after its month was closed is booked on the first instant of the month that is open
(`UsageRecord.booked_at`); when it was made (`at`) never changes. Writers of the log hold `hold_books` shared, so
that a month is closed between two batches and never within one.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.utils import timezone

from accounts import audit
from accounts.models import AuditEntry, Team, User
from billing.errors import MonthNotClosable
from billing.models import TeamBooks

BOOKS_LOCK = 0x7E277B
LONGEST_REASON = 300  # characters


@transaction.atomic
def close_month(*, team: Team, month: date, by: User | None) -> datetime:
    """Closes the month of the team's calendar that this day lies in, and all before it. Returns until when.

    Raises MonthNotClosable while the month lasts, and when it is closed already.
    """
    hold_books_alone()
    if month.replace(day=1) >= timezone.now().astimezone(ZoneInfo(team.time_zone)).date().replace(day=1):
        raise MonthNotClosable(f"{month:%Y-%m} is not over.")
    until = _begin(_next(month), team)
    before = closed_until(team)
    if before and before >= until:
        raise MonthNotClosable(f"{month:%Y-%m} is closed already.")
    TeamBooks.objects.update_or_create(team=team, defaults={"closed_until": until})
    audit.record(
        "books.closed", by=by, team=team, subject=team, until=_said(until), before=_said(before) if before else None
    )
    return until


@transaction.atomic
def reopen_month(*, team: Team, month: date, by: User | None, reason: str) -> datetime:
    """Opens the month again, and all after it. What was booked later meanwhile stays where it is. Returns from when.

    Raises MonthNotClosable when it is open, and without a reason.
    """
    if not reason.strip():
        raise MonthNotClosable("Say why: the reason stays in the audit.")
    hold_books_alone()
    before, begin = closed_until(team), _begin(month.replace(day=1), team)
    if before is None or before <= begin:
        raise MonthNotClosable(f"{month:%Y-%m} is not closed.")
    TeamBooks.objects.filter(team=team).update(closed_until=begin)
    audit.record(
        "books.reopened",
        by=by,
        team=team,
        subject=team,
        until=_said(begin),
        before=_said(before),
        reason=reason.strip()[:LONGEST_REASON],
    )
    return begin


@dataclass(frozen=True, slots=True)
class Change:
    """The books were closed up to `until`, or opened from there on; before, they were closed up to `before`."""

    closed: bool
    at: datetime
    by: str
    until: datetime
    before: datetime | None
    reason: str


def changes(team: Team) -> list[Change]:
    """As far back as the audit is kept, newest first."""
    entries = AuditEntry.objects.filter(team=team, action__in=("books.closed", "books.reopened")).order_by("-at", "-pk")
    return [
        Change(
            closed=entry.action == "books.closed",
            at=entry.at,
            by=entry.actor_name,
            until=datetime.fromisoformat(entry.detail["until"]),
            before=datetime.fromisoformat(entry.detail["before"]) if entry.detail.get("before") else None,
            reason=entry.detail.get("reason", ""),
        )
        for entry in entries
    ]


def closing_of(end: datetime, changes: list[Change]) -> Change | None:
    """When a month that ends then was closed for the last time. None: it is open, or nobody knows any more."""
    for change in changes:
        if change.closed and change.until >= end and (change.before is None or change.before < end):
            return change
        if not change.closed and change.until < end:
            return None
    return None


def closed_until(team: Team) -> datetime | None:
    """None: no month was ever closed."""
    return TeamBooks.objects.filter(team=team).values_list("closed_until", flat=True).first()


def hold_books() -> None:
    """Until the transaction ends no month is closed or opened. What the next statement reads of the books holds."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [BOOKS_LOCK])


def hold_books_alone() -> None:
    """Until the transaction ends nothing is written to the log."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [BOOKS_LOCK])


def _begin(day: date, team: Team) -> datetime:
    return datetime.combine(day, time.min, ZoneInfo(team.time_zone))


def _next(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def _said(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
