"""The roll-ups of a question, read in one scan: by bucket, by series, by both, and in all, with the days before.

Django writes the part that reads the table and knows the filters; what is made of it stands in SQL below, since
neither grouping sets nor a rank over a sum can be said otherwise. Groups are few, rows are many: the second pass over
the groups costs little, and histograms, the dearest of the sums, are added up over rows once.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from billing.models import ENDED_WELL, RollUp
from billing.usage.buckets import Moment, edges, edges_before, instant
from billing.usage.comparing import cut, shift
from billing.usage.periods import DAY, Period
from billing.usage.questions import COLUMNS, Compared, Group, Metric, Question, days, quarters
from billing.usage.sums import NAMES, NONE, OF_TYPES, SUMMED, UNMEASURED, UNTOLD, Costs, Latency, Sums

# Of the statement below. Groups of a year, each with two histograms, would else be sorted on disk: 350 ms in place of
# 200. Workers and machine code take longer to begin than they save: two to four ms of a team's twelve.
_SETTINGS = {"work_mem": "32MB", "max_parallel_workers_per_gather": "0", "jit": "off"}
SHOWN = 50  # series of their own; the rest are "others"
DRAWN = 7  # of them, those that a chart tells apart; of the rest it needs no sums by bucket
WEIGHTS = {
    Metric.TOKENS: "sum_prompt_tokens + sum_completion_tokens",
    Metric.REQUESTS: "sum_requests",
    Metric.COST: "sum_cost",
}


@dataclass(slots=True)
class Found:
    """One series: its sums by place and in all, of the period and of the one before, and when it was last used."""

    buckets: dict[int, Sums] = field(default_factory=dict)
    total: Sums = NONE
    before: Sums = NONE
    latency: Latency = UNMEASURED
    last: Moment | None = None


@dataclass(slots=True)
class Reading:
    """`series` by the value that filters for it; None holds what is not among the first `SHOWN`.

    Costs by type of tokens are those that were asked for: else there are none.
    """

    series: dict[str | None, Found] = field(default_factory=dict)
    buckets: dict[int, Sums] = field(default_factory=dict)
    buckets_before: dict[int, Sums] = field(default_factory=dict)
    latencies: dict[int, Latency] = field(default_factory=dict)
    costs: dict[int, Costs] = field(default_factory=dict)
    total: Sums = NONE
    before: Sums = NONE
    total_costs: Costs = UNTOLD
    costs_before: Costs = UNTOLD
    latency: Latency = UNMEASURED
    latency_before: Latency = UNMEASURED


EMPTY = "''::text"
_ERRORS = "coalesce(sum(requests) FILTER (WHERE outcome NOT IN ({})), 0)".format(  # levels that tell outcomes apart
    ", ".join(f"'{outcome}'" for outcome in ENDED_WELL)
)
_READ = """
WITH part AS MATERIALIZED ({parts}),
ranked AS (
    SELECT series, row_number() OVER (
        ORDER BY coalesce(sum({weight}) FILTER (WHERE NOT earlier), 0) DESC, sum({weight}) DESC, series
    ) AS rank FROM part GROUP BY series
),
named AS (
    SELECT part.*, CASE WHEN rank <= {shown} THEN part.series::text END AS name,
        CASE WHEN rank <= {drawn} THEN part.series::text END AS bar
    FROM part JOIN ranked USING (series)
)
SELECT earlier, place, coalesce(name, bar), grouping(place) = 0, grouping(name, bar) < 3, max(last),
    CASE WHEN grouping(bar) = 1 THEN sum(sum_ttft)::text END,
    {sums}
FROM named GROUP BY GROUPING SETS ((earlier, place, bar), (earlier, place), (earlier, name), (earlier))
HAVING NOT (earlier AND grouping(bar) = 0)
"""  # `grouping` is a number of bits, one where the column was added up over. Histograms as text: psycopg's Decimals of
# a thousand digits take two milliseconds each to become numbers.


def read(
    question: Question, begins: tuple[Moment, ...], *, now: datetime, drawn: int = SHOWN, costs: bool = False
) -> Reading:
    """`drawn`: of how many series the sums by bucket are wanted. Those of the rest are under None.

    `costs`: whether those by type of tokens are wanted.
    """
    of_types = OF_TYPES if costs else ()
    parts = [_part(table, question.group, of_types) for table in _tables(question, begins, now)]
    statement = _READ.format(
        parts=" UNION ALL ".join(f"({sql})" for sql, _ in parts),
        weight=WEIGHTS[question.metric],
        shown=SHOWN,
        drawn=drawn,
        sums=", ".join(map(_added, (*NAMES, *of_types))),
    )
    reading = Reading()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("; ".join(f"SET LOCAL {name} = '{value}'" for name, value in _SETTINGS.items()))
        cursor.execute(statement, [param for _, params in parts for param in params])
        for row in cursor.fetchall():
            _take(reading, row)
    return reading


def _added(name: str) -> str:
    return f"sum(sum_{name})" if name == "cost" or name in OF_TYPES else f"sum(sum_{name})::bigint"


def _take(reading: Reading, row: tuple[Any, ...]) -> None:
    earlier, place, name, by_place, by_name, last, ttft, *numbers = row
    sums, costs = Sums(*numbers[: len(NAMES)]), Costs(*numbers[len(NAMES) :])
    latency = Latency(ttft or 0)
    match earlier, by_place, by_name:
        case False, True, True:
            reading.series.setdefault(name, Found()).buckets[place] = sums
        case False, True, False:
            reading.buckets[place], reading.costs[place], reading.latencies[place] = sums, costs, latency
        case True, True, False:
            reading.buckets_before[place] = sums
        case False, False, True:
            found = reading.series.setdefault(name, Found())
            found.total, found.latency, found.last = sums, latency, last
        case True, False, True:
            reading.series.setdefault(name, Found()).before = sums
        case False, False, False:
            reading.total, reading.total_costs, reading.latency = sums, costs, latency
        case _:
            reading.before, reading.costs_before, reading.latency_before = sums, costs, latency


@dataclass(frozen=True, slots=True)
class Active:
    """How many different values of each group there were, in the period, in each bucket, and in the period before."""

    groups: tuple[Group, ...]
    now: tuple[int, ...]
    before: tuple[int, ...]
    buckets: dict[int, tuple[int, ...]]


_NOBODY = {Group.KEY: "0", Group.MEMBER: "0", Group.TEAM: "0", Group.MODEL: "''"}
_COUNT = """
SELECT earlier, place, grouping(place) = 0, {counts} FROM ({parts}) part
GROUP BY GROUPING SETS ((earlier, place), (earlier))
"""


def active(question: Question, begins: tuple[Moment, ...], *, now: datetime) -> Active:
    """What is nobody (the chat's missing key, a service key's missing owner) is not counted."""
    groups = question.scope.counted
    if question.scope.team is not None:
        return _active(question, groups, begins, now)
    # The platform's levels that tell teams are not those that tell models, but for one that has too many rows.
    apart = [_active(replace(question, group=group), (group,), begins, now) for group in groups]
    places = {place for one in apart for place in one.buckets}
    return Active(
        groups,
        tuple(one.now[0] for one in apart),
        tuple(one.before[0] for one in apart),
        {place: tuple(one.buckets.get(place, (0,))[0] for one in apart) for place in places},
    )


def _active(question: Question, groups: tuple[Group, ...], begins: tuple[Moment, ...], now: datetime) -> Active:
    wanted = ", ".join(COLUMNS[group] for group in groups)
    parts = [_select(table, wanted, f"1, {wanted}") for table in _tables(question, begins, now)]
    counts = ", ".join(f"count(DISTINCT nullif({COLUMNS[group]}, {_NOBODY[group]}))" for group in groups)
    nothing = (0,) * len(groups)
    found: dict[bool, tuple[int, ...]] = {False: nothing, True: nothing}
    buckets = {}
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNT.format(counts=counts, parts=" UNION ALL ".join(f"({sql})" for sql, _ in parts)),
            [param for _, params in parts for param in params],
        )
        for earlier, place, by_place, *numbers in cursor.fetchall():
            if not by_place:
                found[earlier] = tuple(numbers)
            elif not earlier:
                buckets[place] = tuple(numbers)
    return Active(groups, found[False], found[True], buckets)


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows of one level of roll-ups, the column that says when, and where the buckets begin in it."""

    rows: QuerySet[Any]
    when: str
    edges: list[Moment]
    earlier: bool

    @property
    def kind(self) -> str:
        """The column's type in PostgreSQL."""
        return "date" if self.when == "day" else "timestamptz"


def _tables(question: Question, begins: tuple[Moment, ...], now: datetime) -> list[_Table]:
    """The rows of the period, and of the one it is compared with."""
    tables = [_table(question, edges(question, begins), earlier=False)]
    if question.compared == Compared.NOT:
        return tables
    back = shift(question)
    before = question.over(question.period.moved(-back))
    places = edges_before(question, begins, back)
    until = cut(question, back, now=now)
    return [*tables, *(_before(before, places, until) if until else [_table(before, places, earlier=True)])]


def _before(question: Question, places: list[Moment], until: datetime) -> list[_Table]:
    """Up to a moment, which only quarter hours can tell: of its day by these, of the days before as ever."""
    if question.by_quarters:
        return [_Table(quarters(question).filter(bucket__lt=until), "bucket", places, earlier=True)]
    period, zone = question.period, question.period.zone
    day = until.astimezone(zone).date()
    begun = quarters(question.over(Period(day, day, zone))).filter(bucket__lt=until)
    tables = [_Table(begun, "bucket", [instant(place, period) for place in places], earlier=True)]
    if day > period.first:
        tables.append(_Table(days(question.over(Period(period.first, day - DAY, zone))), "day", places, earlier=True))
    return tables


def _table(question: Question, places: list[Moment], *, earlier: bool) -> _Table:
    if question.by_quarters:
        return _Table(quarters(question), "bucket", places, earlier)
    return _Table(days(question), "day", places, earlier)


def _part(table: _Table, group: Group, of_types: tuple[str, ...]) -> tuple[str, list[Any]]:
    columns = ", ".join((
        f"{COLUMNS.get(group, EMPTY)} AS series",
        "NULL AS last" if table.earlier else f"max({table.when}) AS last",
        "sum(ttft) AS sum_ttft",
        *(f"sum({name}) AS sum_{name}" for name in (*SUMMED, *of_types)),
        f"{_ERRORS if issubclass(table.rows.model, RollUp) else 'sum(errors)'} AS sum_errors",
    ))  # fmt: skip
    return _select(table, columns, "1, series")


def _select(table: _Table, columns: str, grouped: str) -> tuple[str, list[Any]]:
    """The rows by their place among the edges and by other columns.

    Which rows these are is Django's to say. The rest would take it as long to write as PostgreSQL to carry out.
    """
    compiler = table.rows.query.get_compiler(connection=connection)
    where, given = compiler.compile(table.rows.query.where)
    statement = (
        f"SELECT width_bucket({table.when}, %s::{table.kind}[]) - 1 AS place, {table.earlier} AS earlier, {columns}"  # noqa: S608  names of our own
        f" FROM {table.rows.model._meta.db_table} WHERE {where} GROUP BY {grouped}"
    )
    return statement, [table.edges, *given]
