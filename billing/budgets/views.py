"""Pages of budgets and credit: a team's own, and the operator's, who enters payments."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import has_role, membership_for, require_operator, signed_in, team_for
from accounts.models import Role, Team, User
from billing.budgets.credit import Credit, credit_of, credits_of, entries_of, set_binding
from billing.budgets.forms import BudgetForm, CreditForm
from billing.budgets.monthly import budgets_of, remove_budget
from billing.budgets.words import ShownBudget, shown
from billing.errors import AlreadyEntered
from billing.models import Budget, CreditEntry, Period
from billing.moments import zone_in_words
from billing.numbers import money
from billing.usage.sections.burndown import months


@require_http_methods(["GET", "POST"])
def budget_page(request: HttpRequest, slug: str) -> HttpResponse:
    """To a member the team's own budgets and his; who used what of the team's is for those who read its reports."""
    membership = membership_for(request.user, slug, role=Role.ADMIN if request.method == "POST" else Role.VIEWER)
    team, user = membership.team, signed_in(request.user)
    form = BudgetForm(request.POST, team=team) if request.method == "POST" else _form(request, team)
    if request.method == "POST" and form.is_valid():
        form.save(by=user)
        messages.success(request, _("Saved. It is in force within a second."))
        return redirect("billing:budget", slug=team.slug)
    own = membership.role == Role.MEMBER
    context = _of_team(team, timezone.now(), member=user if own else None) | {
        "form": form if has_role(Role(membership.role), Role.ADMIN) else None,
        "entries": [] if own else _entries(team),
    }
    return render(request, "billing/budget.html", context, status=422 if form.errors else 200)


@require_POST
def remove(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    team = team_for(request.user, slug, role=Role.ADMIN)
    budget = get_object_or_404(Budget, pk=pk, team=team, period=Period.MONTH)
    remove_budget(budget=budget, by=signed_in(request.user))
    messages.success(request, _("Removed."))
    return redirect("billing:budget", slug=team.slug)


@require_GET
def budget_card(request: HttpRequest, slug: str) -> HttpResponse:
    """The team's own budgets and its credit, for other pages."""
    team = team_for(request.user, slug)
    context = _of_team(team, timezone.now())
    context["budgets"] = [one for one in context["budgets"] if not one.detail and not one.standing.budget.member_id]
    return render(request, "billing/budget.html#card", context)


@dataclass(frozen=True, slots=True)
class ShownCredit:
    balance: str
    reserved: str
    available: str
    binding: bool
    empty: bool


@dataclass(frozen=True, slots=True)
class ShownEntry:
    at: datetime
    kind: str
    amount: str
    note: str
    by: str


@require_GET
def credits_page(request: HttpRequest) -> HttpResponse:
    """Every team, those with a credit first."""
    require_operator(request.user)
    teams = list(Team.objects.filter(archived_at=None).order_by("name", "pk"))
    found = credits_of(teams, now=timezone.now())
    rows = [(team, _credit(found.get(team.pk))) for team in teams]
    rows.sort(key=lambda row: row[1] is None)
    return render(request, "billing/credits.html", {"rows": rows})


@require_http_methods(["GET", "POST"])
def credit_page(request: HttpRequest, credited: str) -> HttpResponse:
    operator = require_operator(request.user)
    team = get_object_or_404(Team, slug=credited, archived_at=None)
    form = CreditForm(request.POST) if request.method == "POST" else CreditForm()
    if request.method == "POST" and form.is_valid():
        try:
            form.save(team=team, by=operator)
            messages.success(request, _("Entered. It is in force within a second."))
        except AlreadyEntered:
            messages.info(request, _("This was entered before, and not a second time."))
        return redirect("billing:credit", credited=team.slug)
    context = {
        "credited": team,
        "credit": _credit(credit_of(team, now=timezone.now())),
        "entries": _entries(team),
        "form": form,
        "currency": settings.ENVIRONMENT.currency,
    }
    return render(request, "billing/credit.html", context, status=422 if form.errors else 200)


@require_POST
def credit_binding(request: HttpRequest, credited: str) -> HttpResponse:
    operator = require_operator(request.user)
    team = get_object_or_404(Team, slug=credited, archived_at=None)
    set_binding(team=team, binding="on" in request.POST, by=operator)
    messages.success(request, _("Saved. It is in force within a second."))
    return redirect("billing:credit", credited=team.slug)


def _form(request: HttpRequest, team: Team) -> BudgetForm:
    """An empty one, or one to change the budget that the address names, or the first of the key that it names."""
    wanted, key = request.GET.get("change", ""), request.GET.get("key", "")
    budgets = Budget.objects.filter(team=team, period=Period.MONTH)
    found = None
    if _is_id(wanted):
        found = budgets.filter(pk=int(wanted)).first()
    elif _is_id(key):
        found = budgets.filter(key=int(key)).order_by("unit").first()
    if found is not None:
        return BudgetForm.of(found, team=team)
    return BudgetForm(team=team, initial={"subject": f"key-{key}"} if _is_id(key) else {})


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _of_team(team: Team, now: datetime, *, member: User | None = None) -> dict[str, Any]:
    zone = ZoneInfo(team.time_zone)
    found = months(budgets_of(team, now=now, member=member), team=team, now=now)
    budgets: list[ShownBudget] = [shown(one.standing, now=now, zone=zone, used_up_on=one.likely_end) for one in found]
    renews = next((one.standing.renews for one in budgets), None)
    local = now.astimezone(zone)
    return {
        "shown": team,
        "budgets": budgets,
        "credit": _credit(credit_of(team, now=now)),
        "month": formats.date_format(local, "YEAR_MONTH_FORMAT"),
        "zone": zone_in_words(local, zone.key),
        "renews": formats.date_format(renews.astimezone(zone), "DATE_FORMAT") if renews else "",
        "today": budgets[0].today if budgets else "",
    }


def _credit(credit: Credit | None) -> ShownCredit | None:
    if credit is None:
        return None
    held = credit.standing.reserved
    return ShownCredit(
        balance=money(credit.balance),
        reserved=money(held) if held else "",
        available=money(credit.available),
        binding=credit.binding,
        empty=credit.available <= 0,
    )


def _entries(team: Team) -> list[ShownEntry]:
    return [
        ShownEntry(
            at=entry.at,
            kind=str(CreditEntry.Kind(entry.kind).label),
            amount=money(entry.amount),
            note=entry.note,
            by=entry.by_name or _("command line"),
        )
        for entry in entries_of(team)
    ]
