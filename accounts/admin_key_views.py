"""Admin keys: a team's, made by its admins, and the platform's, made by operators."""

from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts.access import require_operator, signed_in, team_for
from accounts.admin_keys import issue_admin_key, keys_of, revoke_admin_key
from accounts.errors import AlreadyIssued
from accounts.forms import AdminKeyForm
from accounts.models import AdminKey, Role, Team, User

SHOWN = timedelta(days=6)  # a week with today, in the example


@require_http_methods(["GET", "POST"])
def of_team(request: HttpRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug, role=Role.ADMIN)
    return _page(request, team, signed_in(request.user))


@require_http_methods(["GET", "POST"])
def of_platform(request: HttpRequest) -> HttpResponse:
    return _page(request, None, require_operator(request.user))


@require_http_methods(["GET", "POST"])
def revoke(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    team = team_for(request.user, slug, role=Role.ADMIN)
    return _revoke(request, team, signed_in(request.user), pk)


@require_http_methods(["GET", "POST"])
def revoke_of_platform(request: HttpRequest, pk: int) -> HttpResponse:
    return _revoke(request, None, require_operator(request.user), pk)


def _page(request: HttpRequest, team: Team | None, user: User) -> HttpResponse:
    """The answer to the POST is the one time that the secret is shown. Loading it again makes no second key."""
    form = AdminKeyForm(request.POST if request.method == "POST" else None)
    issued = None
    if request.method == "POST" and form.is_valid():
        chosen = form.cleaned_data
        try:
            issued = issue_admin_key(
                team=team, name=chosen["name"], by=user, expires_at=form.expires_at(), form_id=chosen["form_id"]
            )
        except AlreadyIssued:
            return redirect(_home(team))
    context = {
        "shown": team,
        "form": AdminKeyForm() if issued else form,
        "issued": issued,
        "listed": keys_of(team),
        "base_url": settings.BASE_URL,
        "home": _home(team),
        "first": int((timezone.now() - SHOWN).timestamp()),
    }
    return render(request, "accounts/admin_keys.html", context, status=422 if form.errors else 200)


def _revoke(request: HttpRequest, team: Team | None, user: User, pk: int) -> HttpResponse:
    key = get_object_or_404(AdminKey, pk=pk, team=team)
    if request.method == "POST":
        revoke_admin_key(key=key, by=user)
        return redirect(_home(team))
    return render(request, "accounts/revoke_admin_key.html", {"shown": team, "key": key, "home": _home(team)})


def _home(team: Team | None) -> str:
    return reverse("accounts:platform-keys") if team is None else reverse("accounts:admin-keys", args=[team.slug])
