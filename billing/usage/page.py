"""What the usage page shows, whoever's usage it is."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from billing import numbers
from billing.ledger.checks import last_check
from billing.usage import axis_captions, breakdown, captions, charts, filters
from billing.usage.buckets import ends
from billing.usage.comparing import shift
from billing.usage.data_tables import DataTable, table
from billing.usage.empty import first_day, why_empty
from billing.usage.figures import Figure, figures
from billing.usage.forms import UsageForm
from billing.usage.links import Links
from billing.usage.marking import turns
from billing.usage.periods import DAY
from billing.usage.questions import Bucket, Group, Metric, Question
from billing.usage.reports import Report, amount, others, usage
from billing.usage.sections.page import budgets
from billing.usage.sections.refused import refused


@dataclass(frozen=True, slots=True)
class Legend:
    """An entry of the legend; a press on it filters by what it stands for."""

    name: str
    mark: int
    href: str


def context(form: UsageForm, question: Question, links: Links, *, now: datetime) -> dict[str, Any]:
    report = usage(question, now=now, whole=False)
    shown = _drawn(report)
    columns = axis_captions.columns(question, report.moments, now=now)
    written = _written(report, shown)
    chart = _chart(report, columns, shown, written, links)
    marks = {one.key: stack.mark for one, stack in zip(shown, chart.stacks, strict=True) if one.key}
    return {
        "form": form,
        "budgets": budgets(question, now=now)[:1],
        "question": question,
        "report": report,
        "links": links,
        "lead": captions.lead(report, last_check()),
        "unlike": _unlike(report),
        "chips": filters.chips(question, links),
        "filters_said": filters.in_words(question),
        "kept": links.beside_the_bar(),
        "empty": why_empty(report, links),
        "figures": [(figure, _detail(figure, question, links)) for figure in figures(report, refused(question))],
        "heading": captions.heading(report),
        "description": captions.description(report),
        "guessed": captions.guessed(report),
        "unreported": _unreported(report),
        "untyped": captions.untyped(report),
        "chart": chart,
        "legend": [
            _legend(one, stack, report, links) for one, stack in zip(shown, chart.stacks, strict=True) if stack.bars
        ],
        "numbers": _numbers(report, chart, columns, shown, written),
        "breakdown_title": captions.breakdown_title(question.group),
        "by_type": question.group == Group.TOKENS,
        "heads": breakdown.heads(report, links),
        "labels": breakdown.labels_of(report),
        "rows": breakdown.rows(report, links, marks),
        "whole": breakdown.whole(report, links),
    }


def _drawn(report: Report) -> list[charts.Values]:
    """The series that have something of what is measured, most first, and what all the others come to.

    What is of no type of tokens is known by itself, and has the mark of the others.
    """
    metric, question, by_type = report.metric, report.question, report.group == Group.TOKENS
    first = [one for one in report.series[: charts.SHOWN] if amount(one.total, metric) and (by_type or not one.others)]
    given = turns(question.scope.team, question.group, [one.key for one in first])
    drawn = [
        charts.Values(
            one.label,
            "" if one.others else one.key,
            one.bars,
            given.get(one.key, 0),
        )
        for one in first
    ]
    if len(first) == sum(1 for one in report.series if amount(one.total, metric)):
        return drawn
    rest = tuple(
        amount(sums, metric) - sum(one.numbers[place] for one in drawn) for place, sums in enumerate(report.buckets)
    )
    return [*drawn, charts.Values(others(), "", rest)]


def _chart(
    report: Report, columns: list[charts.Column], shown: list[charts.Values], written: list[list[str]], links: Links
) -> charts.Chart:
    metric = report.metric
    pointed = [
        column._replace(reading=reading, href=href)
        for column, reading, href in zip(
            columns, _readings(columns, shown, written), _narrower(report, links), strict=True
        )
    ]
    return charts.stacked(
        pointed,
        shown,
        running=report.running,
        write=lambda number, top: captions.scale_label(number, metric, top=top),
        other=others(),
        whole=metric != Metric.COST,
        before=[amount(sums, metric) for sums in report.buckets_before] if report.compared else (),
    )


def _written(report: Report, shown: list[charts.Values]) -> list[list[str]]:
    """What each column comes to, and then what of it is each series', as a bar and the table below it tell it."""
    total = [amount(sums, report.metric) for sums in report.buckets]
    write = captions.exactly(report.metric)
    return [[write(number) for number in numbers] for numbers in (total, *(one.numbers for one in shown))]


def _readings(columns: list[charts.Column], shown: list[charts.Values], written: list[list[str]]) -> list[str]:
    """What a bar says when it is pointed at: its whole, and each series that has something, as they are stacked."""
    total, *parts = written
    stacked = [(one.name, one.numbers, told) for one, told in zip(shown, parts, strict=True)][::-1]
    return [
        "\n".join([
            f"{column.title} · {total[place]}",
            *(f"{name}: {told[place]}" for name, numbers, told in stacked if numbers[place]),
        ])
        for place, column in enumerate(columns)
    ]  # fmt: skip


def _narrower(report: Report, links: Links) -> list[str]:
    """A bar of days leads to these days; of an hour there is nothing narrower than the log."""
    to_days = links.to_days()
    return [
        "" if isinstance(moment, datetime) or isinstance(end, datetime) else to_days(moment, end - DAY)
        for moment, end in zip(report.moments, ends(report.moments, report.period), strict=True)
    ]


def _legend(one: charts.Values, stack: charts.Stack, report: Report, links: Links) -> Legend:
    kind = breakdown.FILTERS.get(report.group)
    return Legend(one.name, stack.mark, links.narrowed(**{kind: one.key}) if kind and one.key else "")


def _numbers(
    report: Report,
    chart: charts.Chart,
    columns: list[charts.Column],
    shown: list[charts.Values],
    written: list[list[str]],
) -> DataTable:
    """What the chart draws, for whoever does not see it; its rows lead where the bars do."""
    return table(
        axis_captions.first_head(report.question.bucket),
        [_("Total"), *(one.name for one in shown)],
        [(column.title, cells) for column, *cells in zip(columns, *written, strict=True)],
        [hit.href for hit in chart.hits],
    )


def _detail(figure: Figure, question: Question, links: Links) -> str:
    """Where a figure's name leads: to what it is made of."""
    match figure.name:
        case "tokens":
            return links.to(metric="") + "#chart"
        case "requests":
            return links.to(metric=Metric.REQUESTS, group=_untyped(question)) + "#chart"
        case "cost":
            return links.to(metric=Metric.COST) + "#chart"
        case "active":
            return links.to(group=question.scope.counted[-1]) + "#breakdown"
        case "errors":
            return "#errors"
        case _:
            return "#speed"


def _untyped(question: Question) -> str:
    """Types of tokens are not requested one by one: another group, then."""
    return "" if question.group in {Group.TOKENS, question.scope.groups[0]} else question.group


def _unlike(report: Report) -> str:
    """Said where the days before are fewer than they seem, since the first usage is of one of them."""
    question = report.question
    if not report.compared or not report.before.requests:
        return ""
    if question.bucket == Bucket.DAY and report.buckets_before[0].requests:
        return ""  # the first of them had usage
    first = first_day(question)
    before = question.period.moved(-shift(question))
    return captions.begins_within(first) if first and before.first < first <= before.last else ""


def _unreported(report: Report) -> str:
    """Said where a type of tokens is not 0 but unknown, or known of a part of the requests alone."""
    total = report.total
    if report.group != Group.TOKENS or not total.requests:
        return ""
    missing = [one.label for one in report.series if not one.known]
    said = []
    if missing:
        said.append(_("No engine reported: %s.") % ", ".join(missing))
    for label, told in ((_("cached input"), total.cached_reported), (_("reasoning"), total.reasoning_reported)):
        if 0 < told < total.requests:
            words = {"type": label, "told": numbers.whole(told), "all": numbers.whole(total.requests)}
            said.append(_("Of %(all)s requests, %(told)s have a count of: %(type)s.") % words)
    return " ".join(said)
