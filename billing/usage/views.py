from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET
from django_htmx.middleware import HtmxDetails

from accounts.access import team_for
from accounts.models import ApiKey, Team
from billing.budgets import words as budget_words
from billing.budgets.monthly import budgets_of_key
from billing.limits.tiers import bounds_of_key
from billing.limits.words import phrases
from billing.usage import captions, charts
from billing.usage.exports import plain, write_csv
from billing.usage.forms import UsageForm
from billing.usage.questions import Group, Metric, Question, Scope
from billing.usage.reports import NONE, Report, Sums, usage, week_of_key, week_of_team
from billing.usage.sections import sections


@require_GET
def usage_page(request: HttpRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug)
    form = _form(request, team)
    template = "billing/usage.html#report" if _wants_part(request) else "billing/usage.html"
    response = render(request, template, _context(team, form, form.question()))
    response["Vary"] = "HX-Request"
    return response


@require_GET
def usage_csv(request: HttpRequest, slug: str) -> HttpResponse:
    """What the page shows under the same question: a line for each bucket and series that has something."""
    team = team_for(request.user, slug)
    report = _report(team, _form(request, team).question())
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    period = report.period
    response["Content-Disposition"] = f'attachment; filename="{team.slug}-{period.first}-{period.last}.csv"'
    fields = ["from", report.group.value, *_CSV_SUMS, "cost"]
    write_csv(_csv_rows(report), response, fields)  # type: ignore[arg-type]  # writes text, as a file does
    return response


@require_GET
def key_usage(request: HttpRequest, pk: int) -> HttpResponse:
    """A key's last seven days, for the table of keys."""
    key = get_object_or_404(ApiKey.objects.select_related("team"), pk=pk)
    team_for(request.user, key.team.slug)
    now = timezone.now()
    week = week_of_key(key, now=now)
    context = _week_context(week.sums, week.total) | {
        "limits": phrases(bounds_of_key(key)),
        "budgets": [budget_words.used(standing) for standing in budgets_of_key(key, now=now)],
    }
    return render(request, "billing/usage.html#key-week", context)


@require_GET
def team_week(request: HttpRequest, slug: str) -> HttpResponse:
    """The team's last seven days, for the home page."""
    team = team_for(request.user, slug)
    week = week_of_team(team, now=timezone.now())
    return render(request, "billing/usage.html#team-week", _week_context(week.sums, week.total) | {"shown": team})


def _wants_part(request: HttpRequest) -> bool:
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]  # set by django-htmx's middleware
    return bool(htmx) and not htmx.history_restore_request


def _form(request: HttpRequest, team: Team) -> UsageForm:
    return UsageForm(request.GET, scope=Scope(team), now=timezone.now())


def _report(team: Team, view: Question) -> Report:
    return usage(team, view.period, group=view.group, origin="".join(view.filters.origins), now=timezone.now())


def _context(team: Team, form: UsageForm, view: Question) -> dict[str, Any]:
    now = timezone.now()
    report = _report(team, view)
    columns = captions.columns(report)
    return {
        "shown": team,
        "form": form,
        "report": report,
        "metric": view.metric.value,
        "group_label": _group_label(view.group),
        "breakdown_title": captions.breakdown_title(view.group),
        "lead": captions.lead(report),
        "figures": zip(captions.figures(report), _sparks(report), strict=True),
        "heading": captions.heading(report, view.metric),
        "description": captions.description(report, view.metric),
        "guessed": captions.guessed(report),
        "chart": _chart(report, view, columns),
        "table": [(column.title, sums) for column, sums in zip(columns, report.buckets, strict=True)],
        "rows": [_row(series.label, series.total, report.total) for series in report.series],
        "whole": _row(_("Total"), report.total, report.total),
    } | sections(view, now=now)


def _chart(report: Report, view: Question, columns: list[charts.Column]) -> charts.Chart:
    series = [
        charts.Values(
            one.label,
            one.label if view.group == Group.MODEL else one.key,
            tuple(float(captions.amount(sums, view.metric)) for sums in one.buckets),
        )
        for one in sorted(report.series, key=lambda one: captions.amount(one.total, view.metric), reverse=True)
        if captions.amount(one.total, view.metric)
    ]
    return charts.stacked(
        columns,
        series,
        running=report.running,
        write=lambda number, top: captions.scale_label(number, view.metric, top=top),
        other=_("others"),
        whole=view.metric != Metric.COST,
    )


def _sparks(report: Report) -> list[charts.Spark]:
    """Of the four figures, in their order, up to the last bucket that is over."""
    buckets = report.buckets if report.running is None else report.buckets[: report.running]
    return [
        charts.spark([float(sums.tokens) for sums in buckets]),
        charts.spark([float(sums.requests) for sums in buckets]),
        charts.spark([float(sums.cost) for sums in buckets]),
        charts.spark([sums.error_share for sums in buckets]),
    ]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the breakdown: its share, what of it is no engine's count, and its cost in words."""

    label: str
    sums: Sums
    part: str
    estimated: str
    cost: str


def _row(label: str, sums: Sums, total: Sums) -> Row:
    part = sums.tokens / total.tokens if total.tokens else 0.0
    cost = captions.money(sums.cost) if sums.priced_requests or sums.cost else _("no price")
    estimated = captions.percent(sums.estimated_tokens / sums.tokens) if sums.estimated_tokens and sums.tokens else ""
    return Row(label, sums, captions.percent(part), estimated, cost)


def _group_label(group: Group) -> str:
    return {
        Group.MODEL: _("Model"),
        Group.KEY: _("Key"),
        Group.MEMBER: _("Person"),
        Group.ORIGIN: _("Origin"),
    }[group]


def _week_context(sums: tuple[Sums, ...], total: Sums) -> dict[str, Any]:
    return {
        "spark": charts.spark([float(one.tokens) for one in sums]),
        "total": total,
        "tokens": captions.compact(total.tokens),
    }


_CSV_SUMS = (
    "requests",
    "errors",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "estimated_tokens",
)


def _csv_rows(report: Report) -> list[dict[str, Any]]:
    return [
        {
            "from": moment.isoformat(),
            report.group.value: series.label,
            **{name: getattr(sums, name) for name in _CSV_SUMS},
            "reasoning_tokens": sums.reasoning,
            "cached_tokens": sums.cached,
            "cost": plain(sums.cost, report.period.zone) if sums.priced_requests or sums.cost else None,
        }
        for place, moment in enumerate(report.moments)
        for series in report.series
        if (sums := series.buckets[place]) != NONE
    ]
