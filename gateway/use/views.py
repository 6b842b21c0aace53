"""Models in use: on the whole platform for operators, in a team for everybody who may see its reports."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET
from django_htmx.middleware import HtmxDetails

from accounts.access import membership_for, require_operator
from billing.usage.forms import UsageForm
from billing.usage.questions import Scope
from billing.usage.scopes import scope_of
from gateway.use import captions
from gateway.use.reports import in_use

STATE = ("period", "first", "last", "zone", "origin")  # of the usage page's question, what this page goes by too


@require_GET
def platform(request: HttpRequest) -> HttpResponse:
    require_operator(request.user)
    return _page(request, Scope(None))


@require_GET
def team(request: HttpRequest, slug: str) -> HttpResponse:
    """To a member it shows what is his own, as the log does."""
    scope, _whole_team = scope_of(membership_for(request.user, slug))
    return _page(request, scope)


def _page(request: HttpRequest, scope: Scope) -> HttpResponse:
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]  # set by django-htmx's middleware
    part = bool(htmx) and not htmx.history_restore_request
    response = render(
        request, "gateway/in_use.html#report" if part else "gateway/in_use.html", _context(request, scope)
    )
    response["Vary"] = "HX-Request"
    return response


def _context(request: HttpRequest, scope: Scope) -> dict[str, Any]:
    now, shown = timezone.now(), scope.team
    given = request.GET.copy()
    for name in set(given) - set(STATE):
        del given[name]
    form = UsageForm(given, scope=scope, now=now)
    report = in_use(form.question(), now=now)
    state = {name: str(given[name]) for name in STATE if given.get(name)}
    return {
        "shown": shown,
        "form": form,
        "report": report,
        "lead": captions.lead(report),
        "heading": captions.heading(report),
        "farewells": captions.farewells(report),
        "rows": captions.rows(report, state, shown),
        "idle": captions.idle_rows(report),
    }
