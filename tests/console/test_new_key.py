"""The form that makes a key: once, however often it is sent, with its limits and its budget or not at all."""

import re
from decimal import Decimal

import pytest
from django.test import Client

from accounts.models import ApiKey, AuditEntry, Team, User
from billing.models import Budget, KeyLimit

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


def form(page: Client, **more: str) -> dict[str, str]:
    return {"form_id": a_form_id(page), "name": "website", "owner": "me", "life": "90", **more}


def test_a_key_begins_with_its_limits_and_its_budget(page: Client, red: Team) -> None:
    page.post(NEW_KEY, form(page, amount="2,000,000", unit="tokens", requests_per_minute="6"))

    key = ApiKey.objects.get()
    assert KeyLimit.objects.get().bounds.requests_per_minute == 6
    (budget,) = Budget.objects.all()
    assert (budget.team, budget.key, budget.member) == (red, key, None)
    assert (budget.amount, budget.unit, budget.hard) == (2_000_000, "tokens", True)
    week = page.get(f"/usage/keys/{key.pk}/").content.decode()
    assert "0 of 2,000,000 tokens this month" in week
    assert "at most 6 requests a minute" in week


def test_a_budget_may_be_of_money(page: Client) -> None:
    page.post(NEW_KEY, form(page, amount="12.5", unit="money"))

    assert list(Budget.objects.values_list("amount", "unit")) == [(Decimal("12.5"), "money")]


@pytest.mark.parametrize(
    ("amount", "unit", "said"),
    [("1.5", "tokens", "Tokens are whole numbers."), ("-1", "money", "greater than or equal to 0")],
)
def test_a_wrong_budget_makes_no_key_and_its_form_stays_unfolded(
    page: Client, amount: str, unit: str, said: str
) -> None:
    answer = page.post(NEW_KEY, form(page, amount=amount, unit=unit))

    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert '<details class="fold" open>' in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_a_form_that_says_nothing_of_a_budget_sets_none(page: Client) -> None:
    assert '<details class="fold">' in page.get(NEW_KEY).content.decode()
    page.post(NEW_KEY, form(page))

    assert ApiKey.objects.count() == 1
    assert not Budget.objects.exists()
