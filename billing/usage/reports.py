"""What was used, read from the roll-ups alone. Nothing here knows a page; words for people are in `captions`."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.utils.translation import gettext as _

from billing.usage.buckets import Moment, moments, running
from billing.usage.names import labels
from billing.usage.periods import Period
from billing.usage.questions import Compared, Group, Metric, Question
from billing.usage.reading import Active, Found, Reading, read
from billing.usage.sums import NONE, UNMEASURED, UNTOLD, Latency, Sums
from billing.usage.token_types import CACHED, INPUT, OUTPUT, REASONING, UNTYPED, reported, split_alike

OTHERS = ""  # the key of what is not among the first series, and the label that says so is `others()`


@dataclass(frozen=True, slots=True)
class Series:
    """One row of the breakdown: a model, key, person, …, with its sums in each bucket.

    `key` is what a filter calls it. `last` is when it was used last in the period: a day, or a quarter hour's begin.
    Rows by token type hold tokens and what they cost; `known` is False where no engine reported any of the type.
    `bars` is what is measured in each bucket; for who asked for no more there are no `buckets`.
    """

    key: str
    label: str
    buckets: tuple[Sums, ...]
    bars: tuple[float, ...]
    total: Sums
    before: Sums
    latency: Latency
    last: Moment | None = None
    others: bool = False
    known: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """`series` are sorted by the question's metric, most first, the others last; their totals add up to `total`.

    `before` and what ends in it are of the days that the period is compared with, nothing where it is not.
    """

    question: Question
    moments: tuple[Moment, ...]
    series: tuple[Series, ...]
    buckets: tuple[Sums, ...]
    buckets_before: tuple[Sums, ...]
    total: Sums
    before: Sums
    latencies: tuple[Latency, ...]  # of the buckets, the time until the first token alone
    latency: Latency
    latency_before: Latency
    active: dict[Group, Active]  # by what the scope counts
    read_at: datetime

    @property
    def period(self) -> Period:
        return self.question.period

    @property
    def group(self) -> Group:
        return self.question.group

    @property
    def metric(self) -> Metric:
        return self.question.metric

    @property
    def compared(self) -> bool:
        return self.question.compared != Compared.NOT

    @property
    def running(self) -> int | None:
        """The place of the bucket that is not over yet."""
        return running(self.moments, self.period, self.read_at)


def usage(question: Question, *, now: datetime, whole: bool = True) -> Report:
    """A year has at most fifty series, and what is left as one more, so that totals stay whole.

    Not `whole`: only the first seven have their bars, and none their buckets, which is what a chart draws, and much
    less to read; and types of tokens have a cost only where it is the measure.
    """
    begins = moments(question.period, question.bucket)
    by_type = question.group == Group.TOKENS
    costs = by_type and (whole or question.metric == Metric.COST)
    reading = read(question, begins, now=now, whole=whole, costs=costs)
    length = range(len(begins))
    return Report(
        question=question,
        moments=begins,
        series=_token_types(reading, begins, question.metric, costs=costs)
        if by_type
        else _series(question, reading, begins, whole=whole),
        buckets=tuple(reading.buckets.get(place, NONE) for place in length),
        buckets_before=tuple(reading.buckets_before.get(place, NONE) for place in length),
        total=reading.total,
        before=reading.before,
        latencies=tuple(reading.latencies.get(place, UNMEASURED) for place in length),
        latency=reading.latency,
        latency_before=reading.latency_before,
        active=reading.active,
        read_at=now,
    )


def others() -> str:
    return _("others")


def amount(sums: Sums, metric: Metric) -> float:
    """To sort and to draw by; what is told comes from the sums themselves."""
    match metric:
        case Metric.TOKENS:
            return sums.tokens
        case Metric.REQUESTS:
            return sums.requests
        case Metric.COST:
            return float(sums.cost)


def _series(question: Question, reading: Reading, begins: tuple[Moment, ...], *, whole: bool) -> tuple[Series, ...]:
    names = labels(question.scope, question.group, [key for key in reading.series if key is not None])
    places = range(len(begins))
    found = []
    for key, one in reading.series.items():
        if key is None and one.total == NONE and one.before == NONE:
            continue
        buckets = tuple(one.buckets.get(place, NONE) for place in places) if whole else ()
        bars = tuple(amount(sums, question.metric) for sums in buckets)
        found.append(
            Series(
                key=OTHERS if key is None else key,
                label=others() if key is None else names[key],
                buckets=buckets,
                bars=bars if whole else tuple(one.bars.get(place, 0.0) for place in places),
                total=one.total,
                before=one.before,
                latency=one.latency,
                last=one.last,
                others=key is None,
            )
        )
    barred = {
        key for key, one in reading.series.items() if one.buckets or one.bars
    }  # of equals, those whose bars were read first
    found.sort(
        key=lambda one: (
            one.others, -amount(one.total, question.metric), one.key not in barred, -one.total.requests, one.label,
        )
    )  # fmt: skip
    return tuple(found)


def _token_types(reading: Reading, begins: tuple[Moment, ...], metric: Metric, *, costs: bool) -> tuple[Series, ...]:
    """Input and output, each without the part of it that has a row of its own; with `costs`, what each cost.

    What of a cost is of no type has a row too, the last one, where there is any.
    """
    total = reading.total
    if not total.requests and not total.tokens and not total.cost:
        return ()
    wholes = [(reading.buckets.get(place, NONE), reading.costs.get(place, UNTOLD)) for place in range(len(begins))]
    wholes += [(total, reading.total_costs), (reading.before, reading.costs_before)]
    if not costs:
        wholes = [(sums._replace(cost=Decimal(0)), UNTOLD) for sums, _costs in wholes]
    *buckets, whole, before = split_alike(wholes)
    names = {
        INPUT: _("input"), CACHED: _("cached input"), OUTPUT: _("output"), REASONING: _("reasoning"),
        UNTYPED: _("not by type"),
    }  # fmt: skip
    return tuple(
        Series(
            key=kind,
            label=names[kind],
            buckets=tuple(parts[kind] for parts in buckets),
            bars=tuple(amount(parts[kind], metric) for parts in buckets),
            total=whole[kind],
            before=before[kind],
            latency=UNMEASURED,
            last=reading.series.get("", Found()).last,
            others=kind == UNTYPED,
            known=reported(kind, total),
        )
        for kind in whole
    )
