"""The table below the chart: a row for each series in words, sorted as the address says, and their total."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from billing import numbers
from billing.usage import captions
from billing.usage.axis_captions import day_said
from billing.usage.buckets import Moment
from billing.usage.figures import changed
from billing.usage.links import Links
from billing.usage.marks import OTHERS
from billing.usage.questions import Group, Metric
from billing.usage.reports import Report, Series, amount
from billing.usage.sums import NONE, Latency, Sums
from billing.usage.token_types import UNTYPED

HIGH = 0.02  # a share of errors that is marked

# What a column sorts by; a name from a to z, everything else from high to low at first.
_ORDERS: dict[str, Callable[[Series, Metric], Any]] = {
    "name": lambda one, _: one.label.casefold(),
    "share": lambda one, metric: amount(one.total, metric),
    "in": lambda one, _: one.total.prompt_tokens,
    "out": lambda one, _: one.total.completion_tokens,
    "requests": lambda one, _: one.total.requests,
    "cost": lambda one, _: one.total.cost,
    "errors": lambda one, _: one.total.error_share,
    "first": lambda one, _: one.latency.first_token_p95 or 0,
    "last": lambda one, _: str(one.last or ""),
    "change": lambda one, metric: _change(one, metric),
}
USUAL = "-share"
FILTERS = {  # the filter that a group's keys are values of
    Group.MODEL: "model",
    Group.KEY: "key",
    Group.MEMBER: "member",
    Group.ORIGIN: "origin",
    Group.OUTCOME: "outcome",
    Group.TEAM: "team",
}


@dataclass(frozen=True, slots=True)
class Head:
    name: str
    label: str
    href: str
    sorted: str = ""  # "ascending" or "descending"


@dataclass(frozen=True, slots=True)
class Row:
    """One series in words. Empty: not told of such a series. `width` is of the meter, in per cent."""

    label: str
    href: str = ""
    log: str = ""
    mark: int = OTHERS
    width: str = ""
    part: str = ""
    tokens: str = ""
    read: str = ""
    written: str = ""
    requests: str = ""
    cost: str = ""
    errors: str = ""
    many_errors: bool = False
    first: str = ""
    last: str = ""
    change: str = ""
    estimated: str = ""
    unknown: bool = False  # no engine reported any
    gone: bool = False  # nothing in the period, something before


def heads(report: Report, links: Links) -> list[Head]:
    if report.group == Group.TOKENS:
        labels = labels_of(report)
        shown = {"name": labels["name"], "share": labels["share"], "tokens": _("Tokens")}
        if report.metric == Metric.COST:
            shown["cost"] = labels["cost"]
        if report.compared:
            shown["change"] = labels["change"]
        return [Head(name, label, "") for name, label in shown.items()]
    by, down = _sorting(report.question.sort)
    return [
        Head(
            name,
            label,
            links.to(sort=_next(name, by, down=down)) + "#breakdown",
            ("descending" if down else "ascending") if name == by else "",
        )
        for name, label in labels_of(report).items()
    ]


def labels_of(report: Report) -> dict[str, str]:
    """Of the columns, by their names."""
    share = {
        Metric.TOKENS: _("Share of tokens"),
        Metric.REQUESTS: _("Share of requests"),
        Metric.COST: _("Share of cost"),
    }[report.metric]
    found = {
        "name": captions.group_label(report.group),
        "share": share,
        "in": _("Tokens in"),
        "out": _("Tokens out"),
        "requests": _("Requests"),
        "cost": _("Cost"),
        "errors": _("Errors"),
        "first": _("First token, p95"),
        "last": _("Last used"),
        "change": pgettext("difference", "Change"),
    }
    if not report.compared:
        del found["change"]
    return found


def _next(name: str, by: str, *, down: bool) -> str:
    """What a press on the head asks for: the other direction where it is sorted by already."""
    descending = not down if name == by else name != "name"
    sort = f"-{name}" if descending else name
    return "" if sort == USUAL else sort


def _sorting(sort: str) -> tuple[str, bool]:
    by = sort.removeprefix("-")
    return (by, sort.startswith("-")) if by in _ORDERS else (USUAL.removeprefix("-"), True)


def sorted_series(report: Report) -> list[Series]:
    """What is one of the first series, as asked; the rest stays last."""
    by, down = _sorting(report.question.sort)
    if report.group == Group.TOKENS:
        return list(report.series)
    order = _ORDERS[by]
    named = [one for one in report.series if not one.others]
    named.sort(key=lambda one: order(one, report.metric), reverse=down)
    return [*named, *(one for one in report.series if one.others)]


def rows(report: Report, links: Links, marks: dict[str, int]) -> list[Row]:
    return [_row(report, one, links, marks) for one in sorted_series(report)]


def whole(report: Report, links: Links) -> Row:
    """The total, made from the same sums as the figures."""
    total = report.total
    part = numbers.percent(1) if amount(total, report.metric) else ""
    return _worded(
        report, _("Total"), total, report.before, report.latency, priced=total.priced, part=part, log=links.log()
    )


def _row(report: Report, one: Series, links: Links, marks: dict[str, int]) -> Row:
    entire = amount(report.total, report.metric)
    share = amount(one.total, report.metric) / entire if entire else 0.0
    by_type = report.group == Group.TOKENS
    told = {} if one.others or by_type else {FILTERS[report.group]: one.key}
    priced = report.total.prices(one.total) if by_type else one.total.priced
    known = one.known and (priced or not by_type or report.metric != Metric.COST)
    row = _worded(
        report,
        one.label,
        one.total,
        one.before,
        one.latency,
        priced=priced,
        href=links.narrowed(**told) if told else "",
        log=links.log(**told) if told else "",
        mark=marks.get(one.key, OTHERS),
        width=f"{max(0.0, min(1.0, share)) * 100:.1f}%",
        part=numbers.percent(share) if known else "",
        last=_last(one.last, report),
        unknown=not one.known,
        gone=one.total == NONE,
    )
    return replace(row, tokens="") if one.key == UNTYPED else row


def _worded(
    report: Report, label: str, sums: Sums, before: Sums, latency: Latency, *, priced: bool, **said: object
) -> Row:
    wait = latency.first_token_p95
    return Row(
        label=label,
        tokens=numbers.whole(sums.tokens),
        read=numbers.whole(sums.prompt_tokens),
        written=numbers.whole(sums.completion_tokens),
        requests=numbers.whole(sums.requests),
        cost=numbers.money(sums.cost) if priced else _("no price"),
        errors=numbers.percent(sums.error_share) if sums.requests else "",
        many_errors=sums.error_share >= HIGH,
        first=numbers.seconds(wait) if wait is not None else "",
        change=changed(amount(sums, report.metric), amount(before, report.metric)) if report.compared else "",
        estimated=numbers.percent(sums.estimated_share) if sums.estimated_tokens and sums.tokens else "",
        **said,  # type: ignore[arg-type]  # fields of a row
    )


def _change(one: Series, metric: Metric) -> float:
    now, before = amount(one.total, metric), amount(one.before, metric)
    return now / before if before else float("inf") if now else 0.0


def _last(moment: Moment | None, report: Report) -> str:
    if moment is None:
        return ""
    if isinstance(moment, datetime):
        local = moment.astimezone(report.period.zone)
        time = formats.time_format(local, "H:i")
        return time if report.period.length == 1 else f"{day_said(local.date())} {time}"
    return day_said(moment)
