"""GET /v1/usage: what the key that asks has used, and nobody else's."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from django.utils import timezone

from accounts.models import ApiKey, Team, User
from billing.budgets.credit import top_up
from billing.budgets.monthly import set_budget
from billing.ids import first_id
from billing.ledger import log as ledger
from billing.ledger.adjustments import adjust
from billing.ledger.months import close_month
from billing.ledger.partitions import ensure_partitions
from billing.models import Unit, UsageRecord
from billing.usage.glances import usage_of_key
from tests.billing.traffic import PRICE, counts, ended, milliseconds
from tests.factories import make_key
from tests.gateway.conftest import Api

NOTHING = {
    "requests": 0, "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "reasoning_tokens": None,
    "cached_tokens": None, "estimated_tokens": 0, "cost": None,
}  # fmt: skip


@pytest.fixture
def key(api: Api) -> ApiKey:
    return ApiKey.objects.select_related("team").get()


def told(api: Api, secret: str = "") -> dict[str, Any]:
    headers = {"authorization": f"Bearer {secret or api.secret}"}
    response = httpx.get(f"{api.url}/v1/usage", headers=headers, trust_env=False)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    found: dict[str, Any] = response.json()
    return found


def used(key: ApiKey, at: datetime, *, prompt: int = 10, completion: int = 5, **more: Any) -> None:
    ensure_partitions([at.date().replace(day=1)])
    what = ended(key.team_id, counts(prompt, completion), key_id=key.pk, at_ms=milliseconds(at), **more)
    assert ledger.write([what]) == 1


def midnight(zone: str) -> datetime:
    """The beginning of today there."""
    return timezone.now().astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.mark.spec("U3", "H1")
@pytest.mark.parametrize("path", ["/v1/usage", "/v1/usage/"])
def test_a_key_that_was_not_used_has_used_nothing(api: Api, key: ApiKey, path: str) -> None:
    response = api.client.get(path)
    found, begin = response.json(), midnight("UTC")
    day, month = int(begin.timestamp()), int(begin.replace(day=1).timestamp())
    next_month = (begin.replace(day=1) + timedelta(days=32)).replace(day=1)
    assert 0 <= timezone.now().timestamp() - found.pop("as_of") < 60
    assert found == {
        "object": "usage",
        "key": {"name": key.name, "masked": key.masked, "expires_at": None},
        "team": "red",
        "time_zone": "UTC",
        "currency": "EUR",
        "today": {"start": day, "end": day + 86_400, **NOTHING, "models": []},
        "month": {"start": month, "end": int(next_month.timestamp()), **NOTHING, "models": []},
        "limits": [],
        "budgets": [],
        "credit": None,
    }
    assert response.headers["id"] == response.headers["x-request-id"]


@pytest.mark.spec("U3")
def test_calls_are_there_once_they_are_shipped(api: Api) -> None:
    assert api.chat().status_code == 200
    assert api.client.post("/v1/embeddings", json={"model": "fault:embed", "input": "one text"}).status_code == 200
    rows = api.rows(2)
    found = told(api)["today"]
    assert found["requests"] == 2
    assert found["total_tokens"] == sum(row.prompt_tokens + row.completion_tokens for row in rows) == 28
    assert {one["model"]: one["total_tokens"] for one in found["models"]} == {"plain": 26, "fault:embed": 2}


@pytest.mark.spec("U3")
def test_today_and_this_month_by_model_the_greatest_first(api: Api, key: ApiKey) -> None:
    now, begin = timezone.now(), midnight("UTC")
    used(key, now, model="small", prompt=1, completion=1)
    used(key, now, model="large", prompt=100, completion=50)
    used(key, begin, model="large", prompt=100, completion=50)
    used(key, begin.replace(day=1), model="early", prompt=7, completion=7)
    used(key, begin.replace(day=1) - timedelta(seconds=1), model="last month", prompt=999)
    found = told(api)
    first = begin.day == 1
    assert [(one["model"], one["total_tokens"]) for one in found["month"]["models"]] == [
        ("large", 300), ("early", 14), ("small", 2),
    ]  # fmt: skip
    assert (found["month"]["requests"], found["month"]["total_tokens"]) == (4, 316)
    assert (found["today"]["requests"], found["today"]["total_tokens"]) == ((4, 316) if first else (3, 302))


@pytest.mark.spec("U3")
@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/Mexico_City", "Pacific/Kiritimati"])
def test_days_begin_in_the_teams_zone(api: Api, key: ApiKey, red: Team, zone: str) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone=zone)
    begin = midnight(zone)
    used(key, begin, model="today")
    used(key, begin - timedelta(seconds=1), model="yesterday")
    found = told(api)
    assert found["time_zone"] == zone
    assert [one["model"] for one in found["today"]["models"]] == ["today"]
    assert found["today"]["start"] == int(begin.timestamp())


@pytest.mark.spec("U3", "S05", "K3")
def test_another_keys_use_is_not_told(api: Api, key: ApiKey, red: Team, blue: Team) -> None:
    now = timezone.now()
    sister, stranger = make_key(red), make_key(blue)
    used(sister.key, now, model="sister's")
    used(stranger.key, now, model="stranger's")
    ledger.write([ended(red.pk, at_ms=milliseconds(now), origin="chat", model="chat")])
    assert told(api)["today"] | {"start": 0, "end": 0} == {**NOTHING, "start": 0, "end": 0, "models": []}
    used(key, now, model="own")
    assert [one["model"] for one in told(api)["month"]["models"]] == ["own"]
    assert [one["model"] for one in told(api, stranger.secret)["month"]["models"]] == ["stranger's"]
    assert told(api, stranger.secret)["team"] == "blue"


@pytest.mark.spec("U2", "U3")
def test_cost_is_a_decimal_string_and_null_without_a_price(api: Api, key: ApiKey) -> None:
    now = timezone.now()
    used(key, now, model="free")
    assert told(api)["today"]["cost"] is None
    used(key, now, model="dear", prompt=1_000_000, completion=1, price=PRICE)
    found = told(api)["today"]
    assert found["cost"] == "0.900004000000"
    assert {one["model"]: one["cost"] for one in found["models"]} == {"dear": "0.900004000000", "free": None}


@pytest.mark.spec("U2", "U3")
def test_a_correction_of_a_closed_month_is_a_cost_of_this_one_as_on_the_page(api: Api, key: ApiKey, red: Team) -> None:
    last_month = midnight("UTC").replace(day=1) - timedelta(days=2)
    used(key, last_month, prompt=1_000_000, completion=0, price=PRICE, id=first_id(last_month))
    close_month(team=red, month=last_month.date(), by=None)
    adjust(request_id=UsageRecord.objects.get().id, prompt_tokens=500_000, reason="half", by=None)
    month = told(api)["month"]
    page = usage_of_key(key, now=timezone.now())[1].total
    assert page.priced
    assert Decimal(month["cost"]) == page.cost < 0
    assert month["estimated_tokens"] == page.estimated_tokens


@pytest.mark.spec("U4")
def test_tokens_that_no_engine_counted_are_marked(api: Api, key: ApiKey) -> None:
    now = timezone.now()
    ledger.write([ended(key.team_id, counts(7, 0, "estimated"), key_id=key.pk, at_ms=milliseconds(now))])
    found = told(api)["today"]
    assert (found["total_tokens"], found["estimated_tokens"]) == (7, 7)


@pytest.mark.spec("H2")
def test_without_a_key_that_counts_nothing_is_told(api: Api) -> None:
    for headers in ({}, {"authorization": "Bearer sk-tert-x"}, {"cookie": "sessionid=x"}):
        response = httpx.get(f"{api.url}/v1/usage", headers=headers, trust_env=False)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    assert api.client.post("/v1/usage").status_code == 405


@pytest.mark.spec("K1")
def test_the_key_itself_is_not_told(api: Api, red: Team) -> None:
    until = timezone.now() + timedelta(days=3)
    issued = make_key(red, name="nightly", expires_at=until)
    found = told(api, issued.secret)["key"]
    assert found == {"name": "nightly", "masked": issued.key.masked, "expires_at": int(until.timestamp())}
    assert issued.secret not in str(found)


@pytest.mark.spec("U3", "U4", "U7")
def test_the_budgets_that_a_key_counts_in_and_the_credit_are_told(api: Api, key: ApiKey, red: Team, bob: User) -> None:
    set_budget(team=red, unit=Unit.MONEY, amount=Decimal("2.5"), hard=False, by=None)
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(1000), hard=True, by=None, key=key)
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(7), hard=True, by=None, key=make_key(red).key)
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(8), hard=True, by=None, member=bob)
    top_up(team=red, amount=Decimal(10), by=None)
    used(key, timezone.now(), prompt=1_000_000, completion=1, price=PRICE)
    found = told(api)
    (renews,) = {one.pop("renews_at") for one in found["budgets"]}
    assert timezone.now() < datetime.fromtimestamp(renews, ZoneInfo("UTC"))
    assert found["budgets"] == [
        {"of": "team", "unit": "money", "hard": False, "limit": "2.5", "spent": "0.900004", "reserved": "0",
         "left": "1.599996"},
        {"of": "key", "unit": "tokens", "hard": True, "limit": 1000, "spent": 1_000_001, "reserved": 0,
         "left": -999_001},
    ]  # fmt: skip
    assert found["credit"] == {"balance": "9.099996", "reserved": "0", "available": "9.099996", "hard": True}
