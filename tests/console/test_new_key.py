"""The form that makes a key: once, however often it is sent."""

import re

import pytest
from django.test import Client

from accounts.models import ApiKey, AuditEntry, Team, User

pytestmark = pytest.mark.django_db

NEW_KEY = "/t/red/keys/new/"
FORM_ID = re.compile(r'name="form_id" value="([0-9a-f-]{36})"')


@pytest.fixture
def page(client: Client, alice: User, red: Team) -> Client:
    client.force_login(alice)
    return client


def a_form_id(page: Client) -> str:
    found = FORM_ID.search(page.get(NEW_KEY).content.decode())
    assert found
    return found[1]


def test_a_form_that_is_sent_twice_makes_one_key(page: Client) -> None:
    sent = {"form_id": a_form_id(page), "name": "website", "owner": "me", "life": "90"}
    first, second = (page.post(NEW_KEY, sent).content.decode() for _ in range(2))

    key = ApiKey.objects.get()
    secret = re.search(r"sk-tert-[0-9A-Za-z]{36}", first)
    assert secret
    assert secret[0] not in second
    assert "“website” exists already" in second
    assert key.masked in second
    assert AuditEntry.objects.filter(action="key.created").count() == 1


def test_each_form_makes_a_key_of_its_own(page: Client) -> None:
    for _ in range(2):
        page.post(NEW_KEY, {"form_id": a_form_id(page), "name": "website", "owner": "me", "life": "90"})

    assert ApiKey.objects.count() == 2
