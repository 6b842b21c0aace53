"""The pages of admin keys: a secret shown once, kept as a digest, and ended by those who may."""

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core import serializers
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.admin_keys import PATTERN, PREFIX, issue_admin_key, keys_of, reader, revoke_admin_key
from accounts.errors import AlreadyIssued, InvalidKey
from accounts.keys import digest, new_secret
from accounts.keys import well_formed as well_formed_api_key
from accounts.models import AdminKey, ApiKey, AuditEntry, Role, Team, User
from accounts.teams import add_member
from tests.factories import make_key, make_person


def secret_of(html: str) -> str:
    (found,) = set(re.findall(PATTERN, html))
    return found


@pytest.mark.spec("S01")
def test_a_key_is_shown_once_and_kept_as_a_digest(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    place = reverse("accounts:admin-keys", args=[red.slug])
    form_id = uuid4()
    given = {"name": "monthly-costs", "life": "30", "form_id": str(form_id)}
    secret = secret_of(client.post(place, given).content.decode())
    key = AdminKey.objects.get()
    assert (key.name, key.team, key.created_by, bytes(key.digest)) == ("monthly-costs", red, alice, digest(secret))
    assert key.expires_at is not None
    assert abs(key.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    for html in (client.get(place).content.decode(), client.post(place, given, follow=True).content.decode()):
        assert re.search(PATTERN, html) is None
        assert f"{PREFIX}{secret[len(PREFIX) : len(PREFIX) + 4]}…{secret[-4:]}" in html
    assert AdminKey.objects.count() == 1
    assert secret not in serializers.serialize("json", [key, *AuditEntry.objects.all()])
    assert reader(secret).team == red


@pytest.mark.spec("S06")
def test_a_teams_key_is_made_by_its_admins_and_the_platforms_by_operators(
    client: Client, alice: User, bob: User, red: Team
) -> None:
    client.force_login(bob)
    assert client.post(reverse("accounts:admin-keys", args=[red.slug]), {"name": "x", "life": "30"}).status_code == 403
    assert client.post(reverse("accounts:platform-keys"), {"name": "x", "life": "30"}).status_code == 404
    assert AdminKey.objects.count() == 0
    client.force_login(alice)
    html = client.post(reverse("accounts:platform-keys"), {"name": "finance", "life": "never"}).content.decode()
    assert reader(secret_of(html)).team is None
    assert keys_of(red) == []


@pytest.mark.spec("S05")
def test_a_key_is_revoked_on_its_own_page_alone(
    client: Client, alice: User, red: Team, blue: Team, charlie: User
) -> None:
    client.force_login(alice)
    ours = issue_admin_key(team=red, name="ours", by=alice)
    theirs = issue_admin_key(team=blue, name="theirs", by=charlie)
    of_platform = issue_admin_key(team=None, name="all", by=alice)
    for key in (theirs.key, of_platform.key):
        assert client.post(reverse("accounts:revoke-admin-key", args=[red.slug, key.pk])).status_code == 404
    assert client.post(reverse("accounts:revoke-platform-key", args=[ours.key.pk])).status_code == 404
    assert client.post(reverse("accounts:revoke-admin-key", args=[red.slug, ours.key.pk])).status_code == 302
    assert [(row.key.name, row.state) for row in keys_of(red)] == [("ours", "revoked")]
    assert [row.state for row in (*keys_of(blue), *keys_of(None))] == ["active", "active"]
    with pytest.raises(InvalidKey) as refused:
        reader(ours.secret)
    assert refused.value.reason == "revoked"
    revoke_admin_key(key=ours.key, by=alice)
    assert AuditEntry.objects.filter(action="admin_key.revoked").count() == 1


@pytest.mark.django_db
@pytest.mark.spec("S02")
def test_a_malformed_key_costs_no_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    body = new_secret(PREFIX)
    with django_assert_num_queries(0):
        for wrong in ("", "sk-tert-", body[:-1], body[:-1] + "-", body.upper(), new_secret(), f"{body} ", "\0"):
            with pytest.raises(InvalidKey):
                reader(wrong)


@pytest.mark.django_db
def test_neither_kind_of_key_is_taken_for_the_other(red: Team, alice: User) -> None:
    admin, api = issue_admin_key(team=red, name="reads", by=alice).secret, make_key(red).secret
    assert not well_formed_api_key(admin)
    with pytest.raises(InvalidKey):
        reader(api)
    assert not ApiKey.objects.filter(digest=digest(admin)).exists()


def test_the_page_says_which_keys_read_nothing_any_more(client: Client, alice: User, red: Team) -> None:
    dora = make_person("Dora")
    add_member(team=red, user=dora, role=Role.ADMIN, by=alice)
    issue_admin_key(team=red, name="doras", by=dora)
    issue_admin_key(team=red, name="over", by=alice, expires_at=timezone.now())
    red.memberships.filter(user=dora).update(role=Role.MEMBER)
    assert {row.key.name: row.state for row in keys_of(red)} == {"doras": "idle", "over": "expired"}
    client.force_login(alice)
    assert "Dora may no longer read it" in client.get(reverse("accounts:admin-keys", args=[red.slug])).content.decode()


def test_a_form_sent_twice_makes_one_key(red: Team, alice: User) -> None:
    form_id = uuid4()
    first = issue_admin_key(team=red, name="once", by=alice, form_id=form_id)
    with pytest.raises(AlreadyIssued) as again:
        issue_admin_key(team=red, name="once", by=alice, form_id=form_id)
    assert again.value.key_id == first.key.pk


@pytest.mark.parametrize("number", [1, 3])
def test_the_page_takes_as_many_queries_for_one_key_as_for_three(
    client: Client, alice: User, red: Team, number: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(alice)
    for place in range(number):
        issue_admin_key(team=red, name=f"key {place}", by=alice)
    address = reverse("accounts:admin-keys", args=[red.slug])
    client.get(address)
    with django_assert_num_queries(7):
        client.get(address)
