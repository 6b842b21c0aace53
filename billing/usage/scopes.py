"""Whose usage a person may look at."""

from accounts.models import Membership, Role
from billing.usage.questions import Scope


def scope_of(membership: Membership) -> tuple[Scope, bool]:
    """Whose rows somebody sees: a member his own, everybody else the team's. And whether it is the team's."""
    own = membership.role == Role.MEMBER
    return Scope(membership.team, member_id=membership.user_id if own else None), not own
