"""The roll-ups of a question, read in one scan: by bucket, by series, by both, and in all, with the days before.

Django writes which rows these are (`sources`). What is made of them stands in SQL below, since neither grouping sets
nor a rank over a sum can be said otherwise. Groups are few, rows are many: the second pass over the groups is cheap,
and histograms, the dearest of the sums, are added up over rows once.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.db.backends.utils import CursorWrapper

from billing.models import ENDED_WELL
from billing.usage.buckets import Moment
from billing.usage.questions import COLUMNS, Group, Metric, Question
from billing.usage.sources import Source, reader, sources
from billing.usage.sums import NAMES, NONE, OF_TYPES, SUMMED, UNMEASURED, UNTOLD, Costs, Latency, Sums

SHOWN = 50  # series of their own; the rest are "others"
DRAWN = 7  # of them, those that a chart tells apart; of the rest it needs no sums by bucket
MEASURED = {  # what a metric is the sum of
    Metric.TOKENS: ("prompt_tokens", "completion_tokens"),
    Metric.REQUESTS: ("requests",),
    Metric.COST: ("cost",),
}


@dataclass(slots=True)
class Found:
    """One series: its sums by place and in all, of the period and of the one before, and when it was last used.

    `bars` is what is measured by place, in place of `buckets`, for who asked for no more.
    """

    buckets: dict[int, Sums] = field(default_factory=dict)
    bars: dict[int, float] = field(default_factory=dict)
    total: Sums = NONE
    before: Sums = NONE
    latency: Latency = UNMEASURED
    last: Moment | None = None


@dataclass(slots=True)
class Active:
    """How many different values of a group there were, in the period, in each of its places, and in the days before.

    What is nobody (the chat's missing key, a service key's missing owner) is not counted.
    """

    now: int = 0
    before: int = 0
    buckets: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Reading:
    """`series` by the value that filters for it; None holds what is not among the first `SHOWN`.

    Costs by type of tokens are those that were asked for: else there are none. `active` is by what the scope counts.
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
    active: dict[Group, Active] = field(default_factory=dict)


EMPTY = "''::text"
_ERRORS = "coalesce(sum(requests) FILTER (WHERE outcome NOT IN ({})), 0)".format(  # levels that tell outcomes apart
    ", ".join(f"'{outcome}'" for outcome in ENDED_WELL)
)
_READ = """
WITH part AS MATERIALIZED ({parts}),
ranked AS (
    SELECT series, row_number() OVER (
        ORDER BY coalesce(sum({weight}) FILTER (WHERE NOT earlier), 0) DESC, sum({weight}) DESC, series
    ) AS rank, bool_or(earlier) AS was, NOT bool_and(earlier) AS goes_on FROM part GROUP BY series
),
named AS NOT MATERIALIZED (
    SELECT part.*, rank, CASE WHEN rank <= {shown} THEN series::text END AS name FROM part JOIN ranked USING (series)
)
SELECT earlier, place, name, grouping(place) = 0, grouping(name) = 0, {active}, max(last),
    CASE WHEN NOT earlier OR grouping(place, name) = 3 THEN sum(sum_ttft)::text END, {sums}
FROM named GROUP BY GROUPING SETS ((earlier, place), (earlier, name), (earlier))
UNION ALL
{bars}
"""  # Histograms as text: psycopg's Decimals of a thousand digits take two milliseconds each to become numbers.
_BUCKETS = """
SELECT false, place, name, true, true, 0, NULL, NULL, {sums} FROM named WHERE NOT earlier GROUP BY place, name
"""
# A row for each series, "place number place number …" where the others have a histogram: of hundreds of rows, each with
# a dozen numbers that nobody draws, most of the time would be spent on their way into Python.
_BARS = """
SELECT false, NULL, name, true, true, 0, NULL, string_agg(place || ' ' || number, ' '), {nothing} FROM (
    SELECT place, name, sum({weight}) AS number FROM named WHERE NOT earlier AND rank <= {drawn} GROUP BY place, name
) bar GROUP BY name
"""
_NOBODY = {Group.KEY: "0", Group.MEMBER: "0", Group.TEAM: "0", Group.MODEL: "''"}
# Of a place, whose rows of a series are one but for the days before, and of all, by whether it was there at all.
_ACTIVE = """CASE WHEN grouping(place) = 0 THEN count(nullif(series, {nobody}))
    ELSE (SELECT count(*) FROM ranked WHERE series <> {nobody} AND CASE WHEN named.earlier THEN was ELSE goes_on END)
    END"""


def read(
    question: Question, begins: tuple[Moment, ...], *, now: datetime, whole: bool = True, costs: bool = False
) -> Reading:
    """Not `whole`: by place, of the first `DRAWN` series alone, and of these what is measured: `bars`, no `buckets`.

    `costs`: whether those by type of tokens are wanted.
    """
    of_types = OF_TYPES if costs else ()
    read_from = sources(question, begins, now)
    reading = Reading(active={group: Active() for group in question.scope.counted})
    own = reading.active.get(question.group)
    weight = " + ".join(f"sum_{name}" for name in MEASURED[question.metric])
    names = (*NAMES, *of_types)
    sums = ", ".join(_whole(name, f"sum(sum_{name})") for name in names)
    bars = _BARS.format(nothing=", ".join("0" for _ in names), weight=weight, drawn=DRAWN)
    statement = _READ.format(
        parts=" UNION ALL ".join(_part(source, question.group, of_types) for source in read_from),
        weight=weight,
        shown=SHOWN,
        active="0" if own is None else _ACTIVE.format(nobody=_NOBODY[question.group]),
        sums=sums,
        bars=_BUCKETS.format(sums=sums) if whole else bars,
    )
    with reader() as cursor:
        cursor.execute(statement, [value for source in read_from for value in source.given])
        for row in cursor.fetchall():
            _take(reading, own or Active(), row)
        _count_others(cursor, reading, question, read_from, begins, now)
    return reading


def _part(source: Source, group: Group, of_types: tuple[str, ...]) -> str:
    columns = ", ".join((
        f"{COLUMNS.get(group, EMPTY)} AS series",
        "NULL AS last" if source.earlier else f"max({source.when}) AS last",
        "sum(ttft) AS sum_ttft",
        *(f"{_whole(name, f'sum({name})')} AS sum_{name}" for name in (*SUMMED, *of_types)),
        f"{_whole('errors', _ERRORS if source.tells_outcomes else 'sum(errors)')} AS sum_errors",
    ))  # fmt: skip
    return source.select(columns, "series")


def _whole(name: str, sums: str) -> str:
    """PostgreSQL gives sums of whole numbers as decimals, which take longer to be added up and to be read."""
    return sums if name == "cost" or name in OF_TYPES else f"({sums})::bigint"


def _take(reading: Reading, active: Active, row: tuple[Any, ...]) -> None:
    earlier, place, name, by_place, by_name, different, last, ttft, *numbers = row
    if by_place and place is None:
        told = ttft.split(" ")
        found = reading.series.setdefault(name, Found())
        found.bars = dict(zip(map(int, told[::2]), map(float, told[1::2]), strict=True))
        return
    sums = Sums._make(numbers[: len(NAMES)])
    costs = Costs(*numbers[len(NAMES) :]) if len(numbers) > len(NAMES) else UNTOLD
    latency = Latency(ttft) if ttft else UNMEASURED
    match earlier, by_place, by_name:
        case False, True, True:
            reading.series.setdefault(name, Found()).buckets[place] = sums
        case False, True, False:
            reading.buckets[place], reading.costs[place], reading.latencies[place] = sums, costs, latency
            active.buckets[place] = different
        case True, True, False:
            reading.buckets_before[place] = sums
        case False, False, True:
            found = reading.series.setdefault(name, Found())
            found.total, found.latency, found.last = sums, latency, last
        case True, False, True:
            reading.series.setdefault(name, Found()).before = sums
        case False, False, False:
            reading.total, reading.total_costs, reading.latency, active.now = sums, costs, latency, different
        case _:
            reading.before, reading.costs_before, reading.latency_before = sums, costs, latency
            active.before = different


_COUNT = """
SELECT earlier, place, grouping(place) = 0, {counts} FROM ({parts}) part
GROUP BY GROUPING SETS ((earlier, place), (earlier))
"""


def _count_others(
    cursor: CursorWrapper,
    reading: Reading,
    question: Question,
    read_from: list[Source],
    begins: tuple[Moment, ...],
    now: datetime,
) -> None:
    """What is active of other groups than the question's own, whose rows say so themselves."""
    others = [group for group in reading.active if group != question.group]
    if question.scope.team is not None:
        if others:
            _count(cursor, reading, read_from, others)
        return
    # The platform's levels that tell teams are not those that tell models, but for one that has too many rows.
    for group in others:
        _count(cursor, reading, sources(replace(question, group=group), begins, now), [group])


def _count(cursor: CursorWrapper, reading: Reading, read_from: list[Source], groups: list[Group]) -> None:
    wanted = ", ".join(COLUMNS[group] for group in groups)
    parts = " UNION ALL ".join(source.select(wanted, wanted) for source in read_from)
    counts = ", ".join(f"count(DISTINCT nullif({COLUMNS[group]}, {_NOBODY[group]}))" for group in groups)
    cursor.execute(_COUNT.format(counts=counts, parts=parts), [value for source in read_from for value in source.given])
    for earlier, place, by_place, *numbers in cursor.fetchall():
        for group, number in zip(groups, numbers, strict=True):
            active = reading.active[group]
            if not by_place:
                active.before, active.now = (number, active.now) if earlier else (active.before, number)
            elif not earlier:
                active.buckets[place] = number
