"""Teams and who belongs to them."""

from django.db import transaction
from django.utils.text import slugify

from accounts import audit, departures, keys, revision
from accounts.errors import LastOwner
from accounts.models import Dialect, Membership, Role, Team, User


@transaction.atomic
def create_team(
    *,
    name: str,
    owner: User,
    by: User | None = None,
    slug: str = "",
    time_zone: str = "UTC",
    dialect: Dialect = Dialect.OPENAI,
) -> Team:
    team = Team.objects.create(name=name, slug=slug or _free_slug(name), time_zone=time_zone, dialect=dialect)
    Membership.objects.create(user=owner, team=team, role=Role.OWNER)
    audit.record("team.created", by=by, team=team, subject=team, owner=owner.email)
    return team


@transaction.atomic
def add_member(*, team: Team, user: User, role: Role, by: User | None) -> Membership:
    """A new member, or a new role for an old one. Raises LastOwner when the team would be left without an owner."""
    before = Membership.objects.select_for_update().filter(team=team, user=user).first()
    if before and before.role == Role.OWNER and role != Role.OWNER:
        _require_another_owner(team, user)
    membership, created = Membership.objects.update_or_create(team=team, user=user, defaults={"role": role})
    action = "member.added" if created else "member.role_changed"
    audit.record(action, by=by, team=team, subject=user, role=role, before=before.role if before else None)
    revision.bump()
    departures.announce(user.pk)
    return membership


@transaction.atomic
def remove_member(*, team: Team, user: User, by: User | None) -> None:
    """The member's own keys die with the membership. Raises LastOwner."""
    _require_another_owner(team, user)
    if not Membership.objects.filter(team=team, user=user).delete()[0]:
        return
    keys.revoke_keys_of(team=team, owner=user, by=by)
    audit.record("member.removed", by=by, team=team, subject=user)
    revision.bump()
    departures.announce(user.pk)


@transaction.atomic
def set_dialect(*, team: Team, dialect: Dialect, by: User | None) -> None:
    """For all of the team's keys but those with a dialect of their own."""
    team = Team.objects.select_for_update(no_key=True).get(pk=team.pk)
    before = team.dialect
    if before == dialect:
        return
    team.dialect = dialect
    team.save(update_fields=["dialect"])
    audit.record("team.dialect_changed", by=by, team=team, subject=team, dialect=dialect, before=before)
    revision.bump()


@transaction.atomic
def set_time_zone(*, team: Team, time_zone: str, by: User | None) -> str:
    """Returns the former one. Others have made sums by it: call it through `console.zones.change_time_zone`."""
    team = Team.objects.select_for_update(no_key=True).get(pk=team.pk)
    before = team.time_zone
    if before == time_zone:
        return before
    team.time_zone = time_zone
    team.save(update_fields=["time_zone"])
    audit.record("team.time_zone_changed", by=by, team=team, subject=team, time_zone=time_zone, before=before)
    revision.bump()
    return before


@transaction.atomic
def rename_model(*, old: str, new: str, by: User | None) -> None:
    """Whoever was limited to the model `old`, team or key, may use `new` instead: the same model under a new id."""
    for team in Team.objects.select_for_update(no_key=True).filter(models__contains=[old]):
        team.models = keys.renamed(team.models or [], old, new)
        team.save(update_fields=["models"])
        audit.record("team.model_renamed", by=by, team=team, subject=team, old=old, new=new)
        revision.bump()
    keys.rename_model(old=old, new=new, by=by)


def _require_another_owner(team: Team, user: User) -> None:
    owners = Membership.objects.select_for_update().filter(team=team, role=Role.OWNER)
    if list(owners.values_list("user_id", flat=True)) == [user.pk]:
        raise LastOwner(f"{user} is the last owner of {team}.")


def _free_slug(name: str) -> str:
    stem = slugify(name)[:50] or "team"
    taken = set(Team.objects.filter(slug__startswith=stem).values_list("slug", flat=True))
    if stem not in taken:
        return stem
    return next(slug for slug in (f"{stem}-{number}" for number in range(2, len(taken) + 3)) if slug not in taken)
