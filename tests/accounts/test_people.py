"""The first administrator, the one-time link, and secrets at rest."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.conf import LazySettings
from django.core import signing
from django.test import Client
from django.utils import timezone

from accounts.errors import UnreadableSecret
from accounts.keys import load_callers
from accounts.models import AuditEntry, Membership, Team, User
from accounts.people import (
    FIRST_LINK_SECONDS,
    create_person,
    deactivate_person,
    first_link,
    make_first_administrator,
)
from accounts.secrets import decrypt, encrypt
from tests.factories import make_key

pytestmark = pytest.mark.django_db


def test_the_first_administrator_operates_the_platform_and_owns_the_team_main() -> None:
    user = make_first_administrator(email="Ana@Example.org")

    assert (user.email, user.is_operator, user.has_usable_password()) == ("ana@example.org", True, False)
    assert list(Membership.objects.values_list("user__email", "team__slug", "role")) == [
        ("ana@example.org", "main", "owner")
    ]


def test_setting_up_twice_changes_nothing() -> None:
    make_first_administrator(email="ana@example.org", password="first password")
    user = make_first_administrator(email="ana@example.org", password="another password")

    assert user.check_password("first password")
    assert (User.objects.count(), Team.objects.count()) == (1, 1)


def test_a_deactivated_person_has_no_key_and_no_session(client: Client, alice: User, bob: User, red: Team) -> None:
    make_key(red, owner=bob)
    client.force_login(bob)

    deactivate_person(user=bob, by=alice)

    assert load_callers() == {}
    assert client.get("/").status_code == 302
    entry = AuditEntry.objects.get(action="person.deactivated")
    assert (entry.actor, entry.subject_id) == (alice, str(bob.pk))


def test_whoever_is_made_by_us_has_a_confirmed_address() -> None:
    create_person(email="ana@example.org")

    assert list(EmailAddress.objects.values_list("email", "verified", "primary")) == [("ana@example.org", True, True)]


def test_looking_at_the_first_link_does_not_use_it_up_and_pressing_the_button_does(client: Client) -> None:
    make_first_administrator(email="ana@example.org")
    link = first_link()
    assert link

    assert client.get(link).status_code == 200
    assert client.get(link).status_code == 200
    assert "_auth_user_id" not in client.session
    response = client.post(link)

    assert (response.status_code, response.headers["location"]) == (302, "/account/password/set/")
    assert client.session["_auth_user_id"] == str(User.objects.get().pk)
    assert Client().post(link).status_code == 404
    assert Client().get(link).status_code == 404
    assert first_link() is None


def test_the_first_link_lives_an_hour(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    make_first_administrator(email="ana@example.org")
    long_ago = timezone.now() - timedelta(seconds=FIRST_LINK_SECONDS + 1)
    with monkeypatch.context() as patch:
        patch.setattr(signing.time, "time", long_ago.timestamp)
        link = first_link()
    assert link

    assert client.post(link).status_code == 404
    assert "_auth_user_id" not in client.session


def test_a_made_up_first_link_lets_nobody_in(client: Client) -> None:
    make_first_administrator(email="ana@example.org")

    assert client.post("/first/made:up:token/").status_code == 404


def test_there_is_no_first_link_without_an_operator_or_after_one_has_signed_in() -> None:
    assert first_link() is None
    user = make_first_administrator(email="ana@example.org")
    assert first_link() is not None
    User.objects.filter(pk=user.pk).update(last_login=timezone.now())

    assert first_link() is None


def test_a_secret_at_rest_is_unreadable_and_comes_back_whole() -> None:
    stored = encrypt("engine key ñ")

    assert "engine" not in stored
    assert decrypt(stored) == "engine key ñ"


def test_a_secret_survives_the_change_of_the_secret_key_as_long_as_the_old_one_is_named(
    settings: LazySettings,
) -> None:
    stored = encrypt("engine key")
    old, settings.SECRET_KEY = settings.SECRET_KEY, "n" * 8 + "another secret key of fair length"
    with pytest.raises(UnreadableSecret):
        decrypt(stored)

    settings.SECRET_KEY_FALLBACKS = [old]
    assert decrypt(stored) == "engine key"
