"""What the rows of a breakdown are called."""

from collections.abc import Iterable

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from accounts.models import ApiKey, Membership, Team, User
from billing.models import Origin, Outcome, UsageDay
from billing.usage.questions import Group, Scope

ERROR = "error"  # what roll-ups from before the log's own outcomes say of all that failed


def labels(scope: Scope, group: Group, values: Iterable[str], *, asked: bool = False) -> dict[str, str]:
    """By the values that a filter of the group has. `asked`: they come from an address, where anything may stand."""
    values = list(values)
    match group:
        case Group.ORIGIN:
            return _chosen(Origin.choices, values)
        case Group.OUTCOME:
            return {ERROR: _("error, not told which")} | _chosen(Outcome.choices, values)
        case Group.KEY:
            found = key_labels(scope.team, map(int, values), among=keys_of(scope) if asked else None)
        case Group.MEMBER:
            found = member_labels(map(int, values), among=people_of(scope.team) if asked else None)
        case Group.TEAM:
            found = team_labels(map(int, values))
        case _:
            return {value: value for value in values}
    return {str(key): label for key, label in found.items()}


def key_labels(team: Team | None, keys: Iterable[int], *, among: QuerySet[ApiKey] | None = None) -> dict[int, str]:
    """Names of keys by their ids; 0 is what has none. `among`: as for people."""
    keys = list(keys)
    known = keys_of(Scope(team)) if among is None else among
    names = dict(known.filter(pk__in=keys).values_list("pk", "name")) if any(keys) else {}
    return {key: names.get(key) or (_("key %s") % key if key else _("Chat, without a key")) for key in keys}


def member_labels(members: Iterable[int], *, among: QuerySet[User] | None = None) -> dict[int, str]:
    """Names of people by their ids; 0 is nobody. `among`: who may be named, where rows do not already say who."""
    members = list(members)
    known = User.objects.all() if among is None else among
    people = {user.pk: str(user) for user in known.filter(pk__in=members)}
    return {pk: people.get(pk) or (_("person %s") % pk if pk else _("Service keys")) for pk in members}


def keys_of(scope: Scope) -> QuerySet[ApiKey]:
    """Those of a team, or of one of its members. To him the others have no names."""
    of_team = Q() if scope.team is None else Q(team=scope.team)
    return ApiKey.objects.filter(of_team if scope.member_id is None else of_team & Q(owner=scope.member_id))


def people_of(team: Team | None) -> QuerySet[User]:
    """Those of a team, and those who have left it and used something on its account. To others they have no names."""
    of_team = Exists(Membership.objects.filter(team=team, user=OuterRef("pk")))
    return User.objects.filter(of_team | Exists(UsageDay.objects.filter(team=team, member_id=OuterRef("pk"))))


def team_labels(teams: Iterable[int]) -> dict[int, str]:
    teams = list(teams)
    names = dict(Team.objects.filter(pk__in=teams).values_list("pk", "name"))
    return {pk: names.get(pk) or _("team %s") % pk for pk in teams}


def _chosen(choices: Iterable[tuple[str, object]], values: list[str]) -> dict[str, str]:
    names = {str(value): str(label) for value, label in choices}
    return {value: names.get(value, value) for value in values}
