"""Usage and costs by OpenAI's addresses, read with an admin key: of a team or the platform, and by OpenAI's client."""

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest
from django.utils import timezone
from jsonschema_rs import Draft202012Validator

from accounts.admin_keys import issue_admin_key, revoke_admin_key
from accounts.models import AuditEntry, Membership, Role, Team, User
from accounts.teams import add_member
from billing.ledger import log as ledger
from billing.ledger.adjustments import adjust
from billing.models import UsageRecord
from billing.records import Counts
from billing.usage import organization
from gateway.openapi import in_english
from gateway.openapi.organization import BUCKETS
from gateway.organization import REPORTS
from tests.billing.test_adjustments import call
from tests.billing.traffic import PRICE, counts, ended, milliseconds, random_traffic
from tests.factories import make_key, make_person
from tests.gateway.conftest import Api

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def ask(api: Api, secret: str, name: str = "usage/completions", **query: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    url = f"{api.url}/v1/organization/{name}"
    return httpx.get(url, params={"start_time": seconds(NOVEMBER), **query}, headers=headers, trust_env=False)


def told(api: Api, secret: str, name: str = "usage/completions", **query: Any) -> dict[str, Any]:
    response = ask(api, secret, name, **query)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def results(page: dict[str, Any]) -> list[dict[str, Any]]:
    return [result for bucket in page["data"] for result in bucket["results"]]


@pytest.fixture
def admin(api: Api, red: Team, alice: User) -> str:
    return issue_admin_key(team=red, name="dashboard", by=alice).secret


@pytest.fixture
def platform(api: Api, alice: User) -> str:
    return issue_admin_key(team=None, name="finance", by=alice).secret


@pytest.fixture
def traffic(api: Api, red: Team, blue: Team) -> list[UsageRecord]:
    chance = random.Random(7)
    keys = [make_key(red).key.pk for _ in range(2)]
    for team in (red, blue):
        made = random_traffic(team.pk, 120, begin=NOVEMBER - DAY, end=NOVEMBER + 24 * DAY, chance=chance, keys=keys)
        ledger.write([one._replace(start=one.start._replace(member_id=chance.choice([None, 5]))) for one in made])
    used = Counts(700, 0, "upstream", "none")
    ledger.write(
        [ended(red.pk, used, endpoint="embeddings", model="bge", at_ms=milliseconds(NOVEMBER + DAY), price=PRICE)]
    )
    return list(UsageRecord.objects.order_by("at", "id"))


@pytest.mark.spec("U3", "H1")
def test_a_day_is_a_bucket_of_utc_with_what_was_used_in_it(api: Api, red: Team, admin: str) -> None:
    ledger.write([
        ended(red.pk, Counts(1000, 200, "upstream", "estimated", 50, 300), at_ms=milliseconds(NOVEMBER), price=PRICE),
        ended(red.pk, counts(10, 5), at_ms=milliseconds(NOVEMBER + DAY - timedelta(milliseconds=1))),
    ])  # fmt: skip
    begin = seconds(NOVEMBER)
    page = told(api, admin, end_time=begin + 2 * 86_400)
    grouped_by_nothing = dict.fromkeys(
        ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier", "api_source")
    )
    result = {
        "object": "organization.usage.completions.result", "input_tokens": 1010, "output_tokens": 205,
        "input_cached_tokens": 300, "output_reasoning_tokens": 50, "num_model_requests": 2, "estimated_tokens": 200,
        **grouped_by_nothing,
    }  # fmt: skip
    assert page == {
        "object": "page",
        "data": [
            {"object": "bucket", "start_time": begin, "end_time": begin + 86_400, "results": [result]},
            {"object": "bucket", "start_time": begin + 86_400, "end_time": begin + 172_800, "results": []},
        ],
        "has_more": False,
        "next_page": None,
    }
    response = httpx.get(
        f"{api.url}/api/v1/organization/usage/completions/",
        params={"start_time": begin, "end_time": begin + 2 * 86_400},
        headers={"authorization": f"Bearer {admin}"},
        trust_env=False,
    )
    assert response.json() == page


def test_what_no_engine_reported_is_null_and_no_price_is_no_cost(api: Api, red: Team, admin: str) -> None:
    ledger.write([ended(red.pk, counts(10, 5), at_ms=milliseconds(NOVEMBER))])
    (usage,) = results(told(api, admin))
    assert (usage["input_cached_tokens"], usage["output_reasoning_tokens"]) == (None, None)
    (costs,) = results(told(api, admin, "costs"))
    assert costs["amount"] == {"value": None, "exact": None, "currency": "eur"}


@pytest.mark.spec("U3")
@pytest.mark.parametrize("width", ["15m", "1d"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_the_pages_together_are_the_log(
    api: Api, red: Team, blue: Team, traffic: list[UsageRecord], admin: str, platform: str, width: str, zone: str
) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone=zone)
    end = NOVEMBER + 20 * DAY
    for secret, teams in ((admin, {red.pk}), (platform, {red.pk, blue.pk})):
        found: dict[str, list[dict[str, Any]]] = {}
        for name in ("usage/completions", "usage/embeddings", "costs"):
            query: dict[str, Any] = {"end_time": seconds(end), "bucket_width": width}
            query["group_by[]"] = ["project_id", "api_key_id"]
            found[name], starts, page = [], [], None
            while True:
                page = told(api, secret, name, **query)
                found[name] += results(page)
                starts += [bucket["start_time"] for bucket in page["data"]]
                if not page["has_more"]:
                    break
                query["page"] = page["next_page"]
            step = {"15m": 900, "1h": 3600, "1d": 86_400}[width]
            assert starts == list(range(seconds(NOVEMBER), seconds(end), step))
        rows = [row for row in traffic if row.team_id in teams and NOVEMBER <= row.at < end]
        usage = [*found["usage/completions"], *found["usage/embeddings"]]
        assert sum(one["num_model_requests"] for one in usage) == len(rows)
        assert sum(one["input_tokens"] for one in usage) == sum(row.prompt_tokens for row in rows)
        assert sum(one.get("output_tokens", 0) for one in usage) == sum(row.completion_tokens for row in rows)
        assert [one["input_tokens"] for one in found["usage/embeddings"]] == [700]
        spent = sum(Decimal(one["amount"]["exact"] or 0) for one in found["costs"])
        assert spent == sum((row.cost or Decimal(0)) for row in rows)
        of_a_key = [one for one in usage if one["api_key_id"] is not None and one["project_id"] == red.slug]
        assert sum(one["num_model_requests"] for one in of_a_key) == sum(
            row.key_id is not None for row in rows if row.team_id == red.pk
        )


def test_filters_and_groups_as_clients_write_them(
    api: Api, red: Team, blue: Team, traffic: list[UsageRecord], admin: str, platform: str
) -> None:
    key = next(row.key_id for row in traffic if row.key_id)
    begin, end = NOVEMBER, NOVEMBER + 7 * DAY
    days = [row for row in traffic if begin <= row.at < end]

    def requests(secret: str, **query: Any) -> int:
        return sum(one["num_model_requests"] for one in results(told(api, secret, end_time=seconds(end), **query)))

    def count(**wanted: Any) -> int:
        return sum(all(getattr(row, name) == value for name, value in wanted.items()) for row in days)

    assert requests(platform, models="llama") == count(model="llama")
    assert requests(platform, **{"models[]": ["llama", "qwen"]}) == count(model="llama") + count(model="qwen")
    assert requests(platform, api_key_ids=f"key_{key}", project_ids="red") == count(key_id=key, team_id=red.pk)
    assert requests(platform, user_ids="user_5") == count(member_id=5)
    assert requests(platform, project_ids="blue") == count(team_id=blue.pk)
    assert requests(admin, project_ids="blue") == 0
    assert requests(platform, batch="true") == 0
    assert requests(platform, api_key_ids="nonsense") == 0
    costs = results(told(api, platform, "costs", end_time=seconds(end), group_by="project_id,line_item"))
    assert {(one["project_id"], one["line_item"].split(",")[0]) for one in costs} == {
        (row.team.slug, row.model) for row in UsageRecord.objects.select_related("team") if begin <= row.at < end
    }


@pytest.mark.spec("U1", "U3")
def test_a_line_item_is_a_model_and_a_type_of_its_tokens(api: Api, red: Team, admin: str) -> None:
    at = milliseconds(NOVEMBER + DAY / 2)
    used = Counts(1000, 200, "upstream", "upstream", 50, 300)
    ledger.write([
        ended(red.pk, used, at_ms=at, model="llama, input", price=PRICE),  # an id may end as an item does
        made := call(red, used, at=NOVEMBER + DAY / 2, price=PRICE),
        ended(red.pk, used, at_ms=at, model="free"),
        ended(red.pk, Counts(0, 0, "none", "none"), at_ms=at, model="failed", price=PRICE),
    ])  # fmt: skip
    adjust(request_id=made.start.id, money=Decimal(1), reason="as agreed", by=None)

    def items(**query: Any) -> dict[str | None, tuple[str | None, int | None, str | None]]:
        found = results(told(api, admin, "costs", limit=1, start_time=seconds(NOVEMBER), **query))
        return {one["line_item"]: (one["amount"]["exact"], one["quantity"], one["quantity_unit"]) for one in found}

    of_a_model = {", input": ("0.00063", 700), ", cached input": ("0.000135", 300), ", output": ("0.0006", 150),
                  ", reasoning output": ("0.00025", 50)}  # fmt: skip
    of_llama = {f"llama{name}": (cost, tokens, "tokens") for name, (cost, tokens) in of_a_model.items()}
    of_llama["llama"] = ("0.998385", None, None)
    of_other = {f"llama, input{name}": (cost, tokens, "tokens") for name, (cost, tokens) in of_a_model.items()}
    free = {f"free{name}": (None, tokens, "tokens") for name, (_cost, tokens) in of_a_model.items()}
    everything = items(group_by="line_item")
    assert everything == of_llama | of_other | free
    assert items() == {None: ("1.001615", None, None)}
    assert sum(Decimal(cost or 0) for cost, _tokens, _unit in everything.values()) == Decimal("1.001615")
    wanted = ["llama", "llama, cached input", "llama, input, input", "nobody's, output"]
    picked = {name: told for name, told in everything.items() if name in wanted}
    assert len(picked) == 3
    assert items(group_by="line_item", line_items=wanted) == picked
    assert items(line_items=wanted) == {None: ("0.99915", None, None)}
    assert items(line_items=["free, output"]) == {None: (None, None, None)}
    refused = ask(api, admin, "costs", line_items=["x"] * 101)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "line_items")


@pytest.mark.spec("U3")
def test_openais_client_reads_it(api: Api, red: Team, traffic: list[UsageRecord], admin: str) -> None:
    with openai.OpenAI(api_key="unused", admin_api_key=admin, base_url=f"{api.url}/v1", max_retries=0) as client:
        usage = client.admin.organization.usage
        completions = usage.completions(start_time=seconds(NOVEMBER), limit=31, group_by=["model", "project_id"])
        found = [result for bucket in completions.data for result in bucket.results]
        assert sum(one.num_model_requests for one in found) == sum(  # type: ignore[union-attr]
            row.team_id == red.pk and row.at >= NOVEMBER and row.endpoint != "embeddings" for row in traffic
        )
        assert {one.project_id for one in found} == {"red"}  # type: ignore[union-attr]
        costs = usage.costs(start_time=seconds(NOVEMBER), limit=180, group_by=["line_item"])
        amounts = [result.amount for bucket in costs.data for result in bucket.results]  # type: ignore[union-attr]
        assert {amount.currency for amount in amounts if amount} == {"eur"}
        spent = sum((row.cost or Decimal(0)) for row in traffic if row.team_id == red.pk and row.at >= NOVEMBER)
        assert sum(Decimal(str(amount.value or 0)) for amount in amounts if amount) == spent


@pytest.mark.spec("S07", "S05")
def test_an_admin_key_calls_no_model_and_an_api_key_reads_no_report(api: Api, admin: str) -> None:
    for path in ("/v1/models", "/v1/usage"):
        response = httpx.get(f"{api.url}{path}", headers={"authorization": f"Bearer {admin}"}, trust_env=False)
        assert response.status_code == 401
    chat = httpx.post(
        f"{api.url}/v1/chat/completions", headers={"authorization": f"Bearer {admin}"}, trust_env=False,
        json={"model": "plain", "messages": [{"role": "user", "content": "hi"}]},
    )  # fmt: skip
    assert chat.status_code == 401
    for secret in ("", api.secret, "sk-tert-admin-nonsense", admin[:-1] + ("a" if admin[-1] != "a" else "b")):
        response = ask(api, secret)
        assert response.status_code == 401
        assert response.json() == {
            "error": {
                "message": "This is read with an admin key: 'Authorization: Bearer sk-tert-admin-…'.",
                "type": "authentication_error",
                "param": None,
                "code": "invalid_api_key",
            }
        }


@pytest.mark.spec("S03")
def test_a_key_ends_when_it_is_revoked_or_over_or_its_maker_may_no_longer_read(
    api: Api, red: Team, alice: User
) -> None:
    dora = make_person("Dora")
    add_member(team=red, user=dora, role=Role.ADMIN, by=alice)
    issued = issue_admin_key(team=red, name="dora's", by=dora)
    assert ask(api, issued.secret).status_code == 200
    Membership.objects.filter(user=dora).update(role=Role.VIEWER)
    assert ask(api, issued.secret).status_code == 401
    Membership.objects.filter(user=dora).update(role=Role.OWNER)
    assert ask(api, issued.secret).status_code == 200
    Membership.objects.filter(user=dora).delete()
    assert ask(api, issued.secret).status_code == 401

    of_platform = issue_admin_key(team=None, name="all", by=alice)
    assert ask(api, of_platform.secret).status_code == 200
    User.objects.filter(pk=alice.pk).update(is_operator=False)
    assert ask(api, of_platform.secret).status_code == 401

    over = issue_admin_key(team=red, name="over", by=alice, expires_at=timezone.now())
    assert ask(api, over.secret).status_code == 401
    ended_now = issue_admin_key(team=red, name="gone", by=alice)
    assert ask(api, ended_now.secret).status_code == 200
    revoke_admin_key(key=ended_now.key, by=alice)
    assert ask(api, ended_now.secret).status_code == 401
    ended_now.key.refresh_from_db()
    assert ended_now.key.last_used_at is not None
    made = AuditEntry.objects.filter(action__startswith="admin_key.").order_by("pk")
    assert [(entry.action, entry.subject_name) for entry in made][-2:] == [
        ("admin_key.created", "gone"), ("admin_key.revoked", "gone"),
    ]  # fmt: skip
    assert not any(issued.secret in str(entry.detail) for entry in made)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"start_time": ""}, "start_time"),
        ({"start_time": "-5"}, "start_time"),
        ({"start_time": "1e9"}, "start_time"),
        ({"start_time": "9" * 12}, "start_time"),
        ({"end_time": "5"}, "end_time"),
        ({"bucket_width": "1m"}, "bucket_width"),
        ({"limit": "0"}, "limit"),
        ({"limit": "32"}, "limit"),
        ({"page": "page_x"}, "page"),
        ({"page": "page_5"}, "page"),
        ({"group_by": "prompt"}, "group_by"),
        ({"models": "\0"}, "models"),
    ],
)
def test_a_wrong_question_is_refused_and_says_which_field(
    api: Api, admin: str, query: dict[str, str], param: str
) -> None:
    response = ask(api, admin, **query)
    assert response.status_code == 400
    assert (response.json()["error"]["param"], response.json()["error"]["type"]) == (param, "invalid_request_error")


def test_more_groups_than_one_answer_holds_are_refused(
    api: Api, traffic: list[UsageRecord], platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(organization, "MOST", 3)
    response = ask(api, platform, limit=31, group_by="model,api_key_id")
    assert (response.status_code, response.json()["error"]["param"]) == (400, "limit")
    assert len(results(told(api, platform, limit=1))) <= 1


def test_other_addresses_and_methods_are_not_there(api: Api, admin: str) -> None:
    assert ask(api, admin, "usage/images").status_code == 404
    headers = {"authorization": f"Bearer {admin}"}
    response = httpx.post(f"{api.url}/v1/organization/costs", headers=headers, trust_env=False)
    assert (response.status_code, response.headers["allow"]) == (405, "GET")


def test_days_of_a_leap_year_and_of_nothing_have_their_buckets(api: Api, admin: str) -> None:
    start = datetime.combine(date(2024, 2, 28), datetime.min.time(), UTC) + timedelta(hours=5)
    page = told(api, admin, start_time=seconds(start), limit=3)
    assert [datetime.fromtimestamp(one["start_time"], UTC).date() for one in page["data"]] == [
        date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1),
    ]  # fmt: skip
    assert page["has_more"]
    assert page["next_page"] == f"page_{seconds(datetime(2024, 3, 2, tzinfo=UTC))}"


def test_the_answers_are_what_the_document_says(api: Api, red: Team, traffic: list[UsageRecord], platform: str) -> None:
    described = in_english()
    for name, report in REPORTS.items():
        operation = described["paths"][f"/v1/organization/{name}"]["get"]
        schema = {**operation["responses"]["200"]["content"]["application/json"]["schema"]}
        page = told(api, platform, name, group_by="project_id,api_key_id", limit=31)
        assert results(page)
        Draft202012Validator({**schema, "components": described["components"]}).validate(page)
        example = operation["responses"]["200"]["content"]["application/json"]["examples"]["page"]["value"]
        assert results(page)[0].keys() == results(example)[0].keys()
        assert BUCKETS[name] == tuple(map(str, report.limits["1d"]))
        given = {parameter["name"] for parameter in operation["parameters"]}
        assert {"start_time", "end_time", "bucket_width", "group_by", "limit", "page"} <= given
