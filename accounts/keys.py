"""API keys: their form, their making and their end.

A key is `sk-tert-`, 30 random characters of 0-9A-Za-z (178 bits) and, in 6 more, the CRC32 of all before: what was
mistyped or made up is refused without a question to the database, and scanners know a key when they see one. That
much entropy needs no slow hash; the SHA-256 digest alone is stored.
"""

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts import audit, revision
from accounts.callers import Caller
from accounts.errors import AlreadyIssued
from accounts.models import ApiKey, Role, Team, User

PREFIX = "sk-tert-"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 30
CHECK_LENGTH = 6
PATTERN = rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_LENGTH + CHECK_LENGTH}}}"  # as a scanner for secrets takes it
MAY_CALL = [Role.MEMBER, Role.ADMIN, Role.OWNER]  # viewers read reports
_FORM = re.compile(PATTERN)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key and its secret, which exists nowhere else."""

    key: ApiKey
    secret: str


def new_secret(prefix: str = PREFIX) -> str:
    body = prefix + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return body + _check(body)


def well_formed(secret: str, form: re.Pattern[str] = _FORM) -> bool:
    return bool(form.fullmatch(secret)) and secret[-CHECK_LENGTH:] == _check(secret[:-CHECK_LENGTH])


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


@transaction.atomic
def issue_key(
    *,
    team: Team,
    name: str,
    by: User | None,
    owner: User | None = None,
    models: list[str] | None = None,
    expires_at: datetime | None = None,
    dialect: str = "",
    form_id: UUID | None = None,
) -> IssuedKey:
    """A personal key when it has an owner, else a service key of the team. `models` None: all of the team's.

    Without a `dialect` it speaks its team's.
    Raises AlreadyIssued when the form has made a key before: it was sent twice, or its answer loaded again.
    """
    if form_id:
        Team.objects.select_for_update(no_key=True).get(pk=team.pk)  # one after another, else both would find none
        if made := ApiKey.objects.filter(form_id=form_id).first():
            raise AlreadyIssued(made.pk)
    secret = new_secret()
    key = ApiKey.objects.create(
        team=team,
        name=name,
        owner=owner,
        digest=digest(secret),
        start=secret[len(PREFIX) : len(PREFIX) + 4],
        end=secret[-4:],
        models=models,
        created_by=by,
        expires_at=expires_at,
        dialect=dialect,
        form_id=form_id,
    )
    audit.record("key.created", by=by, team=team, subject=key, personal=owner is not None)
    revision.bump()
    return IssuedKey(key, secret)


@transaction.atomic
def revoke_key(*, key: ApiKey, by: User | None) -> None:
    """In force in every process within a second; running streams of the key are cut within five."""
    key = ApiKey.objects.select_for_update().get(pk=key.pk)
    if not key.revoked_at:
        _revoke(key, by)


@transaction.atomic
def revoke_keys_of(*, team: Team, owner: User, by: User | None) -> None:
    """A member's own keys, as he leaves the team: they die with the membership."""
    for key in ApiKey.objects.select_for_update().filter(team=team, owner=owner, revoked_at=None):
        _revoke(key, by, reason="membership ended")


def _revoke(key: ApiKey, by: User | None, **detail: str) -> None:
    key.revoked_at, key.revoked_by = timezone.now(), by
    key.save(update_fields=["revoked_at", "revoked_by"])
    audit.record("key.revoked", by=by, team=key.team, subject=key, **detail)
    revision.bump()


@transaction.atomic
def rename_model(*, old: str, new: str, by: User | None) -> None:
    """Keys limited to `old` may use `new` instead. Of a revoked key the list stays as it was: it is history."""
    limited = ApiKey.objects.filter(models__contains=[old], revoked_at=None).select_related("team")
    for key in limited.select_for_update(of=["self"]):
        key.models = renamed(key.models or [], old, new)
        key.save(update_fields=["models"])
        audit.record("key.model_renamed", by=by, team=key.team, subject=key, old=old, new=new)
        revision.bump()


def renamed(models: list[str], old: str, new: str) -> list[str]:
    """The list in its order, with `new` once in the place of `old`."""
    return list(dict.fromkeys(new if model == old else model for model in models))


def load_callers() -> dict[bytes, Caller]:
    """Every live key by its digest.

    Live: not revoked, its team not archived, and a personal key's owner active and still a member who may call
    models. Expired keys are included, since time passes while the answer is kept.
    """
    owner_may = Q(owner__memberships__team=F("team"), owner__memberships__role__in=MAY_CALL)
    rows = (
        ApiKey.objects.filter(revoked_at=None, team__archived_at=None)
        .filter(Q(owner=None) | Q(owner__is_active=True) & owner_may)
        .select_related("team", "owner")
    )
    return {bytes(key.digest): _caller(key) for key in rows}


def note_use(used: Mapping[int, datetime]) -> None:
    """Remember when keys were last used. Times only move forward."""
    for key_id, at in used.items():
        ApiKey.objects.filter(Q(last_used_at=None) | Q(last_used_at__lt=at), pk=key_id).update(last_used_at=at)


def visible_keys(team: Team, *, user: User, all_of_team: bool) -> list[ApiKey]:
    """The keys that somebody may see: the whole team's for its admins, else their own. Newest first."""
    keys = ApiKey.objects.filter(team=team).select_related("owner", "created_by", "revoked_by")
    if not all_of_team:
        keys = keys.filter(owner=user)
    return list(keys.order_by("-created_at", "-pk"))


def _caller(key: ApiKey) -> Caller:
    return Caller(
        team_id=key.team_id,
        team_slug=key.team.slug,
        team_name=key.team.name,
        origin="api",
        key_id=key.pk,
        key_name=key.name,
        member_id=key.owner_id,
        member_name=str(key.owner) if key.owner else "",
        team_models=None if key.team.models is None else frozenset(key.team.models),
        key_models=None if key.models is None else frozenset(key.models),
        expires_at=key.expires_at.timestamp() if key.expires_at else None,
        dialect=key.dialect or key.team.dialect,
    )


def _check(body: str) -> str:
    number, characters = zlib.crc32(body.encode()), []
    for _ in range(CHECK_LENGTH):
        number, rest = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[rest])
    return "".join(reversed(characters))
