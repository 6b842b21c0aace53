"""The only writer of the log, and of its roll-ups as rows come in.

A batch of ended requests goes in by COPY and, in the same transaction, into the roll-ups, which are raised only by
the rows that were new: however often a record arrives, it counts once. Rows of a roll-up are locked in the order of
their keys, so that several processes can write at once.
"""

import json
import logging
from dataclasses import asdict
from functools import cache
from typing import Any

from django.db import DataError, IntegrityError, connection, transaction
from psycopg import sql

from billing.models import DeadLetter
from billing.partitions import ensure_partitions
from billing.records import Ended
from billing.rollups import grouped, levels, names, sums
from billing.rows import AT, COLUMNS, TYPES, Row, row, text

logger = logging.getLogger(__name__)

REFUSED = (DataError, IntegrityError)


def write(batch: list[Ended]) -> int:
    """Put ended requests into the log and the roll-ups. Returns how many were new.

    What the log refuses is set aside as a DeadLetter and holds up nothing else. Raises OperationalError when the
    database is away; nothing of the batch is written then.
    """
    if not batch:
        return 0
    try:
        return _insert([row(ended) for ended in batch])
    except REFUSED:
        logger.warning("a batch was refused and is written row by row", extra={"rows": len(batch)})
        return sum(map(_write_one, batch))


def book(adjustments: list[Row]) -> int:
    """Put adjustments, made in `billing.adjustments`, into the log and the roll-ups. Returns how many were new."""
    return _insert(adjustments)


def _insert(rows: list[Row]) -> int:
    ensure_partitions({at.date() for at in {one[AT] for one in rows}})
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # an unknown team is refused here, not at COMMIT
        cursor.execute("CREATE TEMP TABLE IF NOT EXISTS incoming (LIKE billing_usage) ON COMMIT DELETE ROWS")
        cursor.execute("TRUNCATE incoming")
        statement = sql.SQL("COPY incoming ({}) FROM STDIN (FORMAT BINARY)").format(COLUMNS)
        with connection.wrap_database_errors, cursor.copy(statement) as copy:
            copy.set_types(TYPES)
            for one in rows:
                copy.write_row(one)
        cursor.execute(_booking())
        return int(cursor.fetchone()[0])


def _write_one(ended: Ended) -> int:
    try:
        return _insert([row(ended)])
    except REFUSED as error:
        logger.error("a record was refused and set aside", extra={"request_id": str(ended.start.id)})  # noqa: TRY400 - the error quotes the row
        payload = json.loads(json.dumps(asdict(ended), default=str), object_hook=_holdable)
        DeadLetter.objects.get_or_create(
            id=ended.start.id, defaults={"payload": payload, "error": text(str(error), 2000)}
        )
        return 0


@cache
def _booking() -> sql.Composed:
    """Into the log, and from there only what was new into each level. One statement, so nothing comes between."""
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
        " quarters AS ({}), days AS ({}), platform_days AS ({}) SELECT count(*) FROM fresh"
    ).format(*raised, columns=COLUMNS)


def _holdable(record: dict[str, Any]) -> dict[str, Any]:
    return {name: text(value, 10_000) if isinstance(value, str) else value for name, value in record.items()}
