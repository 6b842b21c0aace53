"""The pages of this room: keys, the first sign-in, preferences."""

from dataclasses import dataclass

from allauth.account.internal.flows.login import record_authentication
from allauth.account.utils import perform_login
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.middleware import HtmxDetails

from accounts.access import has_role, may_create_keys, memberships, role_in, signed_in, team_for
from accounts.forms import KeyFilterForm, PreferencesForm, ProfileForm
from accounts.keys import revoke_key, visible_keys
from accounts.models import ApiKey, Role, Team, User
from accounts.people import owner_of_first_link

COOKIE_SECONDS = 365 * 24 * 3600


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def first_sign_in(request: HttpRequest, token: str) -> HttpResponse:
    """GET shows a button and POST signs in, so that a link preview does not use the link up."""
    with transaction.atomic():
        user = owner_of_first_link(token)
        if user is None:
            return render(request, "accounts/first_sign_in.html", {"spent": True}, status=404)
        if request.method != "POST":
            return render(request, "accounts/first_sign_in.html", {"email": user.email})
        record_authentication(request, user, method="first-link")
        response: HttpResponse = perform_login(request, user, redirect_url=reverse("account_set_password"))
        return response


@login_not_required
@require_POST
def preferences(request: HttpRequest) -> HttpResponse:
    """Kept with the person, and in cookies for the pages before the door."""
    form = PreferencesForm(request.POST)
    after = request.POST.get("next", "/")
    safe = url_has_allowed_host_and_scheme(after, allowed_hosts={request.get_host()}, require_https=request.is_secure())
    response = redirect(after if safe else "/")
    if form.is_valid():
        if isinstance(request.user, User):
            form.save(request.user)
        for cookie, value in form.cookies().items():
            response.set_cookie(
                cookie, value, max_age=COOKIE_SECONDS, secure=settings.SECURE_TRANSPORT, httponly=True, samesite="Lax"
            )
    return response


@require_http_methods(["GET", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    user = signed_in(request.user)
    form = ProfileForm(request.POST if request.method == "POST" else None, initial={"name": user.name})
    if request.method == "POST" and form.is_valid():
        form.save(user)
        messages.success(request, _("Saved."))
        return redirect("accounts:profile")
    context = {"form": form, "memberships": memberships(user).select_related("team").order_by("team__name")}
    return render(request, "accounts/profile.html", context, status=422 if form.errors else 200)


@dataclass(frozen=True, slots=True)
class KeyCounts:
    all: int
    active: int
    closed: int


@require_GET
def keys(request: HttpRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug, role=Role.MEMBER)
    user = signed_in(request.user)
    rows = visible_keys(team, user=user, all_of_team=_administers(user, team))
    active = sum(key.state == "active" for key in rows)
    form = KeyFilterForm(request.GET)
    context = {
        "team": team,
        "keys": _filtered(rows, form),
        "counts": KeyCounts(all=len(rows), active=active, closed=len(rows) - active),
        "form": form,
        "may_create": may_create_keys(user, team),
    }
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]  # set by django-htmx's middleware
    part = htmx and not htmx.history_restore_request  # going back asks for the whole page
    template = "accounts/keys.html#list" if part else "accounts/keys.html"
    return render(request, template, context)


@require_http_methods(["GET", "POST"])
def revoke(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    team = team_for(request.user, slug, role=Role.MEMBER)
    user = signed_in(request.user)
    key = _own_or_administered(user, team, pk)
    if request.method == "POST":
        revoke_key(key=key, by=user)
        return redirect("accounts:keys", slug=team.slug)
    return render(request, "accounts/revoke_key.html", {"team": team, "key": key})


@require_GET
def first_use(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The line under a new key that waits for its first request."""
    team = team_for(request.user, slug, role=Role.MEMBER)
    key = _own_or_administered(signed_in(request.user), team, pk)
    return render(request, "components/first_use.html", {"team": team, "key": key})


def _administers(user: User, team: Team) -> bool:
    return has_role(role_in(user, team), Role.ADMIN)


def _own_or_administered(user: User, team: Team, pk: int) -> ApiKey:
    key = get_object_or_404(ApiKey.objects.select_related("team", "owner"), pk=pk, team=team)
    if key.owner_id != user.pk and not _administers(user, team):
        raise Http404
    return key


def _filtered(rows: list[ApiKey], form: KeyFilterForm) -> list[ApiKey]:
    if not form.is_valid():
        return rows
    words, state = form.cleaned_data["q"].casefold(), form.cleaned_data["state"]
    return [
        key
        for key in rows
        if (not state or (key.state == "active") == (state == "active"))
        and (not words or words in key.name.casefold() or words in key.masked.casefold())
    ]
