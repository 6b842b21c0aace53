"""Admin keys: programs read usage and costs with them, of one team or of the platform. They call no model.

Their form is that of an API key behind a prefix of their own, so that neither is ever taken for the other. They are
looked up where they are used: a report asks the database anyway, and what was revoked is refused at once.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts import audit
from accounts.access import RANK
from accounts.errors import AlreadyIssued, InvalidKey
from accounts.keys import CHECK_LENGTH, RANDOM_LENGTH, digest, new_secret, well_formed
from accounts.models import AdminKey, Membership, Right, Role, Team, User

PREFIX = "sk-tert-admin-"
PATTERN = rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_LENGTH + CHECK_LENGTH}}}"  # as a scanner for secrets takes it
USE_NOTED_EACH = timedelta(minutes=1)
_FORM = re.compile(PATTERN)
_ADMINS = [role for role in Role if RANK[role] >= RANK[Role.ADMIN]]


@dataclass(frozen=True, slots=True)
class IssuedAdminKey:
    """A new key and its secret, which exists nowhere else."""

    key: AdminKey
    secret: str


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: a team's reports, or, without a team, those of the platform."""

    key_id: int
    team: Team | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A key and how it stands: active, expired, revoked, or "idle": the person who made it has lost the right."""

    key: AdminKey
    state: str


@transaction.atomic
def issue_admin_key(
    *, team: Team | None, name: str, by: User, expires_at: datetime | None = None, form_id: UUID | None = None
) -> IssuedAdminKey:
    """Raises AlreadyIssued when the form has made a key before: it was sent twice, or its answer loaded again."""
    if form_id:
        User.objects.select_for_update(no_key=True).get(pk=by.pk)  # one after another, else both would find none
        if made := AdminKey.objects.filter(form_id=form_id).first():
            raise AlreadyIssued(made.pk)
    secret = new_secret(PREFIX)
    key = AdminKey.objects.create(
        team=team,
        name=name,
        digest=digest(secret),
        start=secret[len(PREFIX) : len(PREFIX) + 4],
        end=secret[-4:],
        created_by=by,
        expires_at=expires_at,
        form_id=form_id,
    )
    audit.record("admin_key.created", by=by, team=team, subject=key, right=key.right)
    return IssuedAdminKey(key, secret)


@transaction.atomic
def revoke_admin_key(*, key: AdminKey, by: User | None) -> None:
    """In force at once."""
    key = AdminKey.objects.select_for_update().get(pk=key.pk)
    if key.revoked_at:
        return
    key.revoked_at, key.revoked_by = timezone.now(), by
    key.save(update_fields=["revoked_at", "revoked_by"])
    audit.record("admin_key.revoked", by=by, team=key.team, subject=key)


def reader(secret: str, *, right: Right = Right.READ_USAGE) -> Reader:
    """Raises InvalidKey. A malformed key costs no query."""
    if not secret:
        raise InvalidKey("absent")
    if not well_formed(secret, _FORM):
        raise InvalidKey("malformed")
    now = timezone.now()
    key = AdminKey.objects.select_related("team", "created_by").filter(digest=digest(secret), right=right).first()
    if key is None:
        raise InvalidKey("unknown")
    if key.expires_at is not None and key.expires_at <= now:
        raise InvalidKey("expired")
    if key.revoked_at or not _may(key):
        raise InvalidKey("revoked")
    _note_use(key, now)
    return Reader(key.pk, key.team)


def keys_of(team: Team | None) -> list[Listed]:
    """A team's, or the platform's. Newest first."""
    keys = AdminKey.objects.filter(team=team).select_related("team", "created_by", "revoked_by")
    makers = set(
        Membership.objects.filter(team=team, role__in=_ADMINS, user__is_active=True).values_list("user_id", flat=True)
        if team is not None
        else User.objects.filter(is_operator=True, is_active=True).values_list("pk", flat=True)
    )
    return [Listed(key, _state(key, makers)) for key in keys.order_by("-created_at", "-pk")]


def _state(key: AdminKey, makers: set[int]) -> str:
    if key.revoked_at:
        return "revoked"
    if key.expires_at and key.expires_at <= timezone.now():
        return "expired"
    return "active" if key.created_by_id in makers else "idle"


def _may(key: AdminKey) -> bool:
    """Whether the person who made the key may still read what it reads."""
    maker = key.created_by
    if not maker.is_active:
        return False
    if key.team is None:
        return maker.is_operator
    if key.team.archived_at is not None:
        return False
    return Membership.objects.filter(user=maker, team=key.team, role__in=_ADMINS).exists()


def _note_use(key: AdminKey, now: datetime) -> None:
    """Once a minute at most, however often it reads."""
    before = now - USE_NOTED_EACH
    AdminKey.objects.filter(Q(last_used_at=None) | Q(last_used_at__lt=before), pk=key.pk).update(last_used_at=now)
