"""What every page's frame shows: the team one is in, the other teams, how it looks."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from accounts.access import TEAM_IN_SESSION, memberships_of
from accounts.forms import THEME_COOKIE
from accounts.models import Role, Team, User
from billing.alerts.show import Heads, heads
from console import VERSION


def shell(request: HttpRequest) -> dict[str, Any]:
    user = getattr(request, "user", None)
    theme = user.theme if isinstance(user, User) else request.COOKIES.get(THEME_COOKIE, "")
    base: dict[str, Any] = {
        "theme": theme if theme in {"light", "dark"} else "",
        "version": VERSION,
        "signup_open": settings.ENVIRONMENT.signup == "open",
        "team": None,
        "teams": [],
        "role": None,
        "banner": None,
    }
    if not isinstance(user, User) or not user.is_active:
        return base
    standings = {one.team: Role(one.role) for one in memberships_of(user)}
    teams = list(standings)
    team = current_team(request, teams)
    role = standings[team] if team else None
    return base | {"teams": teams, "team": team, "role": role, "banner": banner(request, user, team, role)}


def banner(request: HttpRequest, user: User, team: Team | None, role: Role | None) -> Callable[[], Heads] | None:
    """The alerts above a page of the team or, for operators, the platform; asked for when a template comes to it."""
    match = request.resolver_match
    if team and match and match.kwargs.get("slug") == team.slug:
        return partial(heads, team, user, role)
    if user.is_operator and match and match.route.startswith("operator/"):
        return partial(heads, None, user, None)
    return None


def current_team(request: HttpRequest, teams: list[Team]) -> Team | None:
    """The team in the address, else the one last looked at, else the first."""
    match = request.resolver_match
    wanted = (match.kwargs.get("slug") if match else None) or request.session.get(TEAM_IN_SESSION)
    return next((team for team in teams if team.slug == wanted), teams[0] if teams else None)
