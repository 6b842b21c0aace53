"""The log of a team as pages and files, under the same address as the usage page."""

from dataclasses import dataclass, replace
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET
from django_htmx.middleware import HtmxDetails

from accounts.access import membership_for
from accounts.models import Team
from billing import moments
from billing.log import captions as log_captions
from billing.log.captions import Chip, Choices
from billing.log.files import CONTENT_TYPES, Form, lines, lines_async
from billing.log.refused import KEPT, read_refused
from billing.log.rows import Place, Window, read_page
from billing.models import Origin, Outcome
from billing.usage import captions
from billing.usage.forms import UsageForm
from billing.usage.names import key_labels, keys_of, member_labels, people_of
from billing.usage.questions import Filters, Question, Scope, days, quarters
from billing.usage.scopes import scope_of

REFUSED = "refused"  # the value of `show` in the address
OFFERED = 100  # values of a filter
NEITHER = ("before", "after", "show")  # what of the address is of this page alone


@dataclass(frozen=True, slots=True)
class Asked:
    team: Team
    form: UsageForm
    question: Question
    whole_team: bool  # False: a member, who sees what is his own


@require_GET
def log_page(request: HttpRequest, slug: str) -> HttpResponse:
    asked = _asked(request, slug)
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]  # set by django-htmx's middleware
    refused = request.GET.get("show") == REFUSED
    context = _rows(request, asked, refused=refused)
    part = ""
    if htmx and not htmx.history_restore_request:
        part = "#older" if htmx.target == "older" else "#log"
    if part != "#older":
        context |= _frame(request, asked, refused=refused)
    response = render(request, f"billing/log.html{part}", context)
    response["Vary"] = "HX-Request, HX-Target"
    return response


@require_GET
def log_csv(request: HttpRequest, slug: str) -> HttpResponseBase:
    return _file(request, slug, Form.CSV)


@require_GET
def log_ndjson(request: HttpRequest, slug: str) -> HttpResponseBase:
    return _file(request, slug, Form.NDJSON)


def _asked(request: HttpRequest, slug: str) -> Asked:
    membership = membership_for(request.user, slug)
    team, (scope, whole_team) = membership.team, scope_of(membership)
    form = UsageForm(request.GET, scope=scope, now=timezone.now())
    return Asked(team, form, form.question(), whole_team)


def _file(request: HttpRequest, slug: str, form: Form) -> HttpResponseBase:
    """Streamed: to a server in the event loop by its own way, where Django would collect an iterator first.

    A page falls back to what it can show, and says so. A file of other days than were asked for would say nothing.
    """
    asked = _asked(request, slug)
    if asked.form.errors:
        said = "\n".join(str(error) for errors in asked.form.errors.values() for error in errors)
        return HttpResponse(said, status=422, content_type="text/plain; charset=utf-8")
    content = lines_async if isinstance(request, ASGIRequest) else lines
    response = StreamingHttpResponse(content(asked.question, form), content_type=CONTENT_TYPES[form])
    period = asked.question.period
    name = f"{asked.team.slug}-log-{period.first}-{period.last}.{form}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _rows(request: HttpRequest, asked: Asked, *, refused: bool) -> dict[str, Any]:
    window, zone = _window(request), asked.question.period.zone
    if refused:
        calls = read_refused(asked.question, window)
        rows: list[Any] = [log_captions.refused_in_row(call, zone) for call in calls.rows]
        newer, older = calls.newer, calls.older
    else:
        page = read_page(asked.question, window)
        rows = [log_captions.row_in_words(entry, zone) for entry in page.rows]
        newer, older = page.newer, page.older
    return {
        "shown": asked.team,
        "rows": rows,
        "refused": refused,
        "newer": _address(request, after=newer) if newer else "",
        "older": _address(request, before=older) if older else "",
        "first_page": window.place is None,
    }


def _frame(request: HttpRequest, asked: Asked, *, refused: bool) -> dict[str, Any]:
    question = asked.question
    period = question.period
    said = moments.zone_in_words(timezone.now().astimezone(period.zone), period.zone.key)
    return {
        "form": asked.form,
        "lead": log_captions.lead(None if refused else _count(question), captions.days_in_words(period), said),
        "whole_team": asked.whole_team,
        "chips": list(_chips(request, asked)),
        "choices": _choices(asked),
        "query": _kept(request).urlencode(),
        "address": _address(request, show=None),
        "address_refused": _address(request, show=REFUSED),
        "without_filters": _without_filters(request),
        "kept_days": KEPT.days,
        "kept": [(name, value) for name in FILTERS for value in request.GET.getlist(name) if value],
    }


FILTERS = ("model", "key", "member", "outcome", "zone")


def _window(request: HttpRequest) -> Window:
    """What is no place is as if it were not there."""
    if place := Place.read(request.GET.get("after", "")):
        return Window(place, newer=True)
    return Window(Place.read(request.GET.get("before", "")))


def _count(question: Question) -> int:
    rows = quarters(question) if question.by_quarters else days(question)
    return rows.aggregate(number=Sum("requests"))["number"] or 0


def _kept(request: HttpRequest) -> Any:
    kept = request.GET.copy()
    for name in NEITHER:
        kept.pop(name, None)
    return kept


def _address(request: HttpRequest, **changed: object) -> str:
    """This page with the same question, from another place. `show` stays unless it is changed."""
    query = _kept(request)
    if "show" not in changed and request.GET.get("show") == REFUSED:
        query["show"] = REFUSED
    for name, value in changed.items():
        if value is not None:
            query[name] = str(value)
    return f"?{query.urlencode()}"


def _without_filters(request: HttpRequest) -> str:
    query = _kept(request)
    for name in (*FILTERS, "origin"):
        query.pop(name, None)
    return f"?{query.urlencode()}"


def _chips(request: HttpRequest, asked: Asked) -> list[Chip]:
    filters = asked.question.filters
    named = _names(asked.question.scope, filters)
    found = [
        Chip(label, named.get((name, value), str(value)), _without(request, name, str(value)))
        for name, label, values in (
            ("model", _("Model"), filters.models),
            ("key", _("Key"), filters.keys),
            ("member", _("Person"), filters.members),
            ("origin", _("Origin"), filters.origins),
            ("outcome", _("End"), filters.outcomes),
        )
        for value in values
    ]
    if asked.form["zone"].value() == "UTC":
        found.append(Chip(_("Time zone"), "UTC", _without(request, "zone", "UTC")))
    return found


def _without(request: HttpRequest, name: str, value: str) -> str:
    query = _kept(request)
    query.setlist(name, [one for one in query.getlist(name) if one != value])
    if request.GET.get("show") == REFUSED:
        query["show"] = REFUSED
    return f"?{query.urlencode()}"


def _names(scope: Scope, filters: Filters) -> dict[tuple[str, Any], str]:
    names: dict[tuple[str, Any], str] = {}
    if filters.keys:
        keys = key_labels(scope.team, filters.keys, among=keys_of(scope))
        names |= {("key", key): label for key, label in keys.items()}
    if filters.members:
        people = member_labels(filters.members, among=people_of(scope.team))
        names |= {("member", member): label for member, label in people.items()}
    names |= {("origin", str(value)): str(label) for value, label in Origin.choices}
    return names | {("outcome", str(value)): str(label) for value, label in Outcome.choices}


def _choices(asked: Asked) -> list[Choices]:
    """What there is in these days and is not chosen yet. A member's log has one person."""
    filters = asked.question.filters
    rows = days(replace(asked.question, filters=Filters())).order_by()

    def values(column: str, chosen: tuple[Any, ...]) -> list[Any]:
        found = rows.values_list(column).annotate(number=Sum("requests")).order_by("-number", column)[:OFFERED]
        return [value for value, _number in found if value not in chosen]

    models = values("model", filters.models)
    keys = key_labels(asked.team, values("key_id", filters.keys))
    people = member_labels(values("member_id", filters.members)) if asked.whole_team else {}
    outcomes = {str(value): str(label) for value, label in Outcome.choices}
    ends = [(value, outcomes[value]) for value in values("outcome", filters.outcomes) if value in outcomes]
    offered = (
        Choices("model", _("Model"), tuple((model, model) for model in models)),
        Choices("key", _("Key"), tuple(keys.items())),
        Choices("member", _("Person"), tuple(people.items())),
        Choices("outcome", _("End"), tuple(ends)),
    )
    return [one for one in offered if one.options]
