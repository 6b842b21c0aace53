"""From which rows a question is read: those of the period and of the one before, each at its place among the buckets.

Which rows these are is Django's to say. The rest would take it as long to write as PostgreSQL to carry out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet

from billing.models import RollUp
from billing.usage.buckets import Moment, edges, edges_before, instant
from billing.usage.comparing import cut, shift
from billing.usage.periods import DAY, Period
from billing.usage.questions import Compared, Question, days, quarters

# Of statements over roll-ups. Groups of a year, each with two histograms, would else be sorted on disk: 350 ms in place
# of 200. Workers and machine code take longer to begin than they save: two to four ms of a team's twelve.
_SETTINGS = {"work_mem": "32MB", "max_parallel_workers_per_gather": "0", "jit": "off"}


@contextmanager
def reader() -> Iterator[CursorWrapper]:
    """A cursor, in a transaction that has these settings."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("; ".join(f"SET LOCAL {name} = '{value}'" for name, value in _SETTINGS.items()))
        yield cursor


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of one level of roll-ups, the column that says when, and where the buckets begin in it."""

    table: str
    where: str
    params: tuple[Any, ...]
    when: str
    edges: list[Moment]
    earlier: bool  # of the days that the period is compared with
    tells_outcomes: bool

    @classmethod
    def of(cls, rows: QuerySet[Any], when: str, places: list[Moment], *, earlier: bool) -> Self:
        where, params = rows.query.get_compiler(connection=connection).compile(rows.query.where)
        level = rows.model
        return cls(level._meta.db_table, where, tuple(params), when, places, earlier, issubclass(level, RollUp))

    def select(self, columns: str, grouped: str) -> str:
        """Its rows as (place, earlier, …); `grouped` names what follows the place, all that is no sum."""
        kind = "date" if self.when == "day" else "timestamptz"
        return (
            f"(SELECT width_bucket({self.when}, %s::{kind}[]) - 1 AS place, {self.earlier} AS earlier, {columns}"  # noqa: S608  names of our own
            f" FROM {self.table} WHERE {self.where} GROUP BY 1, {grouped})"
        )

    @property
    def given(self) -> list[Any]:
        """The parameters of `select`."""
        return [self.edges, *self.params]


def sources(question: Question, begins: tuple[Moment, ...], now: datetime) -> list[Source]:
    """One of the period, and after it those of the days that it is compared with."""
    found = [_source(question, edges(question, begins), earlier=False)]
    if question.compared == Compared.NOT:
        return found
    back = shift(question)
    before = question.over(question.period.moved(-back))
    places = edges_before(question, begins, back)
    until = cut(question, back, now=now)
    return [*found, *(_before(before, places, until) if until else [_source(before, places, earlier=True)])]


def _before(question: Question, places: list[Moment], until: datetime) -> list[Source]:
    """Up to a moment, which only quarter hours can tell: of its day by these, of the days before as ever."""
    if question.by_quarters:
        return [Source.of(quarters(question).filter(bucket__lt=until), "bucket", places, earlier=True)]
    period, zone = question.period, question.period.zone
    day = until.astimezone(zone).date()
    begun = quarters(question.over(Period(day, day, zone))).filter(bucket__lt=until)
    found = [Source.of(begun, "bucket", [instant(place, period) for place in places], earlier=True)]
    if day > period.first:
        found.append(Source.of(days(question.over(Period(period.first, day - DAY, zone))), "day", places, earlier=True))
    return found


def _source(question: Question, places: list[Moment], *, earlier: bool) -> Source:
    if question.by_quarters:
        return Source.of(quarters(question), "bucket", places, earlier=earlier)
    return Source.of(days(question), "day", places, earlier=earlier)
