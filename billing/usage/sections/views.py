"""Sections of the usage page that are fetched when somebody looks at them."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from accounts.access import membership_for
from billing.usage.captions import days_in_words
from billing.usage.forms import UsageForm
from billing.usage.scopes import scope_of
from billing.usage.sections.page import the_week


@require_GET
def hours(request: HttpRequest, slug: str) -> HttpResponse:
    """The week's heat map of the usage page's question: the figure for HTMX, else a page of its own."""
    scope, _whole_team = scope_of(membership_for(request.user, slug))
    question = UsageForm(request.GET, scope=scope, now=timezone.now()).question()
    context = {"shown": scope.team, "sections": {"week": the_week(question)}, "days": days_in_words(question.period)}
    is_part = bool(request.htmx)  # type: ignore[attr-defined]  # set by django-htmx's middleware
    template = "billing/sections.html#hours" if is_part else "billing/hours.html"
    response = render(request, template, context)
    response["Vary"] = "HX-Request"
    return response
