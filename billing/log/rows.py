"""The log's rows under a question, newest first and a page at a time: by a place between two rows, never by an offset.

A page costs the same wherever it lies, and whatever is asked for. A filter that fits few rows would else read many in
vain: the roll-ups say in which quarters of an hour there are any, and only those are looked at.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol, Self
from uuid import UUID

from django.db import connection
from django.db.models import Sum
from psycopg import sql

from billing.models import Source
from billing.usage.questions import Question, quarters

PAGE = 50  # rows
QUARTERS = 128  # looked at in one statement
QUARTER = timedelta(minutes=15)
CLASSES = ("error", "stopped")  # outcomes as old roll-ups have them, several in one
EXACT = {Source.UPSTREAM, Source.UPSTREAM_PARTIAL, Source.NONE}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 1, 1, tzinfo=UTC)
_PLACE = re.compile(r"([0-9]{1,18})-([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class Place:
    """A row's place in the order of the log, which an address can hold: microseconds since the epoch, and the id."""

    at: datetime
    id: UUID

    def __str__(self) -> str:
        return f"{(self.at - EPOCH) // timedelta(microseconds=1)}-{self.id.hex}"

    @classmethod
    def read(cls, text: str) -> Self | None:
        """None for what is no place."""
        found = _PLACE.fullmatch(text)
        if found is None:
            return None
        microseconds = timedelta(microseconds=int(found[1]))
        return cls(EPOCH + microseconds, UUID(found[2])) if microseconds < LAST - EPOCH else None


@dataclass(frozen=True, slots=True)
class Window:
    """Which rows: those beyond `place` in one direction, or from the newest on."""

    place: Place | None = None
    newer: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the log. An adjustment `corrects` another, and has differences for its tokens and its cost."""

    id: UUID
    at: datetime
    booked_at: datetime
    origin: str
    endpoint: str
    stream: bool
    key_name: str
    member_name: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    prompt_source: str
    completion_source: str
    ttft_ms: int | None
    duration_ms: int
    cost: Decimal | None
    outcome: str
    status: int
    corrects: UUID | None
    reason: str

    @property
    def place(self) -> Place:
        return Place(self.at, self.id)

    @property
    def is_late(self) -> bool:
        return self.booked_at > self.at


class Placed(Protocol):
    @property
    def place(self) -> Place: ...


@dataclass(frozen=True, slots=True)
class Page[Row: Placed]:
    """`newer` and `older`: the places from which the neighbouring pages go on, None where there is nothing."""

    rows: tuple[Row, ...]
    newer: Place | None
    older: Place | None


COLUMNS = sql.SQL(", ").join(sql.Identifier("log", field.name) for field in fields(Entry))


def read_page(question: Question, window: Window = Window()) -> Page[Entry]:
    """Of a team's rows. Like all reports, they go by when a request was booked; their order is when it was made."""
    rows = [*_moved(question, window), *_in_time(question, window)]
    return cut(rows, window)


def cut[Row: Placed](rows: list[Row], window: Window) -> Page[Row]:
    """The page out of rows of the window, in any order, of which there is one more than a page where there are more."""
    rows.sort(key=lambda row: (row.place.at, row.place.id), reverse=not window.newer)
    shown, more = rows[:PAGE], len(rows) > PAGE
    if window.newer:
        shown.reverse()
    if not shown:
        return Page((), None, window.place if window.newer else None)
    back = window.place is not None
    newer, older = (more, back) if window.newer else (back, more)
    return Page(tuple(shown), shown[0].place if newer else None, shown[-1].place if older else None)


def conditions(question: Question) -> sql.Composed:
    """What the question asks of a row of the log, but for its time."""
    scope, filters = question.scope, question.filters
    found: list[sql.Composable] = []
    if scope.team is not None:
        found.append(sql.SQL("log.team_id = {}").format(sql.Literal(scope.team.pk)))
    for column, value in (("key_id", scope.key_id), ("member_id", scope.member_id)):
        if value is not None:
            found.append(sql.SQL("{} = {}").format(sql.Identifier("log", column), sql.Literal(value)))
    for column, values in filters.columns().items():
        if values:
            found.append(_any_of(column, values))
    return sql.SQL(" AND ").join(found)


def booked_within(question: Question) -> sql.Composed:
    begin, end = question.period.begin, question.period.end
    return sql.SQL("log.booked_at >= {} AND log.booked_at < {}").format(sql.Literal(begin), sql.Literal(end))


def _any_of(column: str, values: tuple[Any, ...]) -> sql.Composed:
    """The roll-ups say 0 for no key and nobody, the log null."""
    name = sql.Identifier("log", column)
    if column in {"key_id", "member_id"} and 0 in values:
        name = sql.SQL("coalesce({}, 0)").format(name)  # type: ignore[assignment]  # both are parts of a statement
    return sql.SQL("{} = ANY({})").format(name, sql.Literal(list(values)))


def _beyond(window: Window) -> sql.Composed:
    """The condition on `at` alone is for the partitions, which know no ids."""
    if window.place is None:
        return sql.SQL("true").format()
    form = "log.at >= {at} AND (log.at, log.id) > ({at}, {id})"
    if not window.newer:
        form = "log.at <= {at} AND (log.at, log.id) < ({at}, {id})"
    return sql.SQL(form).format(at=sql.Literal(window.place.at), id=sql.Literal(window.place.id))


def _order(window: Window) -> sql.Composed:
    form = "ORDER BY log.at, log.id LIMIT {}" if window.newer else "ORDER BY log.at DESC, log.id DESC LIMIT {}"
    return sql.SQL(form).format(sql.Literal(PAGE + 1))


def _moved(question: Question, window: Window) -> list[Entry]:
    """What is booked in the period though it was made at another time: late requests, and adjustments. Both are few,
    and each has an index of its own. They are found first and sorted then: to find them in order, PostgreSQL would
    look for them among all rows.
    """
    which = ("log.booked_at > log.at", "log.corrects IS NOT NULL AND log.booked_at <= log.at")
    parts = [
        sql.SQL("SELECT {columns} FROM billing_usage log WHERE {asked} AND {booked} AND {which} AND {beyond}").format(
            columns=COLUMNS,
            asked=conditions(question),
            booked=booked_within(question),
            which=sql.SQL(kind),
            beyond=_beyond(window),
        )
        for kind in which
    ]
    return _entries(
        sql.SQL("WITH found AS MATERIALIZED ({}) SELECT * FROM found log {}").format(
            sql.SQL(" UNION ALL ").join(parts), _order(window)
        )
    )


def _in_time(question: Question, window: Window) -> list[Entry]:
    """What was booked when it was made."""
    scope = question.scope
    if not question.filters and scope.key_id is None and scope.member_id is None:
        return _entries(_rows(question, window, made_within(question)))
    found: list[Entry] = []
    for some in _quarters(question, window):
        found += _entries(_rows_of_quarters(question, window, some))
        if len(found) > PAGE:
            break
    return found


def made_within(question: Question) -> sql.Composed:
    begin, end = question.period.begin, question.period.end
    return sql.SQL("log.at >= {} AND log.at < {}").format(sql.Literal(begin), sql.Literal(end))


def _quarters(question: Question, window: Window) -> Iterator[list[datetime]]:
    """Those that hold what is asked, in the window's direction, so many at a time that they should fill a page."""
    wide = replace(question, filters=replace(question.filters, outcomes=_with_classes(question.filters.outcomes)))
    rows = quarters(wide)
    if window.place is not None:
        here = window.place.at
        rows = rows.filter(bucket__gt=here - QUARTER) if window.newer else rows.filter(bucket__lte=here)
    order, beyond = ("bucket", "bucket__gt") if window.newer else ("-bucket", "bucket__lt")
    while True:
        counted = rows.values_list("bucket").annotate(number=Sum("requests")).order_by(order)
        some = list(counted[:QUARTERS])
        yield from _fillings(some)
        if len(some) < QUARTERS:
            return
        rows = rows.filter(**{beyond: some[-1][0]})


def _fillings(counted: list[tuple[datetime, int]]) -> Iterator[list[datetime]]:
    some, number = list[datetime](), 0
    for quarter, requests in counted:
        some.append(quarter)
        number += requests
        if number > PAGE:
            yield some
            some, number = [], 0
    if some:
        yield some


def _with_classes(outcomes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*outcomes, *CLASSES))) if outcomes else ()


def _rows_of_quarters(question: Question, window: Window, begins: list[datetime]) -> sql.Composed:
    """Of each quarter by itself: its rows lie together in the primary key."""
    time = sql.SQL("log.at >= quarter AND log.at < quarter + interval '15 minutes'").format()
    return sql.SQL("SELECT log.* FROM unnest({}::timestamptz[]) quarter, LATERAL ({}) log {}").format(
        sql.Literal(begins), _rows(question, window, time), _order(window)
    )


def _rows(question: Question, window: Window, time: sql.Composed) -> sql.Composed:
    return sql.SQL(
        "SELECT {columns} FROM billing_usage log"
        " WHERE {asked} AND {time} AND log.booked_at = log.at AND {beyond} {order}"
    ).format(columns=COLUMNS, asked=conditions(question), time=time, beyond=_beyond(window), order=_order(window))


def _entries(statement: sql.Composed) -> list[Entry]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [Entry(*row) for row in cursor.fetchall()]
