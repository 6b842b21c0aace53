"""Every address of the console, and what each kind of visitor gets there.

A new address fails here until somebody has decided who may see it.
"""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from accounts.admin_keys import issue_admin_key
from accounts.models import AuditEntry, Role, Team, User
from billing.alerts.noticed import Noticed
from billing.alerts.raising import raise_alert
from billing.alerts.webhooks import add_webhook
from billing.budgets.monthly import set_budget
from billing.ledger import log as ledger
from billing.limits.tiers import add_tier
from billing.limits.windows import Bounds
from billing.models import Rule, Severity, Unit
from billing.prices.pricing import Rates, add_price
from billing.usage.files import has_xlsx
from chat.conversations import Question, start
from chat.models import Message
from gateway.models import Engine, EngineType, ServedModel
from tests.billing.traffic import ended
from tests.factories import join, make_key, make_person

pytestmark = [pytest.mark.django_db, pytest.mark.spec("S05", "S06", "S12")]

DOOR = 302  # to the sign-in page
XLSX = 200 if has_xlsx() else 501  # an extra
# What the method answers to nobody, to Charlie of another team, to Vera who only reads the red team's reports, to Bob
# its member, and to Alice its owner, who operates the platform too. The objects are Alice's.
GET = {
    "console:home": (DOOR, 302, 302, 302, 302),
    "console:quickstart": (DOOR, 200, 200, 200, 200),
    "console:team-home": (DOOR, 404, 200, 200, 200),
    "console:new-key": (DOOR, 404, 403, 200, 200),
    "accounts:first-sign-in": (404, 404, 404, 404, 404),
    "console:team-settings": (DOOR, 404, 403, 403, 200),
    "accounts:keys": (DOOR, 404, 403, 200, 200),
    "accounts:revoke-key": (DOOR, 404, 403, 404, 200),
    "accounts:key-first-use": (DOOR, 404, 403, 404, 200),
    "accounts:admin-keys": (DOOR, 404, 403, 403, 200),
    "accounts:revoke-admin-key": (DOOR, 404, 403, 403, 200),
    "accounts:platform-keys": (DOOR, 404, 404, 404, 200),
    "accounts:revoke-platform-key": (DOOR, 404, 404, 404, 200),
    "billing:usage": (DOOR, 404, 200, 200, 200),
    "billing:usage-csv": (DOOR, 404, 200, 200, 200),
    "billing:usage-json": (DOOR, 404, 200, 200, 200),
    "billing:usage-xlsx": (DOOR, 404, XLSX, XLSX, XLSX),
    "billing:my-usage": (DOOR, 200, 200, 200, 200),
    "billing:my-usage-file": (DOOR, 200, 200, 200, 200),
    "billing:key-report": (DOOR, 404, 404, 404, 200),
    "billing:key-report-file": (DOOR, 404, 404, 404, 200),
    "billing:platform-usage": (DOOR, 404, 404, 404, 200),
    "billing:platform-usage-file": (DOOR, 404, 404, 404, 200),
    "billing:usage-hours": (DOOR, 404, 200, 200, 200),
    "billing:log": (DOOR, 404, 200, 200, 200),
    "billing:log-csv": (DOOR, 404, 200, 200, 200),
    "billing:log-ndjson": (DOOR, 404, 200, 200, 200),
    "billing:log-request": (DOOR, 404, 200, 404, 200),  # it is not Bob's
    "billing:months": (DOOR, 404, 200, 403, 200),
    "billing:month": (DOOR, 404, 200, 403, 200),
    "billing:month-csv": (DOOR, 404, 200, 403, 200),
    "billing:reopen-month": (DOOR, 404, 403, 403, 200),
    "billing:key-usage": (DOOR, 404, 200, 404, 200),
    "billing:team-week": (DOOR, 404, 200, 200, 200),
    "billing:prices": (DOOR, 404, 404, 404, 200),
    "billing:price": (DOOR, 404, 404, 404, 200),
    "billing:remove-price": (DOOR, 404, 404, 404, 200),
    "billing:prices-csv": (DOOR, 404, 404, 404, 200),
    "billing:find-request": (DOOR, 404, 404, 404, 200),
    "billing:request": (DOOR, 404, 404, 404, 200),
    "billing:budget": (DOOR, 404, 200, 200, 200),
    "billing:budget-card": (DOOR, 404, 200, 200, 200),
    "billing:credits": (DOOR, 404, 404, 404, 200),
    "billing:credit": (DOOR, 404, 404, 404, 200),
    "billing:limits": (DOOR, 404, 403, 200, 200),
    "billing:key-limits": (DOOR, 404, 403, 403, 200),
    "billing:member-limits": (DOOR, 404, 403, 403, 200),
    "billing:tiers": (DOOR, 404, 404, 404, 200),
    "billing:tier": (DOOR, 404, 404, 404, 200),
    "billing:remove-tier": (DOOR, 404, 404, 404, 200),
    "billing:alerts": (DOOR, 404, 200, 200, 200),
    "billing:alerts-sent": (DOOR, 404, 403, 403, 200),
    "billing:platform-alerts": (DOOR, 404, 404, 404, 200),
    "billing:platform-alerts-sent": (DOOR, 404, 404, 404, 200),
    "billing:stop-mail": (404, 404, 404, 404, 404),
    "gateway:models": (DOOR, 404, 403, 200, 200),
    "gateway:team-in-use": (DOOR, 404, 200, 200, 200),
    "gateway:in-use": (DOOR, 404, 404, 404, 200),
    "gateway:monitor": (DOOR, 404, 404, 404, 200),
    "gateway:status": (404, 404, 404, 404, 404),  # without STATUS_PAGE
    "gateway:status-json": (404, 404, 404, 404, 404),
    "gateway:unpriced": (DOOR, 404, 404, 404, 200),
    "gateway:reference": (DOOR, 200, 200, 200, 200),
    "gateway:engines": (DOOR, 404, 404, 404, 200),
    "gateway:engine": (DOOR, 404, 404, 404, 200),
    "gateway:model": (DOOR, 404, 404, 404, 200),
    "gateway:remove-engine": (DOOR, 404, 404, 404, 200),
    "gateway:reconciliation": (DOOR, 404, 404, 404, 200),
    "gateway:reconciliation-csv": (DOOR, 404, 404, 404, 200),
    "chat:home": (DOOR, 200, 200, 200, 200),
    "chat:conversation": (DOOR, 404, 404, 404, 200),
    "chat:source": (DOOR, 404, 404, 404, 200),
}
POST = {
    "accounts:preferences": (302, 302, 302, 302, 302),
    "console:team-settings": (DOOR, 404, 403, 403, 422),
    "accounts:revoke-key": (DOOR, 404, 403, 404, 302),
    "accounts:admin-keys": (DOOR, 404, 403, 403, 422),
    "accounts:revoke-admin-key": (DOOR, 404, 403, 403, 302),
    "accounts:platform-keys": (DOOR, 404, 404, 404, 422),
    "accounts:revoke-platform-key": (DOOR, 404, 404, 404, 302),
    "billing:close-month": (DOOR, 404, 403, 403, 302),
    "billing:reopen-month": (DOOR, 404, 403, 403, 422),
    "billing:budget": (DOOR, 404, 403, 403, 422),
    "billing:remove-budget": (DOOR, 404, 403, 403, 302),
    "billing:credit": (DOOR, 404, 404, 404, 422),
    "billing:credit-binding": (DOOR, 404, 404, 404, 302),
    "console:new-key": (DOOR, 404, 403, 422, 422),
    "billing:add-price": (DOOR, 404, 404, 404, 422),
    "billing:price": (DOOR, 404, 404, 404, 422),
    "billing:remove-price": (DOOR, 404, 404, 404, 302),
    "billing:import-prices": (DOOR, 404, 404, 404, 422),
    "billing:request": (DOOR, 404, 404, 404, 422),
    "billing:key-limits": (DOOR, 404, 403, 403, 302),
    "billing:member-limits": (DOOR, 404, 403, 403, 302),
    "billing:tiers": (DOOR, 404, 404, 404, 422),
    "billing:load-tiers": (DOOR, 404, 404, 404, 302),
    "billing:tier": (DOOR, 404, 404, 404, 422),
    "billing:give-tier": (DOOR, 404, 404, 404, 302),
    "billing:remove-tier": (DOOR, 404, 404, 404, 302),
    "billing:alerts-watch": (DOOR, 404, 403, 403, 422),
    "billing:alerts-people": (DOOR, 404, 403, 403, 302),
    "billing:alerts-mine": (DOOR, 404, 302, 302, 302),
    "billing:add-webhook": (DOOR, 404, 403, 403, 422),
    "billing:webhook": (DOOR, 404, 403, 403, 302),
    "billing:put-alert-away": (DOOR, 404, 302, 302, 302),
    "billing:platform-alerts-mine": (DOOR, 404, 404, 404, 302),
    "billing:add-platform-webhook": (DOOR, 404, 404, 404, 422),
    "billing:platform-webhook": (DOOR, 404, 404, 404, 302),
    "billing:put-platform-alert-away": (DOOR, 404, 404, 404, 302),
    "gateway:try": (DOOR, 200, 403, 200, 200),
    "gateway:add-engine": (DOOR, 404, 404, 404, 422),
    "gateway:engine": (DOOR, 404, 404, 404, 422),
    "gateway:model": (DOOR, 404, 404, 404, 422),
    "gateway:model-lifecycle": (DOOR, 404, 404, 404, 302),
    "gateway:import-models": (DOOR, 404, 404, 404, 302),
    "gateway:engine-enabled": (DOOR, 404, 404, 404, 302),
    "gateway:remove-engine": (DOOR, 404, 404, 404, 302),
    "chat:conversation": (DOOR, 404, 404, 404, 422),
    "chat:stop": (DOOR, 404, 404, 404, 302),
    "chat:again": (DOOR, 404, 404, 404, 302),
    "chat:rename": (DOOR, 404, 404, 404, 302),
    "chat:delete": (DOOR, 404, 404, 404, 302),
}


@dataclass(frozen=True)
class Things:
    """Alice's, for every address to name."""

    key: int
    engine: int
    model: int
    conversation: uuid.UUID
    answer: int
    price: int
    request: uuid.UUID
    budget: int
    tier: int
    member: int
    webhook: int
    platform_webhook: int
    alert: uuid.UUID
    platform_alert: uuid.UUID
    admin_key: int
    platform_key: int

    def arguments(self, name: str) -> dict[str, object]:
        room = name.partition(":")[0]
        pk = {"accounts": self.key, "billing": self.key, "gateway": self.engine, "chat": self.conversation}.get(room)
        own = {
            "gateway:model": self.model,
            "gateway:model-lifecycle": self.model,
            "billing:price": self.price,
            "billing:remove-price": self.price,
            "billing:request": self.request,
            "billing:log-request": self.request,
            "accounts:revoke-admin-key": self.admin_key,
            "accounts:revoke-platform-key": self.platform_key,
            "billing:remove-budget": self.budget,
            "billing:member-limits": self.member,
            "billing:tier": self.tier,
            "billing:give-tier": self.tier,
            "billing:remove-tier": self.tier,
            "billing:webhook": self.webhook,
            "billing:platform-webhook": self.platform_webhook,
        }
        pk = own.get(name, pk)
        alert = self.platform_alert if "platform" in name else self.alert
        now = timezone.now()
        return {
            "slug": "red", "credited": "red", "pk": pk, "token": "made-up", "answer": self.answer, "form": "csv",
            "alert": alert, "year": now.year, "number": now.month,
        }  # fmt: skip


@pytest.fixture
def things(red: Team, alice: User) -> Things:
    engine = Engine.objects.create(name="demo", type=EngineType.DEMO)
    model = ServedModel.objects.create(engine=engine, public_id="demo", engine_model="demo")
    question = Question(text="How are you?", model="demo", client_id=uuid.uuid4())
    conversation = start(user=alice, team=red, question=question)
    answer = Message.objects.get(conversation=conversation, author=Message.Author.ASSISTANT)
    tomorrow = timezone.now() + timedelta(days=1)
    price = add_price(model="demo", rates=Rates(Decimal(1), Decimal(2)), since=tomorrow, by=None)
    ledger.write([call := ended(red.pk)])
    budget = set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(1000), hard=True, by=alice)
    key = make_key(red, owner=alice).key
    hook, platform_hook = (
        add_webhook(team=team, url="https://hooks.example.org/", by=None)[0].pk for team in (red, None)
    )
    noticed = [Noticed(pk, Rule.SPOOL, "full", "", Severity.URGENT) for pk in (red.pk, None)]
    alerts = [raised.pk for one in noticed if (raised := raise_alert(one, now=timezone.now()))]
    tier = add_tier(name="Small", bounds=Bounds(requests_per_minute=60), by=None)
    return Things(
        key.pk,
        engine.pk,
        model.pk,
        conversation.pk,
        answer.pk,
        price.pk,
        call.start.id,
        budget.pk,
        tier.pk,
        alice.pk,
        hook,
        platform_hook,
        alerts[0],
        alerts[1],
        issue_admin_key(team=red, name="costs", by=alice).key.pk,
        issue_admin_key(team=None, name="costs", by=alice).key.pk,
    )


@pytest.fixture
def visitors(alice: User, bob: User, charlie: User, red: Team, blue: Team) -> list[Client]:
    vera = make_person("Vera")
    join(red, vera, Role.VIEWER)
    clients = [Client()]
    for person in (charlie, vera, bob, alice):
        clients.append(Client())
        clients[-1].force_login(person)
    return clients


def routes() -> Iterator[tuple[str, str]]:
    """Name and pattern of every address that is ours; what lies under account/ is allauth's, each for oneself."""
    yield from _routes(get_resolver().url_patterns, "", "")


def _routes(patterns: list[URLPattern | URLResolver], prefix: str, space: str) -> Iterator[tuple[str, str]]:
    for pattern in patterns:
        place = prefix + str(pattern.pattern)
        if place.startswith("account/"):
            continue
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern.url_patterns, place, f"{pattern.namespace}:" if pattern.namespace else space)
        else:
            yield f"{space}{pattern.name}", place


def address(name: str, things: Things) -> str:
    wanted = re.findall(r"<(?:\w+:)?(\w+)>", dict(routes())[name])
    return reverse(name, kwargs={word: things.arguments(name)[word] for word in wanted})


def test_somebody_has_decided_who_may_see_each_address() -> None:
    assert {name for name, _ in routes()} == GET.keys() | POST.keys()


@pytest.mark.parametrize("name", GET)
def test_what_each_visitor_gets(name: str, things: Things, visitors: list[Client]) -> None:
    before = AuditEntry.objects.count()
    answers = [visitor.get(address(name, things)) for visitor in visitors]

    assert tuple(answer.status_code for answer in answers) == GET[name]
    if GET[name][0] == DOOR:
        assert answers[0].headers["location"].startswith("/account/login/")
    assert AuditEntry.objects.count() == before


@pytest.mark.parametrize("name", POST)
def test_what_each_visitor_may_change(name: str, things: Things, visitors: list[Client]) -> None:
    place = address(name, things)
    refused = [visitor.post(place).status_code for visitor in visitors[:-1]]

    assert (*refused, visitors[-1].post(place).status_code) == POST[name]


@pytest.mark.parametrize("name", POST)
def test_a_get_changes_nothing_and_a_post_needs_its_token(name: str, things: Things, alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    before = AuditEntry.objects.count()

    assert client.get(address(name, things)).status_code in {200, 405}
    assert client.post(address(name, things)).status_code == 403
    assert AuditEntry.objects.count() == before
