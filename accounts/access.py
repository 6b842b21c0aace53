"""Who may see and do what. Every page asks here on its first line; the API and the sockets ask the same."""

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404

from accounts.callers import Caller
from accounts.errors import NotAllowed
from accounts.models import Membership, Role, Team, User

type Visitor = User | AnonymousUser

TEAM_IN_SESSION = "team"  # the session's key for the slug of the team last looked at
RANK = {Role.VIEWER: 0, Role.MEMBER: 1, Role.ADMIN: 2, Role.OWNER: 3}


def signed_in(visitor: Visitor) -> User:
    """The visitor as a person. Login is required before a view runs, so anybody else is a mistake of ours."""
    if not isinstance(visitor, User) or not visitor.is_active:
        raise PermissionDenied
    return visitor


def memberships(visitor: Visitor) -> QuerySet[Membership]:
    return Membership.objects.filter(user=signed_in(visitor), team__archived_at=None)


def memberships_of(visitor: Visitor) -> list[Membership]:
    """With their teams, by the teams' names."""
    return list(memberships(visitor).select_related("team").order_by("team__name", "team__id"))


def teams_of(visitor: Visitor) -> list[Team]:
    """The visitor's teams by name."""
    return [row.team for row in memberships_of(visitor)]


def role_in(visitor: Visitor, team: Team) -> Role | None:
    found = memberships(visitor).filter(team=team).values_list("role", flat=True).first()
    return Role(found) if found else None


def has_role(role: Role | None, least: Role) -> bool:
    return role is not None and RANK[role] >= RANK[least]


def membership_for(visitor: Visitor, slug: str, *, role: Role = Role.VIEWER) -> Membership:
    """The visitor's place in the team, for somebody with at least `role` in it.

    Raises Http404 for outsiders, who must not learn that the team exists, and PermissionDenied for members without
    the role.
    """
    if "\0" in slug:  # no text for PostgreSQL
        raise Http404
    found = memberships(visitor).filter(team__slug=slug).select_related("team").first()
    if found is None:
        raise Http404
    if not has_role(Role(found.role), role):
        raise PermissionDenied
    return found


def team_for(visitor: Visitor, slug: str, *, role: Role = Role.VIEWER) -> Team:
    """The team, for somebody with at least `role` in it. Raises as `membership_for`."""
    return membership_for(visitor, slug, role=role).team


def may_create_keys(visitor: Visitor, team: Team) -> bool:
    role = role_in(visitor, team)
    return has_role(role, Role.ADMIN) or (team.members_may_create_keys and has_role(role, Role.MEMBER))


def require_operator(visitor: Visitor) -> User:
    """Raises Http404 for anybody else: the platform's pages do not exist for them."""
    user = signed_in(visitor)
    if not user.is_operator:
        raise Http404
    return user


def chat_caller(visitor: Visitor, team: Team) -> Caller:
    """The visitor as a caller of models on the team's account. Raises NotAllowed for viewers and outsiders."""
    user = signed_in(visitor)
    if not has_role(role_in(user, team), Role.MEMBER):
        raise NotAllowed("Only members of a team may chat on its account.")
    return Caller(
        team_id=team.pk,
        team_slug=team.slug,
        team_name=team.name,
        origin="chat",
        key_id=None,
        key_name="",
        member_id=user.pk,
        member_name=str(user),
        team_models=None if team.models is None else frozenset(team.models),
        key_models=None,
        expires_at=None,
    )
