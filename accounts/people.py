"""Making people, and letting the first administrator in."""

from allauth.account.models import EmailAddress
from django.core import signing
from django.db import transaction
from django.urls import reverse

from accounts import audit, departures, revision
from accounts.models import Team, User
from accounts.teams import create_team

FIRST_LINK_SECONDS = 3600
_SALT = "tertulia.first-link"


@transaction.atomic
def create_person(
    *, email: str, name: str = "", password: str | None = None, is_operator: bool = False, by: User | None = None
) -> User:
    """A person with a confirmed address: without that row allauth keeps its owner out of every second-factor page."""
    user = User.objects.create_user(email, password, name=name, is_operator=is_operator)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    audit.record("person.created", by=by, team=None, subject=user, operator=is_operator)
    return user


@transaction.atomic
def deactivate_person(*, user: User, by: User | None) -> None:
    """Nobody signs in with the account any more; its own keys, its sessions and its open pages end."""
    user.is_active = False
    user.save(update_fields=["is_active"])
    audit.record("person.deactivated", by=by, team=None, subject=user)
    revision.bump()
    departures.announce(user.pk)


def rename_person(*, user: User, name: str) -> None:
    user.name = name
    user.save(update_fields=["name"])


def prefer(*, user: User, language: str = "", theme: str | None = None) -> None:
    """How the console speaks to this person and looks. An empty theme is the system's; what is not given stays."""
    if language:
        user.language = language
    if theme is not None:
        user.theme = theme
    user.save(update_fields=["language", "theme"])


def person_by_email(email: str) -> User | None:
    return User.objects.filter(email=email.strip().lower()).first()


@transaction.atomic
def make_first_administrator(*, email: str, password: str | None = None) -> User:
    """The installation's first operator, and the team "Main" of that person. The second time changes nothing."""
    user = person_by_email(email)
    if user is None:
        user = create_person(email=email, password=password, is_operator=True)
    if not Team.objects.exists():
        create_team(name="Main", owner=user)
    return user


def first_link() -> str | None:
    """The path that signs the first operator in, once and for an hour; None when no operator waits for one.

    It is bound to the account's last sign-in, which using it changes.
    """
    if User.objects.filter(is_operator=True, last_login__isnull=False).exists():
        return None
    user = User.objects.filter(is_operator=True, is_active=True).order_by("pk").first()
    if user is None:
        return None
    token = signing.TimestampSigner(salt=_SALT).sign_object(_state(user))
    return reverse("accounts:first-sign-in", args=[token])


def owner_of_first_link(token: str) -> User | None:
    """The operator whom the token lets in, with the row locked until the transaction ends; None if it is spent."""
    try:
        state = signing.TimestampSigner(salt=_SALT).unsign_object(token, max_age=FIRST_LINK_SECONDS)
    except signing.BadSignature:
        return None
    pk = state.get("user") if isinstance(state, dict) else None
    if not isinstance(pk, int):
        return None
    user = User.objects.select_for_update().filter(pk=pk, is_active=True, is_operator=True).first()
    return user if user and _state(user) == state else None


def _state(user: User) -> dict[str, str | int | None]:
    last_login = user.last_login.isoformat() if user.last_login else None
    return {"user": user.pk, "last_login": last_login, "password": user.password[-12:]}
