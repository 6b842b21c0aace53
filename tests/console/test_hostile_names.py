"""Names that somebody chose to harm a reader: on every page that shows them, in every file and in every mail."""

import csv
import io
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from accounts.models import ApiKey, Team, User
from accounts.people import create_person
from accounts.teams import create_team
from billing.alerts.month_figures import month_figures
from billing.alerts.noticed import Noticed
from billing.alerts.outbox import deliver
from billing.alerts.raising import raise_alert
from billing.alerts.report_mail import month_message
from billing.budgets.monthly import set_budget
from billing.ledger import log as ledger
from billing.ledger import refusals
from billing.models import Rule, Severity, Unit
from gateway.availability.report import board
from gateway.availability.spells import note
from gateway.models import Engine, Health, ServedModel
from tests.billing.traffic import PRICE, a_refusal, counts, ended
from tests.factories import PASSWORD, make_key

pytestmark = [pytest.mark.django_db, pytest.mark.spec("S09", "S05")]

TAG = "<img src=x onerror=hacked>"
NAME = f"=1+1\"'>{TAG}"  # a formula, the end of an attribute, and a tag

GROUPS = ("model", "key", "member", "origin", "outcome", "tokens")
OF_TEAM = (
    *(f"billing:usage ?group={group}" for group in GROUPS),
    "billing:usage ?group=member&model={model}&member={member}&key={key}&compare=off&period=7d",
    "billing:log", "billing:log ?show=refused", "billing:log ?model={model}&member={member}&key={key}",
    "billing:usage-hours", "billing:months", "billing:budget", "billing:limits", "billing:alerts",
    "billing:alerts-sent", "gateway:team-in-use", "accounts:keys", "accounts:admin-keys", "console:team-home",
)  # fmt: skip
OF_NOBODY = (
    "billing:my-usage", "billing:platform-usage", "billing:platform-usage ?group=model", "billing:platform-alerts",
    "gateway:in-use", "gateway:monitor", "gateway:engines", "gateway:status", "console:quickstart",
)  # fmt: skip


@pytest.fixture
def mallory(db: None) -> User:
    return create_person(email="mallory@example.org", name=NAME, password=PASSWORD, is_operator=True)


@pytest.fixture
def team(mallory: User) -> Team:
    return create_team(name=NAME, slug="theirs", owner=mallory)


@pytest.fixture
def key(team: Team, mallory: User) -> ApiKey:
    """With a day of traffic, and all that goes wrong."""
    key = make_key(team, name=NAME, owner=mallory).key
    engine = Engine.objects.create(name=NAME, type="openai", url="http://127.0.0.1:1", problem=NAME)
    ServedModel.objects.create(engine=engine, public_id=NAME, engine_model=NAME, on_status_page=True)
    note({NAME: Health.DOWN}, now=timezone.now())
    who: dict[str, Any] = {"key_id": key.pk, "key_name": NAME, "member_id": mallory.pk, "member_name": NAME}
    ledger.write([ended(team.pk, counts(1000, 200), model=NAME, price=PRICE, outcome="upstream_error", **who)])
    refusals.write([a_refusal(team.pk, model=NAME, **who)])
    set_budget(team=team, amount=Decimal(1000), unit=Unit.TOKENS, hard=True, by=mallory, key=key)
    errors = {"requests": 4, "failed": 2, "percent": 20, "minutes": 30, "model": NAME, "model_failed": 2}
    since = {"masked": "sk-…", "since": timezone.now().isoformat(), "never": 1}
    for alert in (
        Noticed(team.pk, Rule.ERRORS, "team", "", Severity.URGENT, detail=errors),
        Noticed(team.pk, Rule.UNUSED_KEY, f"key:{key.pk}", "x", Severity.NOTE, NAME, since),
        Noticed(None, Rule.ENGINE, f"engine:{engine.pk}", "", Severity.URGENT, NAME, {"problem": NAME}),
    ):
        raise_alert(alert, now=timezone.now())
    return key


def addresses(key: ApiKey, owner: User) -> list[str]:
    def filled(said: str, *args: object) -> str:
        name, _, query = said.partition(" ")
        values = {"model": "%3D1%2B1%22%27%3E%3Cimg%20src%3Dx%20onerror%3Dhacked%3E", "key": key.pk, "member": owner.pk}
        return reverse(name, args=args) + query.format(**values)

    month = timezone.now()
    return [
        *(filled(said, "theirs") for said in OF_TEAM),
        *map(filled, OF_NOBODY),
        reverse("billing:key-report", args=["theirs", key.pk]),
        reverse("billing:month", args=["theirs", month.year, month.month]),
    ]


def test_no_page_takes_a_name_for_markup(client: Client, mallory: User, team: Team, key: ApiKey, settings: Any) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, status_page=True)
    board.forget()
    client.force_login(mallory)
    without = []
    for address in addresses(key, mallory):
        answer = client.get(address)
        assert (address, answer.status_code) == (address, 200)
        html = answer.content.decode()
        assert (address, TAG in html) == (address, False)
        without += [address] if escape(TAG) not in html else []
    assert without == []  # on each there is one to be tried
    board.forget()


def test_no_mail_takes_a_name_for_markup(mallory: User, team: Team, key: ApiKey) -> None:
    deliver()
    month = timezone.now().date().replace(day=1)
    messages = [*mail.outbox, month_message(month_figures(team, month), mallory)]
    assert len(messages) == 3  # the team's alerts, the platform's, and the month's report
    for message in messages:
        (html,) = (str(part.content) for part in message.alternatives if part.mimetype == "text/html")  # type: ignore[attr-defined]
        assert TAG not in html
        assert escape(TAG) in html
        assert TAG in str(message.body)  # where it is text, it is as it was chosen


def test_no_file_holds_a_formula_and_json_is_told_as_it_was_chosen(
    client: Client, mallory: User, team: Team, key: ApiKey
) -> None:
    client.force_login(mallory)
    month = timezone.now()
    for name, args in (
        *((f"billing:usage-csv?group={group}", ["theirs"]) for group in GROUPS),
        *((f"billing:usage-csv?group={group}&table=breakdown", ["theirs"]) for group in GROUPS),
        ("billing:log-csv?", ["theirs"]),
        ("billing:month-csv?", ["theirs", month.year, month.month]),
        ("billing:platform-usage-file?group=team", ["csv"]),
        ("billing:platform-usage-file?group=model&table=breakdown", ["csv"]),
        ("billing:my-usage-file?", ["csv"]),
    ):
        route, _, query = name.partition("?")
        answer = client.get(f"{reverse(route, args=args)}?{query}")
        text = b"".join(answer.streaming_content) if answer.streaming else answer.content  # type: ignore[attr-defined]
        cells = [cell for row in csv.reader(io.StringIO(text.decode())) for cell in row]
        assert (name, [cell for cell in cells if cell.startswith("=")]) == (name, [])
    found = json.loads(client.get(f"{reverse('billing:usage-json', args=['theirs'])}?group=key").content)
    assert [row["key"] for row in found["breakdown"]] == [NAME]
