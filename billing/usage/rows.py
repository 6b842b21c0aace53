"""A report as rows: one for each bucket and series, the breakdown, and what was asked. Each file has them in its way.

Texts that programs read are English, as in the API. What no engine reported is empty and never 0; a cost that no price
gives is empty too. Moments are ISO 8601 with their offset, and each row ends where the next may begin.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.conf import settings

from billing.usage import breakdown, filters
from billing.usage.buckets import Moment, ends, instant
from billing.usage.exports import Number, Value, plain
from billing.usage.questions import Compared, Group
from billing.usage.reports import Report, Series
from billing.usage.sums import NONE, Latency, Sums
from billing.usage.token_types import CACHED, INPUT, UNTYPED

SUMS = (
    "requests", "errors", "prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens",
    "estimated_tokens", "estimated_share", "cost",
)  # fmt: skip

type Row = dict[str, Value]


def asked(report: Report) -> dict[str, Any]:
    """What the numbers are of: enough to ask for them again, and to know what they mean."""
    question, period = report.question, report.period
    return {
        "first": period.first.isoformat(),
        "last": period.last.isoformat(),
        "begin": _said(period.begin, report),
        "end": _said(period.end, report),
        "zone": period.zone.key,
        "team": question.scope.team.slug if question.scope.team else None,
        "bucket": question.bucket.value,
        "group": question.group.value,
        "metric": question.metric.value,
        "filters": {name: list(values) for name, values in filters.all_chosen(question.filters).items() if values},
        "compared_with": question.compared.value or None,
        "currency": settings.ENVIRONMENT.currency,
        "generated_at": _said(report.read_at, report),
    }


def by_bucket(report: Report) -> Iterator[Row]:
    """The chart's bars; a series that has nothing in a bucket has no row for it."""
    until, by_type = ends(report.moments, report.period), report.group == Group.TOKENS
    for place, (begin, end) in enumerate(zip(report.moments, until, strict=True)):
        for series in report.series:
            if (sums := series.buckets[place]) != NONE:
                told = _of_type(sums, report.buckets[place], report, series) if by_type else _sums(sums, report)
                yield _named(report, series, begin, end) | told


def by_series(report: Report) -> Iterator[Row]:
    """The table's rows, in its order."""
    for series in breakdown.sorted_series(report):
        if report.group == Group.TOKENS:
            told = _of_type(series.total, report.total, report, series) | _more_of_type(report, series)
        else:
            told = _sums(series.total, report) | _more(series.before, series.latency, report, last=series.last)
        yield _named(report, series, *_whole(report)) | told


def in_all(report: Report) -> Row:
    begin, end = _whole(report)
    named: Row = {"from": _said(begin, report), "to": _said(end, report), report.group.value: None, "id": None}
    total = report.total
    return named | _sums(total, report) | _more(report.before, report.latency, report)


def _whole(report: Report) -> tuple[datetime, datetime]:
    return report.period.begin, report.period.end


def _named(report: Report, series: Series, begin: Moment, end: Moment) -> Row:
    return {
        "from": _said(begin, report),
        "to": _said(end, report),
        report.group.value: series.label,
        "id": series.key or None,
    }


def _of_type(sums: Sums, whole: Sums, report: Report, series: Series) -> Row:
    """A type of tokens has a number of these and what they cost alone, and neither where no engine reported it."""
    told: Row = dict.fromkeys(SUMS)
    if series.known and whole.prices(sums):
        told["cost"] = plain(sums.cost, report.period.zone)
    if series.known and series.key != UNTYPED:
        column = "prompt_tokens" if series.key in {INPUT, CACHED} else "completion_tokens"
        told[column] = getattr(sums, column)
    return told


def _more_of_type(report: Report, series: Series) -> Row:
    before, told = series.before, _more(series.before, series.latency, report, last=series.last)
    if report.question.compared != Compared.NOT:
        told["cost_before"] = plain(before.cost, report.period.zone) if report.before.prices(before) else None
    return told | {"requests_before": None} | ({"tokens_before": None} if series.key == UNTYPED else {})


def _sums(sums: Sums, report: Report) -> Row:
    return {
        "requests": sums.requests,
        "errors": sums.errors,
        "prompt_tokens": sums.prompt_tokens,
        "completion_tokens": sums.completion_tokens,
        "reasoning_tokens": sums.reasoning,
        "cached_tokens": sums.cached,
        "estimated_tokens": sums.estimated_tokens,
        "estimated_share": _part(sums.estimated_share) if sums.tokens else None,
        "cost": _cost(sums, report),
    }


def _more(before: Sums, latency: Latency, report: Report, *, last: Moment | None = None) -> Row:
    """What the table tells of a whole row alone."""
    compared = report.question.compared != Compared.NOT
    wait = latency.first_token_p95
    return {
        "first_token_p95_ms": None if wait is None else round(wait),
        "last_used": None if last is None else _said(last, report),
        "tokens_before": before.tokens if compared else None,
        "requests_before": before.requests if compared else None,
        "cost_before": _cost(before, report) if compared else None,
    }


def _cost(sums: Sums, report: Report) -> Value:
    return plain(sums.cost, report.period.zone) if sums.priced else None


def _part(share: float) -> Number:
    return Number(f"{share:.6f}".rstrip("0").rstrip("."))


def _said(moment: Moment, report: Report) -> str:
    """A day as the moment when it begins in the zone."""
    return instant(moment, report.period).astimezone(report.period.zone).isoformat(timespec="seconds")


def columns(report: Report) -> list[str]:
    return ["from", "to", report.group.value, "id", *SUMS]


def columns_in_all(report: Report) -> list[str]:
    return [*columns(report), "first_token_p95_ms", "last_used", "tokens_before", "requests_before", "cost_before"]
