"""The pages that span rooms: home, a new key, quickstart, and whether the server is well."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from accounts.access import (
    TEAM_IN_SESSION,
    chat_caller,
    has_role,
    may_create_keys,
    role_in,
    signed_in,
    team_for,
    teams_of,
)
from accounts.errors import AlreadyIssued, NotAllowed
from accounts.models import ApiKey, Role, Team, User
from accounts.teams import set_dialect
from billing.alarms import alarms
from billing.errors import BooksClosed, UnknownZone
from chat.models import Conversation
from console.context import current_team
from console.forms import DialectForm, NewKeyForm, TimeZoneForm
from console.zones import change_time_zone, offset, zones
from gateway.catalogue import models_for
from gateway.models import Engine, EngineType


@dataclass(frozen=True, slots=True)
class Step:
    """One line of "what to do next". `action` is the word on its button."""

    name: str
    title: str
    text: str
    action: str
    url: str
    done: bool


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    team = current_team(request, teams_of(request.user))
    if team is None:
        return render(request, "console/no_team.html")
    return redirect("console:team-home", slug=team.slug)


@require_GET
def team_home(request: HttpRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug)
    user = signed_in(request.user)
    request.session[TEAM_IN_SESSION] = team.slug
    steps = _steps(user, team)
    context = {
        "team": team,
        "greeting": _greeting(),
        "steps": steps,
        "next_step": next((step for step in steps if not step.done), None),
        "done_count": sum(step.done for step in steps),
        "newest_key": _keys_to_watch(user, team).filter(revoked_at=None).order_by("-created_at").first(),
        "conversations": Conversation.objects.filter(user=user, team=team).order_by("-updated_at")[:5],
        "models": _models(user, team),
        "base_url": settings.BASE_URL,
        "alarms": alarms() if user.is_operator else None,
        "may_chat": has_role(role_in(user, team), Role.MEMBER),
        "may_create_keys": may_create_keys(user, team),
    }
    return render(request, "console/home.html", context)


@require_http_methods(["GET", "POST"])
def team_settings(request: HttpRequest, slug: str) -> HttpResponse:
    """Each section of the page is a form of its own."""
    team = team_for(request.user, slug, role=Role.ADMIN)
    user, now = signed_in(request.user), timezone.now()
    data = request.POST if request.method == "POST" else None
    moves = data is not None and "time_zone" in data
    dialect = DialectForm(None if moves else data, initial={"dialect": team.dialect})
    zone = TimeZoneForm(data if moves else None, initial={"time_zone": team.time_zone})
    if (moves and zone.is_valid() and _moved(zone, team, user)) or dialect.is_valid():
        if not moves:
            set_dialect(team=team, dialect=dialect.cleaned_data["dialect"], by=user)
        messages.success(request, _("Saved."))
        return redirect("console:team-settings", slug=team.slug)
    context = {
        "team": team,
        "dialect_form": dialect,
        "zone_form": zone,
        "zones": zones(now=now),
        "now": now.astimezone(ZoneInfo(team.time_zone)),
        "offset": offset(team.time_zone, now=now),
    }
    return render(request, "console/team_settings.html", context, status=422 if data is not None else 200)


def _moved(form: TimeZoneForm, team: Team, user: User) -> bool:
    """False: the form says why not."""
    try:
        change_time_zone(team=team, time_zone=form.cleaned_data["time_zone"], by=user)
    except BooksClosed:
        form.add_error(
            "time_zone", _("Months of this team are closed, and their sums must stay. An operator can open them again.")
        )
    except UnknownZone:
        form.add_error("time_zone", _("The database does not know this time zone. Choose another name for it."))
    else:
        return True
    return False


@never_cache
@require_http_methods(["GET", "POST"])
def new_key(request: HttpRequest, slug: str) -> HttpResponse:
    """The answer to the POST is the one time that the secret is shown; it is stored nowhere, so not redirected to.

    Loading that answer again posts again, which makes no second key.
    """
    team = team_for(request.user, slug, role=Role.MEMBER)
    user = signed_in(request.user)
    if not may_create_keys(user, team):
        raise PermissionDenied
    models = _models(user, team)
    may_serve = has_role(role_in(user, team), Role.ADMIN)
    given = request.POST if request.method == "POST" else None
    form = NewKeyForm(given, team=team, models=models, may_serve=may_serve)
    context = {"team": team, "form": form, "base_url": settings.BASE_URL}
    if request.method != "POST" or not form.is_valid():
        status = 422 if form.errors else 200
        return render(request, "console/new_key.html", context, status=status)
    try:
        issued = form.save(team=team, by=user)
    except AlreadyIssued as error:
        key = ApiKey.objects.get(pk=error.key_id)
        return render(request, "console/key_made_before.html", context | {"key": key})
    model = (issued.key.models or models or ["model"])[0]
    return render(request, "console/key_created.html", context | {"issued": issued, "key": issued.key, "model": model})


@require_GET
def quickstart(request: HttpRequest) -> HttpResponse:
    team = current_team(request, teams_of(request.user))
    if team is None:
        return render(request, "console/no_team.html")
    context = {
        "team": team,
        "models": _models(signed_in(request.user), team),
        "base_url": settings.BASE_URL,
        "may_create_keys": may_create_keys(request.user, team),
    }
    return render(request, "console/quickstart.html", context)


def _steps(user: User, team: Team) -> list[Step]:
    keys = _keys_to_watch(user, team)
    steps = []
    if user.is_operator:
        steps.append(
            Step(
                name="engine",
                title=_("Connect an engine"),
                text=_("Until then a demo answers. Ollama, vLLM, llama.cpp or any OpenAI-compatible server will do."),
                action=_("Connect"),
                url=reverse("gateway:engines"),
                done=Engine.objects.filter(enabled=True).exclude(type=EngineType.DEMO).exists(),
            )
        )
    if has_role(role_in(user, team), Role.MEMBER):
        steps.append(
            Step(
                name="chat",
                title=_("Ask a first question"),
                text=_("Choose a model and read the answer as it is written."),
                action=_("Open the chat"),
                url=reverse("chat:home"),
                done=Conversation.objects.filter(user=user, team=team).exists(),
            )
        )
    if may_create_keys(user, team):
        steps += [
            Step(
                name="key",
                title=_("Create an API key"),
                text=_("Programs call the same models with it. It is shown once."),
                action=_("Create key"),
                url=reverse("console:new-key", args=[team.slug]),
                done=keys.exists(),
            ),
            Step(
                name="call",
                title=_("Make a first call"),
                text=_("Copy this curl, put your key in, and run it in a terminal."),
                action=_("Quickstart"),
                url=reverse("console:quickstart"),
                done=keys.exclude(last_used_at=None).exists(),
            ),
        ]
    steps.append(
        Step(
            name="second-factor",
            title=_("Turn on a second factor"),
            text=_("A passkey or an authenticator app keeps your account yours."),
            action=_("Turn on"),
            url=reverse("mfa_index"),
            done=user.authenticator_set.exists(),
        )
    )
    return sorted(steps, key=lambda step: step.done)


def _keys_to_watch(user: User, team: Team) -> QuerySet[ApiKey]:
    """The team's for its admins, else one's own."""
    keys = ApiKey.objects.filter(team=team)
    return keys if has_role(role_in(user, team), Role.ADMIN) else keys.filter(owner=user)


def _models(user: User, team: Team) -> list[str]:
    """The public ids of what the person may use on the team's account; none for those who only read reports."""
    try:
        return [model.public_id for model in models_for(chat_caller(user, team))]
    except NotAllowed:
        return []


def _greeting() -> str:
    hour = timezone.localtime().hour
    if hour < 5:
        return _("Hello")
    if hour >= 19:
        return _("Good evening")
    return _("Good morning") if hour < 12 else _("Good afternoon")
