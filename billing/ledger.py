"""The only writer of the log and its roll-ups, and the proof that the two agree.

A batch of ended requests goes in by COPY and, in the same transaction, into the roll-ups, which are raised only by
the rows that were new: however often a record arrives, it counts once. Rows of a roll-up are locked in the order of
their keys, so that several processes can write at once.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from django.db import DataError, IntegrityError, connection, transaction
from psycopg import sql

from billing.ids import moment
from billing.models import DeadLetter, UsageQuarter, UsageRecord
from billing.prices import cost
from billing.records import Ended
from billing.rollups import Level, grouped, levels, names, sums
from billing.settling import accounts_differing, settling

logger = logging.getLogger(__name__)

LOG = "billing_usage"
PARTITIONS_LOCK = 0x7E277A  # one maker of partitions at a time
REFUSED = (DataError, IntegrityError)
LAST_YEAR = 9998  # the one after must have a name too
MOST_TOKENS = 10**12  # of one request; its sums must fit a roll-up
LONGEST = 2**31 - 1  # milliseconds

type Row = tuple[Any, ...]


def write(batch: list[Ended]) -> int:
    """Put ended requests into the log and the roll-ups. Returns how many were new.

    What the log refuses is set aside as a DeadLetter and holds up nothing else. Raises OperationalError when the
    database is away; nothing of the batch is written then.
    """
    if not batch:
        return 0
    try:
        return _insert([_row(ended) for ended in batch])
    except REFUSED:
        logger.warning("a batch was refused and is written row by row", extra={"rows": len(batch)})
        return sum(map(_write_one, batch))


def ensure_partitions(months: Iterable[date] = ()) -> None:
    """Make the log's partitions for this month, the next, and the months of these days, where they are missing."""
    today = datetime.now(UTC).date()
    wanted = {day.replace(day=1) for day in (today, _next_month(today), *months)}
    if wanted <= set(_partitions()):
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PARTITIONS_LOCK])
        for month in sorted(wanted - set(_partitions())):
            for statement in _make_partition(month):
                cursor.execute(statement)


@transaction.atomic
def rebuild() -> None:
    """Make the roll-ups anew from the log; those of months that the log no longer has are kept. Writers wait."""
    with connection.cursor() as cursor:
        for level in levels():
            table, kept = sql.Identifier(level.table), _retained(level)
            cursor.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table))
            cursor.execute(sql.SQL("DELETE FROM {} WHERE {}").format(table, kept))
            cursor.execute(
                sql.SQL("INSERT INTO {} ({}) SELECT * FROM ({}) anew WHERE {}").format(
                    table, names(level), grouped(level, LOG), kept
                )
            )


@dataclass(frozen=True, slots=True)
class Difference:
    """How many groups of a level have other sums in the log than in the roll-up."""

    table: str
    groups: int


@dataclass(frozen=True, slots=True)
class AuditReport:
    rows: int
    differences: tuple[Difference, ...]
    dead_letters: int

    @property
    def agrees(self) -> bool:
        return not self.differences and not self.dead_letters


@transaction.atomic
def audit() -> AuditReport:
    """Compare the roll-ups with the log, for the months that are still in the log. One level is one snapshot."""
    found = [Difference(level.table, _differing(level)) for level in levels()]
    found.append(Difference("billing_budgetaccount", accounts_differing()))
    return AuditReport(
        rows=UsageRecord.objects.count(),
        differences=tuple(difference for difference in found if difference.groups),
        dead_letters=DeadLetter.objects.count(),
    )


def _insert(rows: list[Row]) -> int:
    ensure_partitions({at.date() for at in {row[AT] for row in rows}})
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # an unknown team is refused here, not at COMMIT
        cursor.execute("CREATE TEMP TABLE IF NOT EXISTS incoming (LIKE billing_usage) ON COMMIT DELETE ROWS")
        cursor.execute("TRUNCATE incoming")
        statement = sql.SQL("COPY incoming ({}) FROM STDIN (FORMAT BINARY)").format(_COLUMNS)
        with connection.wrap_database_errors, cursor.copy(statement) as copy:
            copy.set_types(_TYPES)
            for row in rows:
                copy.write_row(row)
        cursor.execute(_booking())
        return int(cursor.fetchone()[0])


def _write_one(ended: Ended) -> int:
    try:
        return _insert([_row(ended)])
    except REFUSED as error:
        logger.error("a record was refused and set aside", extra={"request_id": str(ended.start.id)})  # noqa: TRY400 - the error quotes the row
        payload = json.loads(json.dumps(asdict(ended), default=str), object_hook=_holdable)
        DeadLetter.objects.get_or_create(
            id=ended.start.id, defaults={"payload": payload, "error": _text(str(error), 2000)}
        )
        return 0


@cache
def _booking() -> sql.Composed:
    """Into the log, and from there only what was new into each level and the accounts of budgets and credit.

    One statement, so nothing comes between.
    """
    raised = [
        sql.SQL("INSERT INTO {table} ({names}) {grouped} ON CONFLICT ({keys}) DO UPDATE SET {sums}").format(
            table=sql.Identifier(level.table),
            names=names(level),
            grouped=grouped(level, "fresh"),
            keys=sql.SQL(", ").join(map(sql.Identifier, level.keys)),
            sums=sql.SQL(", ").join(
                sql.SQL("{name} = {table}.{name} + excluded.{name}").format(
                    name=sql.Identifier(name), table=sql.Identifier(level.table)
                )
                for name in sums()
            ),
        )
        for level in levels()
    ]
    return sql.SQL(
        "WITH fresh AS (INSERT INTO billing_usage ({columns}) SELECT {columns} FROM incoming"
        " ON CONFLICT (team_id, at, id) DO NOTHING RETURNING {columns}),"
        " {settling}, quarters AS ({}), days AS ({}), platform_days AS ({}) SELECT count(*) FROM fresh"
    ).format(*raised, columns=_COLUMNS, settling=settling())


def _differing(level: Level) -> int:
    """How many groups differ, each counted once from either side."""
    statement = sql.SQL(
        "WITH log AS (SELECT * FROM ({grouped}) anew WHERE {kept}),"
        " kept AS (SELECT {names} FROM {table} WHERE {kept})"
        " SELECT count(*) FROM (SELECT {keys} FROM (SELECT * FROM log EXCEPT SELECT * FROM kept) only_log"
        " UNION SELECT {keys} FROM (SELECT * FROM kept EXCEPT SELECT * FROM log) only_kept) differing"
    ).format(
        grouped=grouped(level, LOG),
        kept=_retained(level),
        names=names(level),
        keys=sql.SQL(", ").join(map(sql.Identifier, level.keys)),
        table=sql.Identifier(level.table),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.fetchone()[0])


def _retained(level: Level) -> sql.Composable:
    """The roll-ups that the log can still prove: all, or those after the months that have been dropped.

    A zone's first day may begin in a dropped month, so one day's margin is left.
    """
    oldest = min(_partitions(), default=None)
    earlier = oldest and UsageQuarter.objects.filter(bucket__lt=_midnight(oldest)).exists()
    if not oldest or not earlier:
        return sql.SQL("true")
    return sql.SQL("{} >= {}").format(sql.Identifier(level.period), sql.Literal(_midnight(oldest + timedelta(days=2))))


def _partitions() -> list[date]:
    """The months that the log holds, by their first day."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'billing_usage'::regclass")
        return [datetime.strptime(name, "billing_usage_%Y_%m").date() for (name,) in cursor.fetchall()]  # noqa: DTZ007


def _make_partition(month: date) -> Iterator[sql.Composed]:
    """Attaching, unlike CREATE … PARTITION OF, waits for no reader and holds up no writer."""
    name, log = sql.Identifier(f"billing_usage_{month:%Y_%m}"), sql.Identifier(LOG)
    yield sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(name, log)
    yield sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
        log, name, sql.Literal(_midnight(month).isoformat()), sql.Literal(_midnight(_next_month(month)).isoformat())
    )


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


# The columns of a row, in the order of `_columns`, and their types.
_SHAPE = {
    "id": "uuid", "team_id": "int8", "at": "timestamptz", "booked_at": "timestamptz", "origin": "varchar",
    "endpoint": "varchar", "stream": "bool", "key_id": "int8", "key_name": "varchar", "member_id": "int8",
    "member_name": "varchar", "end_user": "varchar", "model": "varchar", "engine": "varchar",
    "engine_type": "varchar", "machine": "varchar", "answer_id": "varchar", "client_request_id": "varchar",
    "prompt_tokens": "int8", "completion_tokens": "int8", "reasoning_tokens": "int8", "cached_tokens": "int8",
    "prompt_source": "varchar", "completion_source": "varchar", "anomaly": "varchar", "outcome": "varchar",
    "status": "int2", "ttft_ms": "int4", "duration_ms": "int4", "price_input": "numeric",
    "price_cached_input": "numeric", "price_output": "numeric", "price_reasoning": "numeric", "cost": "numeric",
}  # fmt: skip
_COLUMNS = sql.SQL(", ").join(map(sql.Identifier, _SHAPE))
_TYPES = list(_SHAPE.values())
AT = 2


def _row(ended: Ended) -> Row:
    """The log's columns. Raises DataError for what no column can hold, such as a moment that no calendar has."""
    try:
        return _columns(ended, moment(ended.start.at_ms))
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise DataError(str(error)) from error


def _columns(ended: Ended, at: datetime) -> Row:
    start, final = ended.start, ended.final
    counts, price = final.counts, start.price
    if at.year > LAST_YEAR:
        raise OverflowError(f"{at} is too far away")
    if max(counts.prompt_tokens, counts.completion_tokens) > MOST_TOKENS:
        raise OverflowError("more tokens than one request can have")
    if not -1 < final.status < 1000 or max(final.duration_ms, final.ttft_ms or 0) > LONGEST:
        raise OverflowError("a status or duration that no request has")
    return (
        start.id,
        start.team_id,
        at,
        at,
        _text(start.origin, 8),
        _text(start.endpoint, 32),
        start.stream,
        start.key_id,
        _text(start.key_name, 100),
        start.member_id,
        _text(start.member_name, 254),
        _text(start.end_user, 256),
        _text(start.model, 200),
        _text(final.engine, 100),
        _text(final.engine_type, 16),
        _text(final.machine, 100),
        _text(final.answer_id, 200),
        _text(start.client_request_id, 200),
        counts.prompt_tokens,
        counts.completion_tokens,
        counts.reasoning_tokens,
        counts.cached_tokens,
        counts.prompt_source,
        counts.completion_source,
        _text(counts.anomaly, 64),
        final.outcome,
        final.status,
        final.ttft_ms,
        final.duration_ms,
        price and price.input,
        price and price.cached_input,
        price and price.output,
        price and price.reasoning,
        price and cost(price, counts),
    )


def _holdable(record: dict[str, Any]) -> dict[str, Any]:
    return {name: _text(value, 10_000) if isinstance(value, str) else value for name, value in record.items()}


def _text(value: str, length: int) -> str:
    """What PostgreSQL can hold of a text: no NUL, no lone surrogate, not too long."""
    if value.isascii() and "\0" not in value:
        return value[:length]
    return value.replace("\0", "").encode("utf-8", "replace").decode()[:length]
