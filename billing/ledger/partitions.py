"""The months of the log: each is a partition of its table, by when requests began, UTC.

They are made ahead, and dropped whole when RETENTION_LOG is over; roll-ups stay. Nothing here holds up writers:
a partition is attached, and detached concurrently, without a lock that they would wait for.
"""

import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from psycopg import sql

from billing.errors import MonthDropped
from billing.models import ThinMonth

logger = logging.getLogger(__name__)

LOG = "billing_usage"
PARTITIONS_LOCK = 0x7E277A  # one maker of partitions at a time


def ensure_partitions(days: Iterable[date] = ()) -> None:
    """Make the log's partitions for this month, the next, and the months of these days, where they are missing.

    Raises MonthDropped for a month that has been dropped: what comes so late may have been counted before, and
    nothing is left to tell.
    """
    today = datetime.now(UTC).date()
    wanted = {day.replace(day=1) for day in (today, next_month(today), *days)}
    if wanted <= set(months()):
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PARTITIONS_LOCK])
        missing = sorted(wanted - set(months()))
        if gone := ThinMonth.objects.filter(month__in=missing).exclude(dropped_at=None).first():
            raise MonthDropped(f"{gone} has been dropped from the log.")
        for month in missing:
            for statement in _make(month):
                cursor.execute(statement)


def months() -> list[date]:
    """The months that the log holds, by their first day; not those on their way out."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits"
            " WHERE inhparent = 'billing_usage'::regclass AND NOT inhdetachpending"
        )
        return [_month(name) for (name,) in cursor.fetchall()]


def drop_old_months(*, now: datetime | None = None) -> list[date]:
    """Drops the months that RETENTION_LOG no longer keeps, and returns them. 0 keeps all. Not inside a transaction."""
    kept: int = settings.ENVIRONMENT.retention_log_months
    _sweep()
    if not kept:
        return []
    oldest = months_before((now or timezone.now()).astimezone(UTC).date(), kept)
    dropped = sorted(month for month in months() if month < oldest)
    for month in dropped:
        _write_off(month)
        _detach(month)
        _sweep()
        logger.info("A month was dropped from the log", extra={"month": f"{month:%Y-%m}"})
    return dropped


def _write_off(month: date) -> None:
    """From now on the log proves neither this month nor those into which its late rows were booked."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PARTITIONS_LOCK])
        cursor.execute(
            sql.SQL(
                "SELECT DISTINCT date_trunc('month', booked_at AT TIME ZONE 'UTC')::date FROM {} WHERE booked_at > at"
            ).format(_name(month))
        )
        for (booked,) in cursor.fetchall():
            ThinMonth.objects.get_or_create(month=booked)
        ThinMonth.objects.update_or_create(month=month, defaults={"dropped_at": timezone.now()})


def _detach(month: date) -> None:
    """Waits for those who use the log at this moment; who comes meanwhile does not see the month, and does not wait."""
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("ALTER TABLE {} DETACH PARTITION {} CONCURRENTLY").format(sql.Identifier(LOG), _name(month))
        )


def _sweep() -> None:
    """Brings to its end what a killed process left half done, and removes what is detached."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits"
            " WHERE inhparent = 'billing_usage'::regclass AND inhdetachpending"
        )
        for (name,) in cursor.fetchall():
            cursor.execute(
                sql.SQL("ALTER TABLE {} DETACH PARTITION {} FINALIZE").format(sql.Identifier(LOG), sql.Identifier(name))
            )
        attached = set(months())
        for month in ThinMonth.objects.exclude(dropped_at=None).values_list("month", flat=True):
            if month not in attached:
                cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_name(month)))


def _make(month: date) -> Iterator[sql.Composed]:
    """Attaching, unlike CREATE … PARTITION OF, waits for no reader and holds up no writer."""
    log = sql.Identifier(LOG)
    yield sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(_name(month), log)
    yield sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
        log,
        _name(month),
        sql.Literal(midnight(month).isoformat()),
        sql.Literal(midnight(next_month(month)).isoformat()),
    )


def _name(month: date) -> sql.Identifier:
    return sql.Identifier(f"billing_usage_{month:%Y_%m}")


def _month(name: str) -> date:
    return datetime.strptime(name, "billing_usage_%Y_%m").date()  # noqa: DTZ007


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def months_before(day: date, number: int) -> date:
    """The first day of the month that lies so many months before this day's."""
    place = day.year * 12 + day.month - 1 - number
    return date(place // 12, place % 12 + 1, 1)
