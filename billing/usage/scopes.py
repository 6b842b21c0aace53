"""Whose usage a person may look at."""

from accounts.access import role_in
from accounts.models import Role, Team, User
from billing.usage.questions import Scope


def scope_of(user: User, team: Team) -> tuple[Scope, bool]:
    """Whose rows somebody sees: a member his own, everybody else the team's. And whether it is the team's."""
    own = role_in(user, team) == Role.MEMBER
    return Scope(team, member_id=user.pk if own else None), not own
