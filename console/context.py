"""What every page's frame shows: the team one is in, the other teams, how it looks."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from accounts.access import TEAM_IN_SESSION, role_in, teams_of
from accounts.forms import THEME_COOKIE
from accounts.models import Team, User
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
    }
    if not isinstance(user, User) or not user.is_active:
        return base
    teams = teams_of(user)
    team = current_team(request, teams)
    return base | {"teams": teams, "team": team, "role": role_in(user, team) if team else None}


def current_team(request: HttpRequest, teams: list[Team]) -> Team | None:
    """The team in the address, else the one last looked at, else the first."""
    match = request.resolver_match
    wanted = (match.kwargs.get("slug") if match else None) or request.session.get(TEAM_IN_SESSION)
    return next((team for team in teams if team.slug == wanted), teams[0] if teams else None)
