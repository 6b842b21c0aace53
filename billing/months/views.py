"""A team's months: each with what it came to, closed by the team's admins, opened again by its owners with a reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import has_role, role_in, signed_in, team_for
from accounts.models import Role, Team
from billing import moments, numbers
from billing.errors import MonthNotClosable
from billing.ledger.months import LONGEST_REASON, close_month, reopen_month
from billing.models import Origin, UsageDay
from billing.months.books import Month, month_of, months_of, years
from billing.usage import captions
from billing.usage.exports import Value, plain, write_csv
from billing.usage.forms import EARLIEST
from billing.usage.names import key_labels
from billing.usage.sums import SUMMED, Sums

LAST_YEAR = 9998  # the one after must have a name too
STATEMENT = (
    "month", "time_zone", "state", "model", "key", "origin", "requests", "prompt_tokens", "cached_tokens",
    "completion_tokens", "reasoning_tokens", "estimated_tokens", "cost", "currency",
)  # fmt: skip


class ReopenForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=LONGEST_REASON,
        help_text=gettext_lazy("It stays in the audit, with your name."),
    )

    use_required_attribute = False


@dataclass(frozen=True, slots=True)
class Row:
    """A month in words."""

    month: Month
    name: str
    slug: str
    cost: str
    closed: str
    late: tuple[str, ...]
    estimated: str


@require_GET
def months(request: HttpRequest, slug: str) -> HttpResponse:
    team = _bill_of(request, slug)
    now = timezone.now()
    year = _year(request.GET.get("year", ""), now)
    found = months_of(team, year, now=now)
    role = role_in(request.user, team)
    context = {
        "shown": team,
        "year": year,
        "years": sorted({*years(team), year}, reverse=True),
        "rows": [_row(month) for month in found],
        "zone": moments.zone_in_words(now.astimezone(ZoneInfo(team.time_zone)), team.time_zone),
        "may_close": has_role(role, Role.ADMIN),
        "may_reopen": has_role(role, Role.OWNER),
    }
    return render(request, "billing/months.html", context)


@require_GET
def month(request: HttpRequest, slug: str, year: int, number: int) -> HttpResponse:
    """One month's statement, to read and to print."""
    team = _bill_of(request, slug)
    found = _month(team, year, number)
    lines = list(_statement(team, found))
    context = {
        "shown": team,
        "row": _row(found),
        "lines": lines,
        "total": found.sums,
        "cost": _cost(found.sums),
        "made": moments.moment_in_words(timezone.now().replace(microsecond=0), team.time_zone),
        "zone": moments.zone_in_words(found.period.begin.astimezone(found.period.zone), team.time_zone),
        "days": captions.days_in_words(found.period),
    }
    return render(request, "billing/month.html", context)


@require_GET
def month_csv(request: HttpRequest, slug: str, year: int, number: int) -> HttpResponse:
    team = _bill_of(request, slug)
    found = _month(team, year, number)
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{team.slug}-{found.first:%Y-%m}.csv"'
    write_csv(_csv_rows(team, found), response, STATEMENT)  # type: ignore[arg-type]  # writes text, as a file does
    return response


@require_POST
def close(request: HttpRequest, slug: str, year: int, number: int) -> HttpResponse:
    """Closes the month, and all before it."""
    team = team_for(request.user, slug, role=Role.ADMIN)
    user = signed_in(request.user)
    first = _first(year, number)
    try:
        close_month(team=team, month=first, by=user)
    except MonthNotClosable:
        messages.error(request, _("This month is not over, or closed already."))
    else:
        messages.success(request, _("Closed. What still comes of it is booked in the month that is open."))
    return redirect("billing:months", slug=team.slug)


@require_http_methods(["GET", "POST"])
def reopen(request: HttpRequest, slug: str, year: int, number: int) -> HttpResponse:
    """Opens the month, and all after it."""
    team = team_for(request.user, slug, role=Role.OWNER)
    user = signed_in(request.user)
    found = _month(team, year, number)
    form = ReopenForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            reopen_month(team=team, month=found.first, by=user, reason=form.cleaned_data["reason"])
        except MonthNotClosable:
            messages.error(request, _("This month is open."))
        else:
            messages.success(request, _("Open again."))
        return redirect("billing:months", slug=team.slug)
    status = 422 if form.errors else 200
    return render(
        request, "billing/reopen_month.html", {"shown": team, "row": _row(found), "form": form}, status=status
    )


def _bill_of(request: HttpRequest, slug: str) -> Team:
    """For those who see the team's reports: of a member the console shows what is his own, which no bill is."""
    team = team_for(request.user, slug)
    if role_in(request.user, team) == Role.MEMBER:
        raise PermissionDenied
    return team


def _year(text: str, now: datetime) -> int:
    if len(text) == 4 and text.isascii() and text.isdigit() and EARLIEST.year <= int(text) <= LAST_YEAR:
        return int(text)
    return now.year


def _first(year: int, number: int) -> date:
    if not (EARLIEST.year <= year <= LAST_YEAR and 1 <= number <= 12):
        raise Http404
    return date(year, number, 1)


def _month(team: Team, year: int, number: int) -> Month:
    found = month_of(team, _first(year, number), now=timezone.now())
    if found is None:
        raise Http404
    return found


def _row(month: Month) -> Row:
    return Row(
        month=month,
        name=formats.date_format(month.first, "YEAR_MONTH_FORMAT"),
        slug=f"{month.first:%Y-%m}",
        cost=_cost(month.sums),
        closed=_closed(month),
        late=tuple(_late(month)),
        estimated=(
            numbers.percent(month.sums.estimated_tokens / month.sums.tokens)
            if month.sums.estimated_tokens and month.sums.tokens
            else ""
        ),
    )


def _closed(month: Month) -> str:
    if month.closing is None:
        return ""
    day = formats.date_format(month.closing.at.astimezone(month.period.zone), "DATE_FORMAT")
    by = month.closing.by or _("command line")
    return _("on %(day)s by %(name)s") % {"day": day, "name": by}


def _late(month: Month) -> Iterator[str]:
    late = month.late
    if late.requests:
        yield ngettext("%s request came late", "%s requests came late", late.requests) % numbers.whole(late.requests)
    if late.corrections:
        yield ngettext("%s correction", "%s corrections", late.corrections) % numbers.whole(late.corrections)


def _cost(sums: Sums) -> str:
    return numbers.money(sums.cost) if sums.priced else ""


@dataclass(frozen=True, slots=True)
class Line:
    """What one key used of one model in a month, or the chat."""

    model: str
    key: str
    origin: str
    sums: Sums
    cost: str


def _statement(team: Team, month: Month) -> Iterator[Line]:
    """By model, key and origin; together they are the month's sums."""
    period = month.period
    rows = UsageDay.objects.filter(team=team, day__gte=period.first, day__lte=period.last)
    totals: dict[str, Any] = {f"sum_{name}": Sum(name) for name in SUMMED}
    keys = ("model", "key_id", "origin")
    grouped: list[Any] = list(rows.values(*keys).annotate(**totals).order_by(*keys))
    labels = key_labels(team, {row["key_id"] for row in grouped}) if grouped else {}
    origins = {str(value): str(label) for value, label in Origin.choices}
    for row in grouped:
        sums = Sums(**{name: row[f"sum_{name}"] for name in SUMMED})
        origin = origins.get(row["origin"], row["origin"])
        yield Line(row["model"], labels[row["key_id"]], origin, sums, _cost(sums))


def _csv_rows(team: Team, month: Month) -> Iterator[dict[str, Value]]:
    zone = month.period.zone
    for line in _statement(team, month):
        sums = line.sums
        yield {
            "month": f"{month.first:%Y-%m}",
            "time_zone": team.time_zone,
            "state": "closed" if month.is_closed else "open",
            "model": line.model,
            "key": line.key,
            "origin": line.origin,
            "requests": sums.requests,
            "prompt_tokens": sums.prompt_tokens,
            "cached_tokens": sums.cached,
            "completion_tokens": sums.completion_tokens,
            "reasoning_tokens": sums.reasoning,
            "estimated_tokens": sums.estimated_tokens,
            "cost": plain(sums.cost, zone) if sums.priced else None,
            "currency": settings.ENVIRONMENT.currency,
        }
