"""The public status page: there only when asked for, for anybody, and without a name that is nobody's business."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import Team, User
from billing.ledger import log as ledger
from billing.ledger.partitions import ensure_partitions
from gateway.availability import report as reports
from gateway.availability.report import board
from gateway.availability.speed import speeds
from gateway.availability.spells import note
from gateway.lifecycle import set_lifecycle
from gateway.models import Engine, Health, ServedModel
from tests.billing.traffic import counts, milliseconds, timed

pytestmark = pytest.mark.django_db

PAGE, JSON = reverse("gateway:status"), reverse("gateway:status-json")


@pytest.fixture(autouse=True)
def shown(settings: Any) -> Iterator[None]:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, status_page=True)
    board.forget()
    yield
    board.forget()


@pytest.fixture
def models(db: None) -> list[ServedModel]:
    engine = Engine.objects.create(
        name="secret-engine", type="vllm", url="http://127.0.0.1:1", machine_name="secret-box"
    )
    return [
        ServedModel.objects.create(engine=engine, public_id=name, engine_model=f"secret/{name}")
        for name in ("gemma", "llama", "qwen")
    ]


def stood(**states: Health) -> None:
    """As the probe finds it, now and ten minutes ago."""
    now = timezone.now()
    found = {"": Health.WORKS, "gemma": Health.WORKS, "llama": Health.WORKS, "qwen": Health.WORKS, **states}
    for minutes in (6, 3, 0):
        note(found, now=now - timedelta(minutes=minutes))


def page(client: Client) -> str:
    board.forget()
    answer = client.get(PAGE)
    assert answer.status_code == 200
    return answer.content.decode()


def heading(client: Client) -> str:
    return page(client).split("<h1>")[1].split("</h1>")[0]


def test_without_the_setting_there_is_no_such_page(client: Client, alice: User, settings: Any) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, status_page=False)
    client.force_login(alice)
    assert [client.get(place).status_code for place in (PAGE, JSON)] == [404, 404]


@pytest.mark.spec("S05")
def test_anybody_reads_it_and_nobody_is_named(
    client: Client, models: list[ServedModel], red: Team, alice: User
) -> None:
    stood(qwen=Health.DOWN)
    for text in (page(client), client.get(JSON).content.decode()):
        assert "llama" in text
        for name in ("secret", "Red", "Alice", "vLLM", "127.0.0.1"):
            assert name not in text
    assert client.cookies == {} or "session" not in client.cookies


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ({}, "Everything works"),
        ({"llama": Health.SLOW}, "llama is slow"),
        ({"llama": Health.SLOW, "qwen": Health.SLOW}, "2 of 3 models are slow"),
        ({"llama": Health.DOWN, "qwen": Health.SLOW}, "llama does not work"),
        ({"llama": Health.DOWN, "qwen": Health.DOWN}, "2 of 3 models do not work"),
        ({"": Health.DOWN}, "The platform does not work"),
    ],
)
def test_the_heading_is_the_finding(
    client: Client, models: list[ServedModel], states: dict[str, Health], said: str
) -> None:
    stood(**states)
    assert heading(client) == said


def test_what_nobody_has_looked_at_is_not_known(client: Client, models: list[ServedModel]) -> None:
    assert heading(client) == "How it stands is not known"
    assert client.get(JSON).json()["models"][0]["state"] == "unknown"


def test_a_model_that_is_hidden_or_switched_off_is_not_shown(client: Client, models: list[ServedModel]) -> None:
    gemma, llama, _qwen = models
    set_lifecycle(model=gemma, retires_on=None, successor="", on_status_page=False, by=None)
    ServedModel.objects.filter(pk=llama.pk).update(enabled=False)
    stood()
    assert [model["id"] for model in client.get(JSON).json()["models"]] == ["qwen"]


def test_programs_read_the_same(client: Client, models: list[ServedModel], red: Team) -> None:
    ensure_partitions()
    gemma = models[0]
    set_lifecycle(model=gemma, retires_on=date(2027, 3, 1), successor="llama", on_status_page=True, by=None)
    stood(gemma=Health.SLOW)
    now = milliseconds(timezone.now())
    used = counts(10, 50)
    ledger.write([timed(red.pk, used=used, ttft_ms=200, duration_ms=1200, model="gemma", at_ms=now) for _ in range(9)])
    answer = client.get(JSON)
    assert answer.headers["cache-control"] == "public, max-age=10"
    assert answer.headers["access-control-allow-origin"] == "*"
    told = answer.json()
    assert client.head(JSON).status_code == 200
    assert told["status"] == "slow"
    assert (told["platform"]["state"], told["platform"]["availability_90_days"]) == ("works", 1.0)
    found = told["models"][0]
    assert 160 < found.pop("first_token_ms") < 240
    assert 40 < found.pop("tokens_per_second") < 60
    since = datetime.fromisoformat(found.pop("since"))
    assert timedelta(minutes=5) < timezone.now() - since < timedelta(minutes=8)
    assert found == {
        "id": "gemma", "state": "slow", "availability_90_days": 1.0, "retires_on": "2027-03-01", "successor": "llama",
        "offered_since": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip


def test_lifecycle_dates_and_outages_are_told(client: Client, models: list[ServedModel]) -> None:
    set_lifecycle(model=models[0], retires_on=date(2027, 3, 1), successor="llama", on_status_page=True, by=None)
    stood(llama=Health.DOWN)
    text = page(client)
    assert "Deprecated: offered until March 1, 2027; use llama in its stead." in text
    assert '<td data-l="To"><span class="state bad">still</span></td>' in text
    assert "6 minutes" in text


def test_a_successor_that_is_not_shown_is_not_named(client: Client, models: list[ServedModel]) -> None:
    gemma, llama, _ = models
    set_lifecycle(model=gemma, retires_on=date(2027, 3, 1), successor="llama", on_status_page=True, by=None)
    set_lifecycle(model=llama, retires_on=None, successor="", on_status_page=False, by=None)
    stood()
    assert "llama" not in page(client)


def test_whoever_asks_often_asks_the_database_once(client: Client, models: list[ServedModel]) -> None:
    stood()
    with CaptureQueriesContext(connection) as first:
        client.get(PAGE)
    with CaptureQueriesContext(connection) as second:
        client.get(PAGE)
        client.get(JSON)
    assert (len(first), len(second)) == (4, 0)


def test_while_somebody_waits_for_the_database_others_are_shown_the_last_report(models: list[ServedModel]) -> None:
    last = board.report()
    board._read_at = float("-inf")
    with board._lock, ThreadPoolExecutor(1) as other:
        assert other.submit(board.report).result(timeout=10) is last
    assert board.report() is not last


def test_more_models_cost_no_more_queries(client: Client, models: list[ServedModel]) -> None:
    asked = []
    for names in (("a",), ("b", "c", "d")):
        for name in names:
            ServedModel.objects.create(engine=models[0].engine, public_id=name, engine_model=name)
        with CaptureQueriesContext(connection) as queries:
            page(client)
        asked.append(len(queries))
    assert asked[0] == asked[1]


def test_while_the_database_is_away_the_last_report_says_so(
    client: Client, models: list[ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only place where the database cannot be taken away in earnest: the tests' own connection would go with it."""
    stood()
    assert heading(client) == "Everything works"

    def away(**_: object) -> None:
        raise DatabaseError

    client.get(PAGE)
    monkeypatch.setattr(reports, "load", away)
    monkeypatch.setattr(reports, "FRESH_FOR", 0.0)
    answer = client.get(PAGE)
    assert answer.status_code == 503
    assert "<h1>The platform does not work</h1>" in answer.content.decode()
    assert client.get(JSON).json()["status"] == "down"


def test_speeds_are_those_of_the_last_hour_of_all_teams(red: Team, blue: Team) -> None:
    ensure_partitions()
    now = timezone.now()
    slow = {"ttft_ms": 4000, "duration_ms": 14_000, "model": "llama"}
    ledger.write(
        [
            *(timed(red.pk, used=counts(1, 100), at_ms=milliseconds(now), **slow) for _ in range(3)),  # type: ignore[arg-type]
            *(timed(blue.pk, used=counts(1, 100), at_ms=milliseconds(now), **slow) for _ in range(3)),  # type: ignore[arg-type]
            timed(red.pk, used=counts(5, 0), ttft_ms=None, duration_ms=30, model="embed", at_ms=milliseconds(now)),
            timed(red.pk, ttft_ms=1, duration_ms=2, model="old", at_ms=milliseconds(now - timedelta(hours=2))),
        ]
    )
    found = speeds(["llama", "embed", "old"], now=now)
    assert found.keys() == {"llama", "embed"}
    assert found["llama"].first_token == pytest.approx(4000, rel=0.2)
    assert found["llama"].tokens_per_second == pytest.approx(10, rel=0.2)
    assert (found["embed"].first_token, found["embed"].tokens_per_second) == (None, None)
