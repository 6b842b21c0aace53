"""Tiers, and the limits of keys and members: the only writer of these tables, and what /v1 holds of them in memory."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from accounts import audit, revision
from accounts.models import ApiKey, Membership, Team, User
from billing.errors import TierMistake
from billing.limits.presets import Preset
from billing.limits.windows import NO_RULES, WINDOWS, Bounds, Days, Rules, Subject
from billing.models import KeyLimit, MemberLimit, TeamTier, Tier
from billing.models.limits import Limits

FIELDS = [window.field for window in WINDOWS]


@transaction.atomic
def add_tier(*, name: str, bounds: Bounds, by: User | None, is_default: bool = False, note: str = "") -> Tier:
    """Raises TierMistake for a name that is taken."""
    _require_free(name)
    if is_default:
        _no_default()
    tier = Tier.objects.create(name=name, is_default=is_default, note=note, **asdict(bounds))
    audit.record("tier.added", by=by, team=None, subject=tier, default=is_default, **_told(Bounds(), bounds))
    revision.bump()
    return tier


@transaction.atomic
def change_tier(*, tier: Tier, name: str, bounds: Bounds, is_default: bool, by: User | None) -> None:
    """In force within a second, what was used so far included. Raises TierMistake for a name that is taken."""
    tier = Tier.objects.select_for_update().get(pk=tier.pk)
    _require_free(name, but=tier)
    told = _told(tier.bounds, bounds)
    if (tier.name, tier.is_default) == (name, is_default) and not told:
        return
    if is_default and not tier.is_default:
        _no_default()
    before, tier.name, tier.is_default = tier.name, name, is_default
    _set(tier, bounds)
    tier.save(update_fields=["name", "is_default", *FIELDS])
    audit.record("tier.changed", by=by, team=None, subject=tier, before=before, default=is_default, **told)
    revision.bump()


@transaction.atomic
def remove_tier(*, tier: Tier, by: User | None) -> None:
    """Its teams have the default tier then, or none."""
    tier = Tier.objects.select_for_update().get(pk=tier.pk)
    audit.record("tier.removed", by=by, team=None, subject=tier, teams=tier.teams.count())
    tier.delete()
    revision.bump()


@transaction.atomic
def give_tier(*, team: Team, tier: Tier | None, by: User | None) -> None:
    """None: the default tier, if there is one."""
    Team.objects.select_for_update(no_key=True).get(pk=team.pk)
    before = TeamTier.objects.filter(team=team).select_related("tier").first()
    if (before.tier if before else None) == tier:
        return
    if tier is None:
        TeamTier.objects.filter(team=team).delete()
    else:
        TeamTier.objects.update_or_create(team=team, defaults={"tier": tier})
    audit.record(
        "team.tier_given",
        by=by,
        team=team,
        subject=team,
        tier=tier.name if tier else None,
        before=before.tier.name if before else None,
    )
    revision.bump()


@transaction.atomic
def load_preset(*, preset: Preset, by: User | None) -> list[Tier]:
    """The preset's tiers that are not there yet, by name. One that is there stays as it is."""
    known = set(Tier.objects.values_list("name", flat=True))
    return [
        add_tier(name=one.name, bounds=one.bounds, note=preset.note, by=by)
        for one in preset.tiers
        if one.name not in known
    ]


@transaction.atomic
def limit_key(*, key: ApiKey, bounds: Bounds, by: User | None) -> None:
    """All None: no limit of its own."""
    ApiKey.objects.select_for_update(no_key=True).get(pk=key.pk)
    row = KeyLimit.objects.filter(key=key).first() or KeyLimit(key=key)
    _limit(row, bounds, "key.limited", by=by, team=key.team, subject=key)


@transaction.atomic
def limit_member(*, team: Team, user: User, bounds: Bounds, by: User | None) -> None:
    """Of what the person calls on this team's account. All None: no limit."""
    Team.objects.select_for_update(no_key=True).get(pk=team.pk)
    row = MemberLimit.objects.filter(team=team, user=user).first() or MemberLimit(team=team, user=user)
    _limit(row, bounds, "member.limited", by=by, team=team, subject=user)


def tier_of(team: Team) -> Tier | None:
    given = TeamTier.objects.filter(team=team).select_related("tier").first()
    return given.tier if given else Tier.objects.filter(is_default=True).first()


def bounds_of_key(key: ApiKey) -> Bounds:
    row = KeyLimit.objects.filter(key=key).first()
    return row.bounds if row else Bounds()


def bounds_of_member(team: Team, user: User) -> Bounds:
    row = MemberLimit.objects.filter(team=team, user=user).first()
    return row.bounds if row else Bounds()


def load_rules() -> Rules:
    """What is in force: of archived teams, revoked keys and former members nothing."""
    teams = _of_teams()
    keys = KeyLimit.objects.filter(key__revoked_at=None, key__team__archived_at=None).select_related("key__team")
    members = MemberLimit.objects.filter(team__archived_at=None).select_related("team")
    pairs = set(Membership.objects.values_list("team_id", "user_id")) if members else set()
    found = Rules(
        teams,
        {row.key_id: subject_of_key(row.key, row.bounds) for row in keys},
        {
            (row.team_id, row.user_id): subject_of_member(row.team, row.user_id, row.bounds)
            for row in members
            if (row.team_id, row.user_id) in pairs
        },
    )
    return found if any(True for _subject in found) else NO_RULES


def subject_of_team(team: Team, bounds: Bounds) -> Subject:
    return Subject("team", f"team/{team.pk}", team.pk, 0, 0, bounds.rules(), Days(team.time_zone))


def subject_of_key(key: ApiKey, bounds: Bounds) -> Subject:
    return Subject("key", f"key/{key.pk}", key.team_id, key.pk, 0, bounds.rules(), Days(key.team.time_zone))


def subject_of_member(team: Team, user_id: int, bounds: Bounds) -> Subject:
    name = f"member/{team.pk}/{user_id}"
    return Subject("member", name, team.pk, 0, user_id, bounds.rules(), Days(team.time_zone))


def _of_teams() -> dict[int, Subject]:
    tiers = {tier.pk: tier for tier in Tier.objects.all()}
    if not tiers:
        return {}
    default = next((tier for tier in tiers.values() if tier.is_default), None)
    given = dict(TeamTier.objects.values_list("team_id", "tier_id"))
    found = {}
    for team in Team.objects.filter(archived_at=None).only("pk", "time_zone"):
        tier = tiers[given[team.pk]] if team.pk in given else default
        if tier is not None and (subject := subject_of_team(team, tier.bounds)).rules:
            found[team.pk] = subject
    return found


def _limit(
    row: KeyLimit | MemberLimit, bounds: Bounds, action: str, *, by: User | None, team: Team, subject: ApiKey | User
) -> None:
    told = _told(row.bounds, bounds)
    if not told:
        return
    _set(row, bounds)
    if bounds == Bounds():
        row.delete()
    else:
        row.save()
    audit.record(action, by=by, team=team, subject=subject, **told)
    revision.bump()


def _set(row: Limits, bounds: Bounds) -> None:
    for field, value in asdict(bounds).items():
        setattr(row, field, value)


def _told(before: Bounds, after: Bounds) -> Mapping[str, Any]:
    """What changed, in words for the audit."""
    pairs = ((field, getattr(before, field), getattr(after, field)) for field in FIELDS)
    return {field: f"{old or '–'} → {new or '–'}" for field, old, new in pairs if old != new}


def _require_free(name: str, but: Tier | None = None) -> None:
    others = Tier.objects.filter(name__iexact=name)
    if (others.exclude(pk=but.pk) if but else others).exists():
        raise TierMistake(_("There is a tier of this name already."), param="name")


def _no_default() -> None:
    Tier.objects.filter(is_default=True).update(is_default=False)
