"""The only writer of the log, and of its roll-ups as rows come in.

A batch of ended requests goes in by COPY and, in the same transaction, into the roll-ups, which are raised only by
the rows that were new: however often a record arrives, it counts once. Rows of a roll-up are locked in the order of
their keys, so that several processes can write at once.
"""

import json
import logging
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

from django.db import DataError, IntegrityError, connection, transaction
from psycopg import sql

from accounts import audit
from accounts.models import User
from billing.budgets.settling import settling
from billing.errors import MonthDropped
from billing.ledger.months import hold_books
from billing.ledger.partitions import ensure_partitions
from billing.ledger.rollups import Level, grouped, levels, names, regrouped
from billing.ledger.rows import AT, COLUMNS, SHAPE, TYPES, Row, row, text
from billing.models import DeadLetter
from billing.records import Counts, Ended, Final, Start, UnitPrices

logger = logging.getLogger(__name__)

REFUSED = (DataError, IntegrityError, MonthDropped)


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


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of the dead letters: `new` in the log, `known` to it already, `refused` again."""

    new: int
    known: int
    refused: int


def retry_dead_letters(*, by: User | None) -> Retried:
    """Try again what the log once refused, each in a transaction of its own. What it takes is no dead letter any more.

    Raises OperationalError when the database is away; what was tried by then stays done.
    """
    found = Counter(_retry(key, by) for key in DeadLetter.objects.order_by("at").values_list("pk", flat=True))
    return Retried(new=found["new"], known=found["known"], refused=found["refused"])


@transaction.atomic
def give_up_dead_letter(*, key: UUID, by: User | None) -> None:
    """What can never go in is no alarm for ever. What it was stays in the audit. Raises DeadLetter.DoesNotExist."""
    letter = DeadLetter.objects.select_for_update().get(pk=key)
    start, final = (letter.payload.get(part) or {} for part in ("start", "final"))
    used = final.get("counts") or {}
    audit.record(
        "usage.dead_letter_given_up", by=by, team=None, subject=letter, error=letter.error,
        team_id=start.get("team_id"), model=start.get("model"), at_ms=start.get("at_ms"),
        prompt_tokens=used.get("prompt_tokens"), completion_tokens=used.get("completion_tokens"),
    )  # fmt: skip
    letter.delete()


def _retry(key: UUID, by: User | None) -> str:
    try:
        with transaction.atomic():
            letter = DeadLetter.objects.select_for_update(skip_locked=True).filter(pk=key).first()
            if letter is None:  # somebody else tries it
                return "passed"
            new = _insert([row(_ended(letter.payload))])
            audit.record("usage.dead_letter_logged", by=by, team=None, subject=letter, new=bool(new))
            letter.delete()
            return "new" if new else "known"
    except (*REFUSED, KeyError, TypeError, ValueError, ArithmeticError) as error:
        DeadLetter.objects.filter(pk=key).update(error=text(str(error), 2000))
        return "refused"


def _ended(payload: dict[str, Any]) -> Ended:
    """As `_write_one` wrote it down. Raises KeyError, TypeError, ValueError or ArithmeticError where it is damaged."""
    start, final = dict(payload["start"]), dict(payload["final"])
    price = start.pop("price")
    identity = UUID(start.pop("id"))
    return Ended(
        Start(
            **start,
            id=identity,
            price=price and UnitPrices(**{name: Decimal(value) for name, value in price.items()}),
        ),
        Final(**final | {"id": identity, "counts": Counts(**final["counts"])}),
    )


def book(adjustments: list[Row]) -> int:
    """Put adjustments (`billing.ledger.adjustments`) into the log and the roll-ups. Returns how many were new."""
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
        hold_books()
        cursor.execute(_booking())
        return int(cursor.fetchone()[0])


def _write_one(ended: Ended) -> int:
    try:
        return _insert([row(ended)])
    except REFUSED as error:
        logger.error("a record was refused and set aside", extra={"request_id": str(ended.start.id)})  # noqa: TRY400 - the error quotes the row
        payload = json.loads(json.dumps(_payload(ended), default=str), object_hook=_holdable)
        DeadLetter.objects.get_or_create(
            id=ended.start.id, defaults={"payload": payload, "error": text(str(error), 2000)}
        )
        return 0


# A row of a month that its team has closed is booked on the first instant that is open.
_BOOKED = sql.SQL(", ").join(
    sql.SQL("greatest(incoming.booked_at, books.closed_until)")  # which is null, and left out, where nothing is closed
    if name == "booked_at"
    else sql.Identifier("incoming", name)
    for name in SHAPE
)


@cache
def _booking() -> sql.Composed:
    """Into the log, and from there only what was new into each level and the accounts of budgets and credit.

    One statement, so nothing comes between. Rows are summed once, by quarter hours; the wider levels are sums of those.
    """
    quarters, *wider = levels()
    raised = [
        # PostgreSQL carries these out from the last to the first, and the widest has rows that all teams share: its
        # locks are held for the shortest time.
        *(_raised(level, regrouped(level, sql.Identifier("rolled"))) for level in reversed(wider)),
        _raised(quarters, sql.SQL("SELECT * FROM rolled")),
    ]
    return sql.SQL(
        "WITH fresh AS (INSERT INTO billing_usage ({columns}) SELECT {booked} FROM incoming"
        " LEFT JOIN billing_teambooks books ON books.team_id = incoming.team_id"
        " ON CONFLICT (team_id, at, id) DO NOTHING RETURNING {columns}),"
        " {settling}, rolled AS MATERIALIZED ({rolled}), {raised} SELECT count(*) FROM fresh"
    ).format(
        columns=COLUMNS,
        booked=_BOOKED,
        settling=settling(),
        rolled=grouped(quarters, sql.Identifier("fresh")),
        raised=sql.SQL(", ").join(raised),
    )


def _raised(level: Level, anew: sql.Composable) -> sql.Composed:
    """A CTE that adds to a level."""
    return sql.SQL("{name} AS (INSERT INTO {table} ({names}) {anew} ON CONFLICT ({keys}) DO UPDATE SET {sums})").format(
        name=sql.Identifier(f"raised_{level.table}"),
        table=sql.Identifier(level.table),
        names=names(level),
        anew=anew,
        keys=sql.SQL(", ").join(map(sql.Identifier, level.keys)),
        sums=sql.SQL(", ").join(
            sql.SQL("{name} = {table}.{name} + excluded.{name}").format(
                name=sql.Identifier(name), table=sql.Identifier(level.table)
            )
            for name in level.sums
        ),
    )


def _payload(ended: Ended) -> dict[str, Any]:
    """By names, which outlive the order of the fields."""
    start, final = ended
    price = start.price and start.price._asdict()
    return {
        "start": start._asdict() | {"price": price},
        "final": final._asdict() | {"counts": final.counts._asdict()},
    }


def _holdable(record: dict[str, Any]) -> dict[str, Any]:
    return {name: text(value, 10_000) if isinstance(value, str) else value for name, value in record.items()}
