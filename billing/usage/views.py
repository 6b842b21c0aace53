from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import pgettext
from django.views.decorators.http import require_GET
from django_htmx.middleware import HtmxDetails

from accounts.access import (
    TEAM_IN_SESSION,
    has_role,
    membership_for,
    require_operator,
    role_in,
    signed_in,
    team_for,
    teams_of,
)
from accounts.models import ApiKey, Role, Team
from billing import numbers
from billing.budgets import words as budget_words
from billing.budgets.monthly import budgets_of_key
from billing.limits.tiers import bounds_of_key
from billing.limits.words import phrases
from billing.usage import captions, charts, files, filters
from billing.usage.forms import UsageForm
from billing.usage.glances import week_of_key, week_of_team
from billing.usage.links import Links
from billing.usage.page import context
from billing.usage.questions import Question, Scope
from billing.usage.reports import usage
from billing.usage.scopes import scope_of
from billing.usage.sections.page import sections
from billing.usage.sums import Sums

# In the address, parts of the page that are read when they are wanted: its lower half, and what may be filtered by.
BELOW = "below"
FILTERS = "filters"


@dataclass(frozen=True, slots=True)
class Place:
    """Whose usage a page shows, what it is called, where it is, and where its files are."""

    scope: Scope
    title: str
    name: str  # how its files begin
    path: str
    files: Callable[[str], str]
    log: str = ""  # the log's address; empty: none where this reader sees the same rows
    log_filters: tuple[tuple[str, int], ...] = ()
    extra: tuple[tuple[str, str], ...] = ()  # what the address says beside the question


@require_GET
def usage_page(request: HttpRequest, slug: str) -> HttpResponse:
    return _page(request, _of_team(request, slug))


@require_GET
def usage_file(request: HttpRequest, slug: str, form: str) -> HttpResponse:
    return _file(request, _of_team(request, slug), form)


@require_GET
def my_usage(request: HttpRequest) -> HttpResponse:
    return _page(request, _of_mine(request))


@require_GET
def my_usage_file(request: HttpRequest, form: str) -> HttpResponse:
    return _file(request, _of_mine(request), form)


@require_GET
def platform_usage(request: HttpRequest) -> HttpResponse:
    require_operator(request.user)
    return _page(request, _of_platform())


@require_GET
def platform_usage_file(request: HttpRequest, form: str) -> HttpResponse:
    require_operator(request.user)
    return _file(request, _of_platform(), form)


@require_GET
def key_report(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    return _page(request, _of_key(request, slug, pk))


@require_GET
def key_report_file(request: HttpRequest, slug: str, pk: int, form: str) -> HttpResponse:
    return _file(request, _of_key(request, slug, pk), form)


@require_GET
def key_usage(request: HttpRequest, pk: int) -> HttpResponse:
    """A key's last seven days, for the table of keys."""
    key = get_object_or_404(ApiKey.objects.select_related("team"), pk=pk)
    scope, _whole_team = scope_of(membership_for(request.user, key.team.slug))
    if scope.member_id not in {None, key.owner_id}:  # the table shows members their own alone
        raise Http404
    now = timezone.now()
    week = week_of_key(key, now=now)
    found = _week_context(week.sums, week.total) | {
        "limits": phrases(bounds_of_key(key)),
        "budgets": [budget_words.used(standing) for standing in budgets_of_key(key, now=now)],
    }
    return render(request, "billing/week.html#key-week", found)


@require_GET
def team_week(request: HttpRequest, slug: str) -> HttpResponse:
    """The team's last seven days, for the home page."""
    team = team_for(request.user, slug)
    week = week_of_team(team, now=timezone.now())
    return render(request, "billing/week.html#team-week", _week_context(week.sums, week.total) | {"shown": team})


def _of_team(request: HttpRequest, slug: str) -> Place:
    """To a member it shows what is his own, as the log does."""
    membership = membership_for(request.user, slug)
    team, (scope, whole_team) = membership.team, scope_of(membership)
    return Place(
        scope,
        pgettext("consumption", "Usage") if whole_team else _("My usage"),
        team.slug if whole_team else f"{team.slug}-me",
        reverse("billing:usage", args=[team.slug]),
        lambda form: reverse(f"billing:usage-{form}", args=[team.slug]),
        _log(team),
        () if whole_team else (("member", membership.user_id),),
    )


def _of_mine(request: HttpRequest) -> Place:
    """In one team at a time, since each has days of its own: the one asked for, else the one looked at last."""
    user = signed_in(request.user)
    teams = teams_of(user)
    if not teams:
        raise Http404
    wanted = request.GET.get("of") or request.session.get(TEAM_IN_SESSION)
    team = next((team for team in teams if team.slug == wanted), teams[0])
    return Place(
        Scope(team, member_id=user.pk),
        _("My usage"),
        f"{team.slug}-me",
        reverse("billing:my-usage"),
        lambda form: reverse("billing:my-usage-file", args=[form]),
        _log(team),
        (("member", user.pk),),
        extra=(("of", team.slug),) if len(teams) > 1 else (),
    )


def _of_platform() -> Place:
    return Place(
        Scope(None),
        _("Usage of all teams"),
        "platform",
        reverse("billing:platform-usage"),
        lambda form: reverse("billing:platform-usage-file", args=[form]),
    )


def _of_key(request: HttpRequest, slug: str, pk: int) -> Place:
    """For who administers the team and for the key's owner. To anybody else in the team the page does not exist."""
    team = team_for(request.user, slug)
    key = get_object_or_404(ApiKey, pk=pk, team=team)
    user = signed_in(request.user)
    if key.owner_id != user.pk and not has_role(role_in(user, team), Role.ADMIN):
        raise Http404
    return Place(
        Scope(team, key_id=key.pk),
        _("Usage of the key “%s”") % key.name,
        f"{team.slug}-key-{key.pk}",
        reverse("billing:key-report", args=[team.slug, key.pk]),
        lambda form: reverse("billing:key-report-file", args=[team.slug, key.pk, form]),
        _log(team),
        (("key", key.pk),),
    )


def _log(team: Team) -> str:
    return reverse("billing:log", args=[team.slug])


def _page(request: HttpRequest, place: Place) -> HttpResponse:
    now = timezone.now()
    form, question, links = _asked(request, place, now)
    part_asked = request.GET.get("part")
    if part_asked == BELOW:
        return _below(request, place, question, links, now)
    if part_asked == FILTERS:
        return _filters(request, place, question, links)
    found = context(form, question, links, now=now) | {
        "shown": place.scope.team,
        "title": place.title,
        "path": place.path,
        "below": links.to(part=BELOW),
        "panel": links.to(part=FILTERS),
        "files": _files(place, links),
        "teams_of_mine": _teams(request, place),
        "base_url": settings.BASE_URL,
        "whole_team": place.scope == Scope(place.scope.team) and place.scope.team is not None,
    }
    part = _wants_part(request)
    response = render(request, "billing/usage.html#report" if part else "billing/usage.html", found)
    response["Vary"] = "HX-Request"
    if part:  # a form sends all of its fields; the address keeps what is not as usual
        response["HX-Push-Url"] = links.to()
    return response


def _below(request: HttpRequest, place: Place, question: Question, links: Links, now: datetime) -> HttpResponse:
    """The lower half, which the page fetches once it is there; a page of its own for who has no script."""
    found = sections(question, now=now, state=links.state) | {
        "shown": place.scope.team,
        "title": place.title,
        "days": captions.days_in_words(question.period),
        "back": links.to(),
    }
    response = render(request, "billing/sections.html" if _wants_part(request) else "billing/below.html", found)
    response["Vary"] = "HX-Request"
    return response


def _filters(request: HttpRequest, place: Place, question: Question, links: Links) -> HttpResponse:
    """What the panel of filters holds, fetched when it is opened; a page of its own for who has no script."""
    found = {
        "shown": place.scope.team,
        "title": place.title,
        "path": place.path,
        "kept": links.beside_the_filters(),
        "offers": filters.offers(question),
        "days": captions.days_in_words(question.period),
        "back": links.to(),
    }
    part = _wants_part(request)
    response = render(request, "billing/filters.html#panel" if part else "billing/filters.html", found)
    response["Vary"] = "HX-Request"
    return response


def _file(request: HttpRequest, place: Place, form: str) -> HttpResponse:
    """What the page shows under the same question."""
    if form not in files.FORMS:
        raise Http404
    now = timezone.now()
    _form, question, _links = _asked(request, place, now)
    return files.answer(usage(question, now=now), form, name=place.name, table=request.GET.get("table", ""))


def _asked(request: HttpRequest, place: Place, now: datetime) -> tuple[UsageForm, Question, Links]:
    form = UsageForm(request.GET, scope=place.scope, now=now)
    question = form.question()
    return form, question, Links(place.path, dict(place.extra) | form.state(), place.log, dict(place.log_filters))


def _files(place: Place, links: Links) -> list[tuple[str, str]]:
    """What each is called, and where it is."""
    found = [(form.upper(), links.file(place.files(form))) for form in files.offered()]
    return [*found, (_("CSV of the table"), links.file(place.files("csv"), table=files.BREAKDOWN))]


def _teams(request: HttpRequest, place: Place) -> list[Team]:
    """Among which somebody with several chooses whose account their own usage is on."""
    return teams_of(request.user) if place.extra else []


def _wants_part(request: HttpRequest) -> bool:
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]  # set by django-htmx's middleware
    return bool(htmx) and not htmx.history_restore_request


def _week_context(sums: tuple[Sums, ...], total: Sums) -> dict[str, Any]:
    return {
        "spark": charts.spark([float(one.tokens) for one in sums]),
        "total": total,
        "tokens": numbers.compact(total.tokens),
    }
