"""What scripts and operators type."""

import io
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command

from accounts.keys import digest, well_formed
from accounts.models import ApiKey, Membership, Team, User

pytestmark = pytest.mark.django_db


def run(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def test_create_team_prints_the_slug_and_makes_an_unknown_owner_without_a_password() -> None:
    assert run("create_team", "--name", "Redacción Digital", "--owner", "Ana@example.org") == "redaccion-digital\n"
    user = User.objects.get()
    assert (user.email, user.has_usable_password(), user.is_operator) == ("ana@example.org", False, False)
    assert Membership.objects.get().role == "owner"


def test_create_team_gives_a_known_owner_another_team(alice: User, red: Team) -> None:
    run("create_team", "--name", "Second", "--owner", alice.email)

    assert set(alice.memberships.values_list("team__slug", flat=True)) == {"red", "second"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["create_team", "--name", "x", "--owner", "nobody"], "--owner"),
        (["create_team", "--name", "x", "--owner", "a@b.org", "--time-zone", "Mars/Base"], "--time-zone"),
        (["create_key", "--team", "nowhere", "--name", "x"], "nowhere"),
        (["create_key", "--team", "red", "--name", "x", "--expires", "soon"], "--expires"),
    ],
)
def test_a_wrong_word_is_named_and_changes_nothing(red: Team, words: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        run(*words)
    assert (Team.objects.count(), ApiKey.objects.count()) == (1, 0)


@pytest.mark.spec("S01")
def test_create_key_prints_the_key_and_nothing_else(red: Team) -> None:
    printed = run("create_key", "--team", "red", "--name", "nightly")

    secret = printed.removesuffix("\n")
    assert well_formed(secret)
    key = ApiKey.objects.get()
    assert (bytes(key.digest), key.name, key.owner, key.expires_at) == (digest(secret), "nightly", None, None)


def test_create_key_takes_an_end_and_models(red: Team) -> None:
    run("create_key", "--team", "red", "--name", "x", "--expires", "2027-02-28", "--model", "a b", "--model", "c:8b")

    key = ApiKey.objects.get()
    assert (key.expires_at, key.models) == (datetime(2027, 2, 28, tzinfo=UTC), ["a b", "c:8b"])
