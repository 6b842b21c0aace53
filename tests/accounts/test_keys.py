"""API keys: their form, who they speak for, how they end."""

import re
import zlib
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts import revision
from accounts.keys import (
    ALPHABET,
    PREFIX,
    digest,
    issue_key,
    load_callers,
    new_secret,
    note_use,
    revoke_key,
    well_formed,
)
from accounts.models import ApiKey, AuditEntry, Role, Team, User
from accounts.teams import add_member, remove_member
from tests.factories import join, make_key, make_person

pytestmark = pytest.mark.django_db


def test_a_key_is_prefix_thirty_characters_and_six_of_checksum() -> None:
    secret = new_secret()

    assert re.fullmatch(r"sk-tert-[0-9A-Za-z]{36}", secret)
    assert well_formed(secret)


def test_the_checksum_is_the_crc32_of_all_before_it_in_base_62_padded_with_zeros() -> None:
    body = PREFIX + "0" * 30
    number = zlib.crc32(body.encode())
    digits = ""
    while number:
        number, rest = divmod(number, 62)
        digits = ALPHABET[rest] + digits

    assert well_formed(body + digits.rjust(6, "0"))


@pytest.mark.spec("S02")
@pytest.mark.parametrize("position", [0, 8, 20, 37, 38, 43])
def test_a_key_with_one_character_changed_is_malformed(position: int) -> None:
    secret = new_secret()
    other = "x" if secret[position] != "x" else "y"

    assert not well_formed(secret[:position] + other + secret[position + 1 :])


@pytest.mark.spec("S16")
@pytest.mark.parametrize(
    "junk", ["", "sk-", "sk-tert-", "' OR 1=1 --", "%", "a\x00b", "sk-tert-" + "é" * 36, "x" * 9999]
)
def test_junk_is_malformed(junk: str) -> None:
    assert not well_formed(junk)


@pytest.mark.spec("S01", "K1")
def test_only_the_digest_of_a_key_is_stored(red: Team, alice: User) -> None:
    issued = issue_key(team=red, name="web", by=alice)

    row = ApiKey.objects.values().get()
    assert bytes(row["digest"]) == digest(issued.secret)
    stored = " ".join(str(value) for value in row.values())
    assert issued.secret not in stored
    assert issued.secret[12:-4] not in stored
    assert (row["start"], row["end"]) == (issued.secret[8:12], issued.secret[-4:])
    assert issued.secret not in str(list(AuditEntry.objects.values()))


def test_making_and_revoking_a_key_are_audited_and_raise_the_revision(red: Team, alice: User) -> None:
    before = revision.current()
    issued = issue_key(team=red, name="web", by=alice)
    made = revision.current()
    revoke_key(key=issued.key, by=alice)

    assert before < made < revision.current()
    entries = AuditEntry.objects.filter(team=red, subject_type="apikey").order_by("id")
    assert [(entry.action, entry.actor, entry.subject_name) for entry in entries] == [
        ("key.created", alice, "web"),
        ("key.revoked", alice, "web"),
    ]


def test_revoking_twice_is_one_revocation(red: Team, alice: User, bob: User) -> None:
    key = make_key(red).key
    revoke_key(key=key, by=alice)
    revoke_key(key=key, by=bob)

    key.refresh_from_db()
    assert key.revoked_by == alice
    assert AuditEntry.objects.filter(action="key.revoked").count() == 1


def test_a_service_key_speaks_for_its_team_alone(red: Team) -> None:
    issued = make_key(red, name="nightly", models=["gemma"])

    caller = load_callers()[digest(issued.secret)]
    assert (caller.team_id, caller.key_name, caller.member_id, caller.origin) == (red.pk, "nightly", None, "api")
    assert caller.key_models == frozenset({"gemma"})
    assert caller.may_use("gemma")
    assert not caller.may_use("llama")
    assert caller.sees("llama")


def test_a_personal_key_speaks_for_its_owner(red: Team, bob: User) -> None:
    issued = make_key(red, owner=bob)

    caller = load_callers()[digest(issued.secret)]
    assert (caller.member_id, caller.member_name) == (bob.pk, "Bob")


def test_revoked_keys_and_keys_of_archived_teams_load_no_caller(red: Team, blue: Team, alice: User) -> None:
    revoked, archived, live = make_key(red), make_key(blue), make_key(red)
    revoke_key(key=revoked.key, by=alice)
    Team.objects.filter(pk=blue.pk).update(archived_at=timezone.now())

    assert set(load_callers()) == {digest(live.secret)}
    assert digest(archived.secret) not in load_callers()


def test_a_personal_key_dies_with_the_membership_of_its_owner(red: Team, alice: User) -> None:
    dora = make_person("Dora")
    join(red, dora)
    issued = make_key(red, owner=dora)
    service = make_key(red)

    remove_member(team=red, user=dora, by=alice)

    assert set(load_callers()) == {digest(service.secret)}
    join(red, dora)
    assert digest(issued.secret) not in load_callers()  # coming back does not bring it to life


def test_a_deactivated_persons_keys_load_no_caller(red: Team) -> None:
    dora = make_person("Dora")
    join(red, dora)
    make_key(red, owner=dora)
    User.objects.filter(pk=dora.pk).update(is_active=False)

    assert load_callers() == {}


@pytest.mark.spec("S06")
@pytest.mark.parametrize("role", Role)
def test_a_personal_key_may_no_more_than_its_owner_at_the_moment_of_use(red: Team, bob: User, role: Role) -> None:
    make_key(red, owner=bob)
    add_member(team=red, user=bob, role=role, by=None)

    assert [caller.member_id for caller in load_callers().values()] == ([] if role == Role.VIEWER else [bob.pk])


def test_expired_keys_are_loaded_with_the_moment_of_their_end(red: Team) -> None:
    end = datetime(2026, 1, 1, tzinfo=UTC)
    issued = make_key(red, expires_at=end)

    assert load_callers()[digest(issued.secret)].expires_at == end.timestamp()
    assert issued.key.state == "expired"


@pytest.mark.parametrize("extra", [0, 2])
def test_loading_callers_takes_one_query_however_many_there_are(
    red: Team, bob: User, extra: int, django_assert_num_queries: object
) -> None:
    for _ in range(1 + extra):
        make_key(red, owner=bob)

    with django_assert_num_queries(1):  # type: ignore[operator]  # pytest-django's fixture is a function
        assert len(load_callers()) == 1 + extra


def test_last_use_only_moves_forward(red: Team) -> None:
    key = make_key(red).key
    later = timezone.now()
    note_use({key.pk: later})
    note_use({key.pk: later - timedelta(hours=1)})

    key.refresh_from_db()
    assert key.last_used_at == later


def test_a_key_never_may_more_than_its_team(red: Team) -> None:
    Team.objects.filter(pk=red.pk).update(models=["gemma"])
    issued = make_key(red, models=["llama"])

    caller = load_callers()[digest(issued.secret)]
    assert not caller.may_use("llama")
    assert not caller.may_use("gemma")
