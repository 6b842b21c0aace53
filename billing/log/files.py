"""The log as files: one line a request, oldest first, written by PostgreSQL itself.

A file is made a portion at a time, each a statement of its own and some thousands of rows. So memory is bounded, no
transaction and no connection is held while a slow reader takes his time, and who leaves ends it: nothing more is asked.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any, LiteralString

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import Sum
from psycopg import sql

from accounts.database import in_database
from billing.log.rows import QUARTER, booked_within, conditions
from billing.models import Source
from billing.usage.questions import Question, quarters

PORTION = 10_000  # rows, about: two or three megabytes
AT_ONCE = 2  # portions made at the same time: the database's threads are there for other calls too


class Form(StrEnum):
    CSV = "csv"
    NDJSON = "ndjson"
    JSON = "json"  # the lines of NDJSON in one array


CONTENT_TYPES = {
    Form.CSV: "text/csv; charset=utf-8",
    Form.NDJSON: "application/x-ndjson",
    Form.JSON: "application/json",
}

_OWN = sql.SQL(", ").join(map(sql.Literal, (Source.UPSTREAM, Source.UPSTREAM_PARTIAL, Source.NONE)))
_TIME = "to_char(log.{}, 'YYYY-MM-DD\"T\"HH24:MI:SS.MSTZH:TZM')"
# The columns of a file, each by what makes it. `estimated` marks rows whose tokens are not all an engine's own count.
FIELDS = {
    "request_id": "log.id",
    "at": _TIME.format("at"),
    "key": "log.key_name",
    "member": "log.member_name",
    "model": "log.model",
    "engine": "log.engine",
    "origin": "log.origin",
    "stream": "log.stream",
    "prompt_tokens": "log.prompt_tokens",
    "completion_tokens": "log.completion_tokens",
    "reasoning_tokens": "log.reasoning_tokens",
    "cached_tokens": "log.cached_tokens",
    "prompt_source": "log.prompt_source",
    "completion_source": "log.completion_source",
    "outcome": "log.outcome",
    "status": "log.status",
    "ttft_ms": "log.ttft_ms",
    "duration_ms": "log.duration_ms",
    "cost": "trim_scale(log.cost)::text",
    "estimated": "NOT (log.prompt_source IN ({own}) AND log.completion_source IN ({own}))",
    "booked_at": _TIME.format("booked_at"),
    "corrects": "log.corrects",
    "reason": "log.reason",
    "adjusted_by": "log.adjusted_by",
}
# What others have written. A spreadsheet reads a text that begins so as a formula; the apostrophe says text.
FREE = {"key", "member", "model", "engine", "reason", "adjusted_by"}
_GUARDED = (
    "CASE WHEN left({0}, 1) IN ('=', '+', '-', '@', E'\\t', E'\\r', E'\\n') THEN '''' || {0} ELSE nullif({0}, '') END"
)
_FLAGS = {"stream", "estimated"}
# As CSV with marks that JSON never holds, since in any other format COPY would write JSON's backslashes twice.
_BARE = r"(FORMAT csv, DELIMITER E'\x02', QUOTE E'\x01')"


def lines(question: Question, form: Form) -> Iterator[bytes]:
    """The file, a portion at a time. The times in it are of the period's zone, with their offset."""
    yield _head(form)
    began = False
    for part in _parts(question):
        if portion := _copied(question, form, part):
            yield _joined(portion, form, first=not began)
            began = True
    yield _foot(form)


async def lines_async(question: Question, form: Form) -> AsyncIterator[bytes]:
    """The same for the event loop: each portion is made in a thread, once the one before was taken."""
    yield _head(form)
    began = False
    for part in await _in_turn(_parts, question):
        if portion := await _in_turn(_copied, question, form, part):
            yield _joined(portion, form, first=not began)
            began = True
    yield _foot(form)


_places = asyncio.Semaphore(AT_ONCE)


async def _in_turn[**P, R](work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    async with _places:
        return await in_database(work, *args, **kwargs)


def records(question: Question) -> Iterator[dict[str, Any]]:
    """The lines, read."""
    for portion in lines(question, Form.NDJSON):
        yield from map(json.loads, portion.splitlines())


# What was made outside the period and booked in it, named as its index has it.
LATE, ADJUSTMENTS = "log.booked_at > log.at", "log.corrects IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Part:
    """When the requests of a portion were made: from `begin` on, if there is one, and before `end`, if there is one.

    `only`: which of them, in SQL.
    """

    begin: datetime | None
    end: datetime | None
    only: LiteralString = "true"


def _parts(question: Question) -> list[Part]:
    """All of time in order. What was made outside the period and booked in it is late, or an adjustment.

    The roll-ups say how many rows a quarter of an hour has; a quarter with very many is cut evenly.
    """
    begin, end = question.period.begin, question.period.end
    edges, held = [begin], 0
    counted = quarters(question).values_list("bucket").annotate(number=Sum("requests")).order_by("bucket")
    for bucket, requests in counted:
        if held and held + requests > PORTION:
            edges.append(bucket)
            held = 0
        pieces = requests // PORTION + 1
        edges += [bucket + QUARTER * piece / pieces for piece in range(1, pieces)]
        held += requests // pieces
    edges = [edge for edge in dict.fromkeys(edges) if edge < end]
    inside = [Part(edge, until) for edge, until in zip(edges, [*edges[1:], end], strict=True)]
    late, adjustments = Part(None, begin, LATE), Part(end, None, ADJUSTMENTS)
    return [*_portions(question, late), *inside, *_portions(question, adjustments)]


def _portions(question: Question, part: Part) -> list[Part]:
    """Of what no roll-up counts by the time at which it was made: mostly few, many where a spool was kept for long."""
    statement = sql.SQL(
        "SELECT at FROM (SELECT log.at, row_number() OVER (ORDER BY log.at, log.id) AS number FROM billing_usage log"
        " WHERE {} AND {} AND {}) found WHERE number % {} = 0 ORDER BY number"
    ).format(conditions(question), booked_within(question), _made(part), sql.Literal(PORTION))
    with connection.cursor() as cursor:
        cursor.execute(statement)
        edges = list(dict.fromkeys(at for (at,) in cursor.fetchall()))
    return [Part(begin, end, part.only) for begin, end in pairwise([part.begin, *edges, part.end])]


def _copied(question: Question, form: Form, part: Part) -> bytes:
    columns = _COLUMNS[form]
    row = sql.SQL("SELECT row_to_json(line) FROM ({}) line") if form != Form.CSV else sql.SQL("{}")
    asked = sql.SQL("SELECT {} FROM billing_usage log WHERE {} AND {} AND {} ORDER BY log.at, log.id").format(
        columns, conditions(question), booked_within(question), _made(part)
    )
    form_of_copy = sql.SQL("(FORMAT csv)" if form == Form.CSV else _BARE)
    statement = sql.SQL("COPY ({}) TO STDOUT {}").format(row.format(asked), form_of_copy)
    with transaction.atomic(), connection.cursor() as cursor:
        _speak_times_of(question.period.zone.key, cursor)
        with connection.wrap_database_errors, cursor.copy(statement) as copy:
            copied = b"".join(copy)
        _speak_times_of(str(connection.timezone_name), cursor)  # Django reads every time as of this one
        return copied


def _speak_times_of(zone: str, cursor: CursorWrapper) -> None:
    """Until the transaction ends."""
    cursor.execute("SELECT set_config('TimeZone', %s, true)", [zone])


def _made(part: Part) -> sql.Composed:
    asked = [sql.SQL(part.only).format()]
    if part.begin is not None:
        asked.append(sql.SQL("log.at >= {}").format(sql.Literal(part.begin)))
    if part.end is not None:
        asked.append(sql.SQL("log.at < {}").format(sql.Literal(part.end)))
    return sql.SQL(" AND ").join(asked)


def _head(form: Form) -> bytes:
    return {Form.CSV: (",".join(FIELDS) + "\n").encode(), Form.JSON: b"[\n"}.get(form, b"")


def _foot(form: Form) -> bytes:
    return b"\n]\n" if form == Form.JSON else b""


def _joined(portion: bytes, form: Form, *, first: bool) -> bytes:
    """JSON parts lines by commas; no text in JSON holds the end of a line."""
    if form != Form.JSON:
        return portion
    return (b"" if first else b",\n") + portion.rstrip(b"\n").replace(b"\n", b",\n")


def _columns(form: Form) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(_expression(name, made, form), sql.Identifier(name)) for name, made in FIELDS.items()
    )


def _expression(name: str, made: str, form: Form) -> sql.Composable:
    if form == Form.CSV and name in FREE:
        return sql.SQL(_GUARDED.format(made))
    written = sql.SQL(made).format(own=_OWN) if name == "estimated" else sql.SQL(made)
    return sql.SQL("({})::text").format(written) if form == Form.CSV and name in _FLAGS else written


_COLUMNS = {form: _columns(form) for form in Form}
