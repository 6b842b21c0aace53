"""Pages for limits: an operator's tiers, and a team's own."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.middleware import HtmxDetails

from accounts.access import has_role, require_operator, role_in, signed_in, team_for
from accounts.models import ApiKey, Membership, Role, Team, User
from billing.errors import TierMistake
from billing.limits.forms import GiveTierForm, LimitsForm, TierForm
from billing.limits.limiter import limiter
from billing.limits.presets import BY_NAME, PRESETS
from billing.limits.tiers import (
    add_tier,
    bounds_of_key,
    bounds_of_member,
    change_tier,
    give_tier,
    limit_key,
    limit_member,
    load_preset,
    remove_tier,
    subject_of_key,
    subject_of_member,
    subject_of_team,
    tier_of,
)
from billing.limits.windows import Bounds, Standing, Subject
from billing.limits.words import Shown, phrases, shown
from billing.models import KeyLimit, MemberLimit, Tier


@require_http_methods(["GET", "POST"])
def tiers(request: HttpRequest) -> HttpResponse:
    """POST adds one."""
    user = require_operator(request.user)
    form = TierForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            tier = add_tier(
                name=form.cleaned_data["name"],
                bounds=form.bounds(),
                is_default=form.cleaned_data["is_default"],
                by=user,
            )
        except TierMistake as error:
            form.add_error(error.param, error.message)
        else:
            messages.success(request, _("Saved."))
            return redirect("billing:tier", pk=tier.pk)
    teams = Count("teams", filter=Q(teams__team__archived_at=None))
    rows = Tier.objects.annotate(team_count=teams).order_by("-is_default", "name")
    context = {
        "tiers": [(tier, phrases(tier.bounds)) for tier in rows],
        "form": form,
        "presets": PRESETS,
        "counting": limiter.counting.value,
        "workers": limiter.workers,
    }
    return render(request, "billing/tiers.html", context, status=422 if form.errors else 200)


@require_POST
def load(request: HttpRequest) -> HttpResponse:
    user = require_operator(request.user)
    preset = BY_NAME.get(request.POST.get("preset", ""))
    if preset is not None:
        count = len(load_preset(preset=preset, by=user))
        said = ngettext("%(count)d tier added.", "%(count)d tiers added.", count) % {"count": count}
        messages.success(request, said if count else _("They are all there already."))
    return redirect("billing:tiers")


@require_http_methods(["GET", "POST"])
def tier(request: HttpRequest, pk: int) -> HttpResponse:
    user = require_operator(request.user)
    row = get_object_or_404(Tier, pk=pk)
    form = TierForm.of(row, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        chosen = form.cleaned_data
        try:
            change_tier(tier=row, name=chosen["name"], bounds=form.bounds(), is_default=chosen["is_default"], by=user)
        except TierMistake as error:
            form.add_error(error.param, error.message)
        else:
            messages.success(request, _("Saved."))
            return redirect("billing:tier", pk=pk)
    return render(request, "billing/tier.html", _tier_context(row, form), status=422 if form.errors else 200)


@require_POST
def give(request: HttpRequest, pk: int) -> HttpResponse:
    """Gives the tier to the team that is named, or takes it from it."""
    user = require_operator(request.user)
    row = get_object_or_404(Tier, pk=pk)
    if "take" in request.POST:
        taken = Team.objects.filter(slug=request.POST["take"].replace("\0", "")).first()
        if taken is not None and tier_of(taken) == row:
            give_tier(team=taken, tier=None, by=user)
        return redirect("billing:tier", pk=pk)
    form = GiveTierForm(request.POST, teams=_teams_without(row))
    if form.is_valid():
        give_tier(team=form.cleaned_data["team"], tier=row, by=user)
        messages.success(request, _("Saved."))
    return redirect("billing:tier", pk=pk)


@require_http_methods(["GET", "POST"])
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    user = require_operator(request.user)
    row = get_object_or_404(Tier, pk=pk)
    if request.method == "POST":
        remove_tier(tier=row, by=user)
        messages.success(request, _("Removed."))
        return redirect("billing:tiers")
    return render(request, "billing/remove_tier.html", {"tier": row, "team_count": row.teams.count()})


@dataclass(frozen=True, slots=True)
class Row:
    """Somebody's or some key's line: the limits in words and, of the fullest window, how it stands."""

    of: ApiKey | User
    limits: list[str]
    fullest: Shown | None


@require_GET
def limits(request: HttpRequest, slug: str) -> HttpResponse:
    """The team's windows as they stand; to its admins those of all keys and members, to others their own."""
    team = team_for(request.user, slug, role=Role.MEMBER)
    user = signed_in(request.user)
    is_admin = has_role(role_in(user, team), Role.ADMIN)
    given = tier_of(team)
    keys = _live_keys(team, None if is_admin else user)
    people = _people(team) if is_admin else [user]
    key_bounds = {row.key_id: row.bounds for row in KeyLimit.objects.filter(key__in=keys)}
    member_bounds = {row.user_id: row.bounds for row in MemberLimit.objects.filter(team=team, user__in=people)}
    subjects = [
        *([subject_of_team(team, given.bounds)] if given else []),
        *(subject_of_key(key, key_bounds[key.pk]) for key in keys if key.pk in key_bounds),
        *(subject_of_member(team, one.pk, member_bounds[one.pk]) for one in people if one.pk in member_bounds),
    ]
    found = _by_subject(subjects)
    context = {
        "shown": team,
        "is_admin": is_admin,
        "tier": given,
        "windows": [shown(one) for one in found.get(f"team/{team.pk}", [])],
        "keys": [_row(key, key_bounds.get(key.pk), found.get(f"key/{key.pk}")) for key in keys],
        "people": [_row(one, member_bounds.get(one.pk), found.get(f"member/{team.pk}/{one.pk}")) for one in people],
    }
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]  # set by django-htmx's middleware
    part = "#use" if htmx and not htmx.history_restore_request else ""
    response = render(request, f"billing/limits.html{part}", context)
    response["Vary"] = "HX-Request"
    return response


@require_http_methods(["GET", "POST"])
def key_limits(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    team = team_for(request.user, slug, role=Role.ADMIN)
    key = get_object_or_404(ApiKey.objects.select_related("team"), pk=pk, team=team, revoked_at=None)
    form = LimitsForm(request.POST if request.method == "POST" else None, bounds=bounds_of_key(key))
    if request.method == "POST" and form.is_valid():
        limit_key(key=key, bounds=form.bounds(), by=signed_in(request.user))
        messages.success(request, _("Saved. It holds within a second."))
        return redirect("billing:limits", slug=slug)
    context = {"shown": team, "form": form, "name": key.name, "key": key, "tier": tier_of(team)}
    return render(request, "billing/limit.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def member_limits(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    team = team_for(request.user, slug, role=Role.ADMIN)
    person = get_object_or_404(User, pk=pk, memberships__team=team)
    form = LimitsForm(request.POST if request.method == "POST" else None, bounds=bounds_of_member(team, person))
    if request.method == "POST" and form.is_valid():
        limit_member(team=team, user=person, bounds=form.bounds(), by=signed_in(request.user))
        messages.success(request, _("Saved. It holds within a second."))
        return redirect("billing:limits", slug=slug)
    context = {"shown": team, "form": form, "name": str(person), "key": None, "tier": tier_of(team)}
    return render(request, "billing/limit.html", context, status=422 if form.errors else 200)


def _tier_context(row: Tier, form: TierForm) -> dict[str, Any]:
    teams = Team.objects.filter(archived_at=None)
    given = [link.team for link in row.teams.select_related("team") if link.team.archived_at is None]
    without = _teams_without(row)
    return {
        "tier": row,
        "form": form,
        "given": sorted(given, key=lambda team: team.name.casefold()),
        "give_form": GiveTierForm(teams=without) if without else None,
        "is_for_all": row.is_default and teams.count() > len(given),
    }


def _teams_without(row: Tier) -> list[int]:
    given = row.teams.values_list("team_id", flat=True)
    return list(Team.objects.filter(archived_at=None).exclude(pk__in=given).values_list("pk", flat=True))


def _live_keys(team: Team, owner: User | None) -> list[ApiKey]:
    keys = ApiKey.objects.filter(team=team, revoked_at=None).select_related("team", "owner")
    return list((keys.filter(owner=owner) if owner else keys).order_by("name", "pk"))


def _people(team: Team) -> list[User]:
    rows = Membership.objects.filter(team=team).exclude(role=Role.VIEWER).select_related("user")
    return sorted((row.user for row in rows), key=lambda person: str(person).casefold())


def _by_subject(subjects: list[Subject]) -> dict[str, list[Standing]]:
    found: dict[str, list[Standing]] = {}
    for standing in limiter.look([subject for subject in subjects if subject.rules]):
        found.setdefault(standing.subject.name, []).append(standing)
    return found


def _row(of: ApiKey | User, bounds: Bounds | None, standings: list[Standing] | None) -> Row:
    fullest = max(standings, key=lambda one: one.used / one.limit) if standings else None
    return Row(of, phrases(bounds) if bounds else [], shown(fullest) if fullest else None)
