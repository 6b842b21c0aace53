"""What was used, read from the roll-ups alone. Nothing here knows a page; words for people are in `captions`."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from billing.usage.buckets import Moment, moments, running
from billing.usage.names import labels
from billing.usage.periods import Period
from billing.usage.questions import Compared, Group, Metric, Question
from billing.usage.reading import DRAWN, SHOWN, Active, Found, Reading, active, read
from billing.usage.sums import NONE, UNMEASURED, Latency, Sums

OTHERS = ""  # the key of what is not among the first series, and the label that says so is `others()`


@dataclass(frozen=True, slots=True)
class Series:
    """One row of the breakdown: a model, key, person, …, with its sums in each bucket.

    `key` is what a filter calls it. `last` is when it was used last in the period: a day, or a quarter hour's begin.
    Rows by token type hold tokens alone; `known` is False where no engine reported any of the type.
    """

    key: str
    label: str
    buckets: tuple[Sums, ...]
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
    active: Active
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

    Not `whole`: only the first seven have their buckets, which is what a chart draws, and much less to read.
    """
    begins = moments(question.period, question.bucket)
    reading = read(question, begins, now=now, drawn=SHOWN if whole else DRAWN)
    length = range(len(begins))
    return Report(
        question=question,
        moments=begins,
        series=_token_types(reading, begins) if question.group == Group.TOKENS else _series(question, reading, begins),
        buckets=tuple(reading.buckets.get(place, NONE) for place in length),
        buckets_before=tuple(reading.buckets_before.get(place, NONE) for place in length),
        total=reading.total,
        before=reading.before,
        latencies=tuple(reading.latencies.get(place, UNMEASURED) for place in length),
        latency=reading.latency,
        latency_before=reading.latency_before,
        active=active(question, begins, now=now),
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


def _series(question: Question, reading: Reading, begins: tuple[Moment, ...]) -> tuple[Series, ...]:
    names = labels(question.scope, question.group, [key for key in reading.series if key is not None])
    found = [
        Series(
            key=OTHERS if key is None else key,
            label=others() if key is None else names[key],
            buckets=tuple(one.buckets.get(place, NONE) for place in range(len(begins))),
            total=one.total,
            before=one.before,
            latency=one.latency,
            last=one.last,
            others=key is None,
        )
        for key, one in reading.series.items()
        if key is not None or one.total != NONE or one.before != NONE  # else it holds buckets that none is drawn of
    ]
    found.sort(key=lambda one: (one.others, -amount(one.total, question.metric), -one.total.requests, one.label))
    return tuple(found)


def _token_types(reading: Reading, begins: tuple[Moment, ...]) -> tuple[Series, ...]:
    """Input and output, each without the part of it that has a row of its own."""
    if not reading.total.requests and not reading.total.tokens:
        return ()
    found = reading.series.get("", Found())
    total = reading.total
    kinds: list[tuple[str, str, bool, Callable[[Sums], Sums]]] = [
        ("input", _("input"), True, lambda one: Sums(prompt_tokens=one.prompt_tokens - one.cached_tokens)),
        ("cached", _("cached input"), bool(total.cached_reported), lambda one: Sums(prompt_tokens=one.cached_tokens)),
        (
            "output", _("output"), True,
            lambda one: Sums(completion_tokens=one.completion_tokens - one.reasoning_tokens),
        ),
        (
            "reasoning", _("reasoning"), bool(total.reasoning_reported),
            lambda one: Sums(completion_tokens=one.reasoning_tokens),
        ),
    ]  # fmt: skip
    return tuple(
        Series(
            key=key,
            label=label,
            buckets=tuple(part(reading.buckets.get(place, NONE)) for place in range(len(begins))),
            total=part(total),
            before=part(reading.before),
            latency=UNMEASURED,
            last=found.last,
            known=known,
        )
        for key, label, known, part in kinds
    )
