"""Refused calls in PostgreSQL: the only writer of their two tables. Pages read them in `billing.usage.sections`.

Rows come from the spool, as those of the log do. A row that is there already raises no sum, so however often a file of
the spool is shipped, each refusal counts once.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import DataError, IntegrityError, connection, transaction
from django.utils import timezone
from psycopg import sql

from billing.ids import first_id, moment
from billing.ledger.rows import LAST_YEAR, text
from billing.models import Refusal as RefusalRow
from billing.records import Refusal

logger = logging.getLogger(__name__)

KEPT = timedelta(days=90)  # single rows; the sums stay
PORTION = 10_000  # rows that are deleted at once
REFUSED = (DataError, IntegrityError)

SHAPE = {
    "id": "uuid", "at": "timestamptz", "team_id": "int8", "origin": "varchar", "endpoint": "varchar", "key_id": "int8",
    "key_name": "varchar", "member_id": "int8", "member_name": "varchar", "model": "varchar", "code": "varchar",
    "reason": "varchar", "status": "int2", "count": "int8",
}  # fmt: skip
COLUMNS = sql.SQL(", ").join(map(sql.Identifier, SHAPE))
_RAISE = sql.SQL(
    "WITH fresh AS (INSERT INTO billing_refusal ({columns}) SELECT {columns} FROM incoming_refusals"
    " ON CONFLICT (id) DO NOTHING RETURNING *), raised AS ("
    "INSERT INTO billing_refusedquarter (team_id, bucket, key_id, member_id, origin, code, reason, status, count)"
    " SELECT team_id, date_bin('15 minutes', at, timestamptz '2000-01-01 00:00+00'), coalesce(key_id, 0),"
    " coalesce(member_id, 0), origin, code, reason, status, sum(count) FROM fresh"
    " GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8"
    " ON CONFLICT (team_id, bucket, key_id, member_id, origin, code, reason, status)"
    " DO UPDATE SET count = billing_refusedquarter.count + excluded.count) SELECT count(*) FROM fresh"
).format(columns=COLUMNS)

type Row = tuple[Any, ...]


def write(batch: list[Refusal]) -> int:
    """Returns how many rows were new. One that PostgreSQL cannot hold is left out, and holds up nothing else.

    Raises OperationalError when the database is away; nothing of the batch is written then.
    """
    if not batch:
        return 0
    try:
        return _insert([_row(one) for one in batch])
    except REFUSED:
        logger.warning("a batch of refusals is written row by row", extra={"rows": len(batch)})
        return sum(map(_write_one, batch))


def forget_old() -> None:
    """Single rows of long ago, a portion at a time. What they came to stays in the sums."""
    first_kept = first_id(timezone.now() - KEPT)
    while True:
        ids = list(RefusalRow.objects.filter(pk__lt=first_kept).values_list("pk", flat=True)[:PORTION])
        RefusalRow.objects.filter(pk__in=ids).delete()
        if len(ids) < PORTION:
            return


def differing() -> int:
    """How many quarters have another sum than the single rows, for as far back as those are whole."""
    since = timezone.now() - KEPT + timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH log AS (SELECT team_id, date_bin('15 minutes', at, timestamptz '2000-01-01 00:00+00') AS bucket,"
            " sum(count) AS count FROM billing_refusal WHERE at >= %(since)s GROUP BY 1, 2),"
            " kept AS (SELECT team_id, bucket, sum(count) AS count FROM billing_refusedquarter"
            " WHERE bucket >= %(since)s GROUP BY 1, 2)"
            " SELECT count(*) FROM log FULL JOIN kept USING (team_id, bucket)"
            " WHERE log.count IS DISTINCT FROM kept.count AND bucket >= %(since)s",
            {"since": since},
        )
        return int(cursor.fetchone()[0])


def _insert(rows: list[Row]) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE IF NOT EXISTS incoming_refusals (LIKE billing_refusal) ON COMMIT DELETE ROWS")
        cursor.execute("TRUNCATE incoming_refusals")
        statement = sql.SQL("COPY incoming_refusals ({}) FROM STDIN (FORMAT BINARY)").format(COLUMNS)
        with connection.wrap_database_errors, cursor.copy(statement) as copy:
            copy.set_types(list(SHAPE.values()))
            for row in rows:
                copy.write_row(row)
        cursor.execute(_RAISE)
        return int(cursor.fetchone()[0])


def _write_one(refusal: Refusal) -> int:
    try:
        return _insert([_row(refusal)])
    except REFUSED:
        logger.exception("a refusal was left out", extra={"request_id": str(refusal.id)})
        return 0


def _row(refusal: Refusal) -> Row:
    try:
        at: datetime = moment(refusal.at_ms)
    except (ValueError, OverflowError) as error:
        raise DataError(str(error)) from error
    if at.year > LAST_YEAR or not -1 < refusal.status < 1000:  # COPY would cut such a status without a word
        raise DataError("a moment or status that no refusal has")
    return (
        refusal.id,
        at,
        refusal.team_id,
        text(refusal.origin, 8),
        text(refusal.endpoint, 32),
        refusal.key_id,
        text(refusal.key_name, 100),
        refusal.member_id,
        text(refusal.member_name, 254),
        text(refusal.model, 200),
        text(refusal.code, 64),
        text(refusal.reason, 64),
        refusal.status,
        refusal.count,
    )
