"""All secrets at rest, of every room, once SECRET_KEY was changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from allauth.mfa.models import Authenticator
from django.db import models, transaction

from accounts.errors import UnreadableSecret
from accounts.secrets import rotate
from billing.models import Webhook
from gateway.models import Engine

OF_FACTORS = ("secret", "seed", "migrated_codes")  # what of allauth's `data` it hands to our adapter to encrypt


@dataclass(frozen=True, slots=True)
class Rotated:
    """`unreadable`: whose secrets another key had encrypted, which is gone. They stay as they are."""

    number: int
    unreadable: tuple[str, ...]


@transaction.atomic
def rotate_secrets() -> Rotated:
    """Encrypts each with the present SECRET_KEY, which may be done again at any time."""
    done, unreadable = 0, []
    for row, whose in _rows():
        try:
            _renew(row)
        except UnreadableSecret:
            unreadable.append(whose)
        else:
            done += 1
    return Rotated(done, tuple(unreadable))


def _rows() -> Iterator[tuple[models.Model, str]]:
    """What holds secrets, and what an operator calls it; held until all is done."""
    for engine in Engine.objects.select_for_update().exclude(secret="").order_by("pk"):
        yield engine, f"the engine {engine.name}"
    for hook in Webhook.objects.select_for_update().order_by("pk"):
        yield hook, f"the webhook {hook}"
    factors = Authenticator.objects.exclude(type=Authenticator.Type.WEBAUTHN).select_related("user")
    for factor in factors.select_for_update(of=("self",)).order_by("pk"):
        yield factor, f"{factor.get_type_display().lower()} of {factor.user.email}"


def _renew(row: models.Model) -> None:
    if isinstance(row, Authenticator):
        row.data |= {name: _rotated(value) for name, value in row.data.items() if name in OF_FACTORS}
        row.save(update_fields=["data"])
    elif isinstance(row, Engine | Webhook):
        row.secret = rotate(row.secret)
        row.save(update_fields=["secret"])


def _rotated(value: Any) -> Any:
    return [rotate(each) for each in value] if isinstance(value, list) else rotate(value)
