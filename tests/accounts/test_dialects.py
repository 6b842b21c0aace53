"""Which vendor's habits a team's or a key's answers follow: who chooses, and where it shows."""

import io

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.keys import load_callers
from accounts.models import ApiKey, AuditEntry, Dialect, Role, Team, User
from accounts.revision import current
from accounts.teams import set_dialect
from tests.factories import join, make_key, make_person

pytestmark = [pytest.mark.django_db, pytest.mark.spec("A3")]

SETTINGS = "/t/red/settings/"
NEW_KEY = "/t/red/keys/new/"


def test_a_teams_dialect_is_that_of_its_keys_but_those_with_one_of_their_own(red: Team, alice: User) -> None:
    make_key(red, name="plain")
    own = make_key(red, name="own").key
    ApiKey.objects.filter(pk=own.pk).update(dialect=Dialect.OPENAI)
    before = current()
    set_dialect(team=red, dialect=Dialect.SAPTIVA, by=alice)

    assert {caller.key_name: caller.dialect for caller in load_callers().values()} == {
        "plain": "saptiva",
        "own": "openai",
    }
    assert current() > before
    entry = AuditEntry.objects.get(action="team.dialect_changed")
    assert (entry.actor, entry.team, entry.detail) == (alice, red, {"dialect": "saptiva", "before": "openai"})


def test_choosing_the_dialect_that_is_there_already_changes_nothing(red: Team, alice: User) -> None:
    before = current()
    set_dialect(team=red, dialect=Dialect.OPENAI, by=alice)

    assert (current(), AuditEntry.objects.filter(action="team.dialect_changed").count()) == (before, 0)


def test_an_admin_chooses_the_teams_dialect_on_its_settings_page(client: Client, red: Team) -> None:
    anna = make_person("Anna")
    join(red, anna, Role.ADMIN)
    client.force_login(anna)
    page = client.get(SETTINGS).content.decode()
    assert 'value="openai" checked' in page.replace(" required", "").replace(' id="id_dialect_0"', "")
    assert f'href="{SETTINGS}" aria-current="page"' in page
    assert client.post(SETTINGS, {"dialect": "saptiva-strict"}).headers["location"] == SETTINGS
    red.refresh_from_db()
    assert red.dialect == Dialect.SAPTIVA_STRICT
    assert client.post(SETTINGS, {"dialect": "klingon"}).status_code == 422


def test_members_are_not_offered_the_settings(client: Client, red: Team, bob: User) -> None:
    client.force_login(bob)
    assert SETTINGS not in client.get("/t/red/").content.decode()


def test_a_new_key_speaks_the_teams_dialect_or_one_of_its_own(client: Client, red: Team, alice: User) -> None:
    client.force_login(alice)
    assert "The team&#x27;s: OpenAI" in client.get(NEW_KEY).content.decode()
    for name, dialect in (("plain", ""), ("old", "saptiva")):
        client.post(NEW_KEY, {"name": name, "owner": "me", "life": "90", "dialect": dialect})

    assert dict(ApiKey.objects.values_list("name", "dialect")) == {"plain": "", "old": "saptiva"}
    page = client.get("/t/red/keys/").content.decode()
    assert page.count("API dialect: ") == page.count("API dialect: Saptiva<") == 1
    set_dialect(team=red, dialect=Dialect.SAPTIVA, by=alice)
    assert "API dialect: " not in client.get("/t/red/keys/").content.decode()


def test_the_first_call_of_a_strict_key_names_what_it_must(client: Client, red: Team, alice: User) -> None:
    client.force_login(alice)
    sent = {"name": "a", "owner": "me", "life": "90"}
    obligatory = '"max_tokens":600,"temperature":0.7,"top_p":0.9'
    assert obligatory not in client.post(NEW_KEY, sent).content.decode()
    assert obligatory in client.post(NEW_KEY, sent | {"dialect": "saptiva-strict"}).content.decode()


def test_the_commands_take_a_dialect(red: Team) -> None:
    for words in (
        ["create_team", "--name", "Green", "--owner", "g@example.org", "--dialect", "saptiva"],
        ["create_key", "--team", "red", "--name", "k", "--dialect", "saptiva-strict"],
    ):
        call_command(*words, stdout=io.StringIO())
    assert Team.objects.get(slug="green").dialect == "saptiva"
    assert ApiKey.objects.get().dialect == "saptiva-strict"
    with pytest.raises(CommandError, match="klingon"):
        call_command("create_key", "--team", "red", "--name", "k", "--dialect", "klingon")
