"""The months of the log: each is a partition of its table, by when requests began, UTC."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta

from django.db import connection, transaction
from psycopg import sql

LOG = "billing_usage"
PARTITIONS_LOCK = 0x7E277A  # one maker of partitions at a time


def ensure_partitions(days: Iterable[date] = ()) -> None:
    """Make the log's partitions for this month, the next, and the months of these days, where they are missing."""
    today = datetime.now(UTC).date()
    wanted = {day.replace(day=1) for day in (today, next_month(today), *days)}
    if wanted <= set(months()):
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PARTITIONS_LOCK])
        for month in sorted(wanted - set(months())):
            for statement in _make_partition(month):
                cursor.execute(statement)


def months() -> list[date]:
    """The months that the log holds, by their first day."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'billing_usage'::regclass")
        return [datetime.strptime(name, "billing_usage_%Y_%m").date() for (name,) in cursor.fetchall()]  # noqa: DTZ007


def _make_partition(month: date) -> Iterator[sql.Composed]:
    """Attaching, unlike CREATE … PARTITION OF, waits for no reader and holds up no writer."""
    name, log = sql.Identifier(f"billing_usage_{month:%Y_%m}"), sql.Identifier(LOG)
    yield sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(name, log)
    yield sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
        log, name, sql.Literal(midnight(month).isoformat()), sql.Literal(midnight(next_month(month)).isoformat())
    )


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
