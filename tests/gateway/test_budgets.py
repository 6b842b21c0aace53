"""Calls whose caller has a budget or whose team pays in advance."""

import asyncio
import json
import threading
import time
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest
from django.db import connection
from django.utils import timezone

from accounts import revision
from accounts.models import ApiKey, Team, User
from billing.budgets import settling
from billing.budgets.credit import top_up
from billing.budgets.monthly import set_budget
from billing.budgets.settling import Wanted
from billing.ledger.auditing import audit
from billing.models import Budget, BudgetAccount, Price, Reservation, Unit
from billing.records import NOTHING
from gateway import budgets
from gateway.budgets import Worst, unsaid_length, worst_case
from gateway.engines.facts import DEFAULT_RESERVE, EngineFacts, Route
from gateway.models import ServedModel
from gateway.schemas import parse_chat, parse_completion, parse_embedding
from gateway.snapshot import holder
from tests.factories import make_key
from tests.gateway.conftest import Api

ASKED = 5  # tokens of the question that `Api.chat` asks, as they are estimated; the fault engine counts 6


@pytest.fixture
def key(api: Api) -> ApiKey:
    return ApiKey.objects.select_related("team").get()


def limit(api: Api, team: Team, amount: float, **more: Any) -> Budget:
    given = {"unit": Unit.TOKENS, "amount": Decimal(str(amount)), "hard": True, "by": None, **more}
    budget = set_budget(team=team, **given)
    api.reload()
    return budget


def price(model: str, amount: str = "1") -> None:
    each = Decimal(amount)
    Price.objects.create(model=model, effective_from=timezone.now().replace(year=2020), input=each, output=each)
    revision.bump()


def account(budget: Budget) -> tuple[Decimal, Decimal]:
    row = BudgetAccount.objects.get(budget=budget)
    return row.spent, row.reserved


def settled(api: Api, rows: int) -> None:
    """Until so many calls are in the log, and nothing is held any more."""
    api.rows(rows)
    assert not Reservation.objects.exists()
    assert set(BudgetAccount.objects.values_list("reserved", flat=True)) <= {0}
    assert audit().agrees


def given_back(api: Api, *held: int) -> None:
    """Until the open reservations come to just these amounts."""
    api.engine.wait_for(lambda: sorted(Reservation.objects.values_list("amount", flat=True)) == sorted(held))


def refusal(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 402, response.text
    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers
    error: dict[str, Any] = response.json()["error"]
    assert error["type"] == "insufficient_quota"
    return error


@pytest.mark.spec("U4", "F32")
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_within_its_budget_is_answered_and_booked(api: Api, red: Team, key: ApiKey, stream: bool) -> None:
    budget = limit(api, red, 100, key=key)
    response = api.chat(max_tokens=20, stream=stream)
    assert response.status_code == 200
    given_back(api, 26)
    assert account(budget) == (0, 26)
    settled(api, 1)
    assert account(budget) == (26, 0)


@pytest.mark.spec("U4", "U6", "F31")
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_may_cost_more_than_is_left_is_refused_and_told_why(
    api: Api, red: Team, key: ApiKey, stream: bool
) -> None:
    limit(api, red, 10, key=key)
    error = refusal(api.chat(max_tokens=6, stream=stream))
    assert (error["code"], error["param"]) == ("insufficient_quota", None)
    assert error["message"].startswith(
        "The key's monthly budget of 10 tokens does not cover this request, which may use up to 11 tokens:"
        " 10 tokens are left. It renews at "
    )
    assert error["message"].endswith("-01T00:00:00+00:00.")
    assert refusal(api.chat())["message"].endswith("Send 'max_tokens' for a shorter answer.")
    assert api.engine.completions() == []
    assert not Reservation.objects.exists()
    assert api.rows() == []


@pytest.mark.spec("U6")
def test_openais_client_does_not_try_again(api: Api, red: Team) -> None:
    limit(api, red, 10)
    asked = []
    http = httpx.Client(trust_env=False, event_hooks={"request": [asked.append]})
    client = openai.OpenAI(base_url=f"{api.url}/v1", api_key=api.secret, http_client=http, max_retries=2)
    with client, pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model="plain", messages=[{"role": "user", "content": "hi"}], max_tokens=20)
    assert (refused.value.status_code, refused.value.code, len(asked)) == (402, "insufficient_quota", 1)


@pytest.mark.spec("U6", "U7")
def test_an_empty_credit_is_a_402_with_what_is_left(api: Api, red: Team) -> None:
    top_up(team=red, amount=Decimal("0.00001"), by=None)
    price("plain")
    api.reload()
    error = refusal(api.chat(max_tokens=6))
    assert error["message"] == (
        "The team's credit does not cover this request, which may cost up to 0.000011 EUR: 0.00001 EUR are left."
    )
    assert api.chat(max_tokens=5).status_code == 200
    settled(api, 1)
    assert "-0.000016 EUR are left" in refusal(api.chat(max_tokens=1))["message"]  # the engine wrote 20, not 5


@pytest.mark.spec("U4", "U6")
def test_a_model_without_a_price_cannot_be_paid_in_money_and_a_free_one_goes_on(api: Api, red: Team) -> None:
    limit(api, red, 0, unit=Unit.MONEY)
    error = refusal(api.chat())
    assert (error["code"], error["param"]) == ("model_without_price", "model")
    assert error["message"].startswith("The model 'plain' has no price")
    price("plain", "0")
    api.reload()
    assert api.chat().status_code == 200
    limit(api, red, 10)
    assert refusal(api.chat())["code"] == "insufficient_quota"  # a price of zero disables no limit in tokens


@pytest.mark.spec("U4")
def test_a_soft_budget_refuses_nobody_and_costs_no_question_to_the_database(api: Api, red: Team) -> None:
    budget = limit(api, red, 1, hard=False)
    assert api.chat().status_code == 200
    assert "max_tokens" not in api.engine.completions()[0].body
    api.rows(1)
    assert account(budget) == (26, 0)


@pytest.mark.spec("U4")
@pytest.mark.parametrize("whose", ["team", "key", "member"])
def test_team_key_and_member_each_have_their_own(api: Api, red: Team, bob: User, whose: str) -> None:
    issued = make_key(red, owner=bob)
    api.client.headers["authorization"] = f"Bearer {issued.secret}"
    subject = {"team": {}, "key": {"key": issued.key}, "member": {"member": bob}}[whose]
    limit(api, red, 10, **subject)
    assert refusal(api.chat(max_tokens=6))["message"].startswith(f"The {whose}'s monthly budget")
    api.client.headers["authorization"] = f"Bearer {api.secret}"
    assert api.chat(max_tokens=6).status_code == (402 if whose == "team" else 200)


@pytest.mark.spec("F31")
@pytest.mark.parametrize(
    ("more", "sent"),
    [
        ({}, DEFAULT_RESERVE),
        ({"max_tokens": 50}, 50),
        ({"max_completion_tokens": 50}, 50),
    ],
)
def test_what_is_reserved_for_an_answer_is_what_the_engine_may_write(
    api: Api, red: Team, more: dict[str, int], sent: int
) -> None:
    limit(api, red, ASKED + sent)
    api.serve("fault:ok?hold=1")
    with api.client.stream(
        "POST", "/v1/chat/completions",
        json={"model": "plain", "stream": True, "messages": [{"role": "user", "content": "Hola, ¿qué tal?"}], **more},
    ) as response:  # fmt: skip
        assert response.status_code == 200
        body = api.engine.completions()[0].body
        assert [body[name] for name in ("max_tokens", "max_completion_tokens") if name in body] == [sent]
        response.read()
    limit(api, red, ASKED + sent - 1)
    BudgetAccount.objects.update(spent=0, reserved=0)
    refusal(api.chat(**more))


@pytest.mark.spec("F31")
def test_a_models_own_reserve_and_its_default_stand_for_a_caller_who_is_silent(api: Api, red: Team) -> None:
    limit(api, red, 1000)
    ServedModel.objects.filter(public_id="plain").update(default_reserve=77)
    api.reload()
    assert api.chat().status_code == 200
    ServedModel.objects.filter(public_id="plain").update(defaults={"max_tokens": 33})
    api.reload()
    assert api.chat().status_code == 200
    assert [one.body["max_tokens"] for one in api.engine.completions()] == [77, 33]


@pytest.mark.spec("F31")
def test_lengths_by_other_names_do_not_reach_the_engine_of_a_caller_with_a_budget(api: Api, red: Team) -> None:
    assert api.chat(n_predict=5000).status_code == 200
    limit(api, red, 100)
    response = api.chat(max_tokens=20, n_predict=5000)
    assert response.headers["x-tertulia-ignored"] == "n_predict"
    assert ["n_predict" in one.body for one in api.engine.completions()] == [True, False]


@pytest.mark.spec("F31")
@pytest.mark.parametrize("stream", [False, True])
def test_nobody_gets_more_answers_than_are_reserved_for_by_another_name(api: Api, red: Team, stream: bool) -> None:
    limit(api, red, 100)
    response = api.chat(max_tokens=20, n_cmpl=64, stream=stream)
    assert response.headers["x-tertulia-ignored"] == "n_cmpl"
    assert "n_cmpl" not in api.engine.completions()[0].body


@pytest.mark.spec("F31")
@pytest.mark.parametrize("scenario", ["drip?n=40&gap=5", "usage-each?n=40&gap=5", "nousage?n=40&gap=5"])
def test_an_answer_beyond_its_reservation_is_cut_and_what_came_is_billed(api: Api, red: Team, scenario: str) -> None:
    model = f"fault:{scenario}"
    api.serve(model)
    budget = limit(api, red, 10_000)
    streamed = api.stream(model, max_tokens=8)
    assert streamed.status == 200
    assert not streamed.done
    error = streamed.events[-1]["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    row = api.row()
    assert (row.outcome, row.status) == ("budget_stop", 402)
    assert 8 < row.completion_tokens <= 40
    assert account(budget) == (row.prompt_tokens + row.completion_tokens, 0)
    if "gap" in scenario:
        assert row.completion_tokens < 20
        api.engine.wait_for(lambda: api.engine.completions()[0].closed_at is not None)


@pytest.mark.spec("F31")
def test_a_whole_answer_of_just_the_length_that_was_asked_for_is_not_cut(api: Api, red: Team) -> None:
    limit(api, red, 10_000)
    streamed = api.stream(max_tokens=20)
    assert (streamed.done, api.row().outcome) == (True, "ok")


@pytest.mark.spec("F21", "U4")
@pytest.mark.parametrize("model", ["fault:refuse", "fault:html", "fault:status?code=500", "fault:error200"])
def test_a_call_that_fails_gives_all_back_at_once(api: Api, red: Team, model: str) -> None:
    api.serve(model)
    budget = limit(api, red, 100)
    assert api.chat(model, max_tokens=90).status_code >= 500
    given_back(api)
    assert account(budget) == (0, 0)
    settled(api, 1)


@pytest.mark.spec("F01", "F21")
def test_a_caller_who_leaves_is_billed_for_what_came(api: Api, red: Team) -> None:
    budget = limit(api, red, 10_000)
    api.serve("fault:drip?n=1000&gap=20")
    body = {"model": "fault:drip?n=1000&gap=20", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    with api.client.stream("POST", "/v1/chat/completions", json=body) as response:
        next(response.iter_raw())
    row = api.row()
    assert row.outcome == "client_gone"
    settled(api, 1)
    assert account(budget) == (row.prompt_tokens + row.completion_tokens, 0)


@pytest.mark.spec("F02", "F21")
def test_a_caller_who_leaves_while_he_waits_for_his_reservation_holds_nothing(api: Api, red: Team) -> None:
    limit(api, red, 100)
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE billing_budgetaccount IN SHARE ROW EXCLUSIVE MODE")
        with pytest.raises(httpx.ReadTimeout):
            api.client.post(
                "/v1/chat/completions",
                json={"model": "plain", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20},
                timeout=0.5,
            )
        time.sleep(0.2)  # the server sees it a moment later
        cursor.execute("COMMIT")
    api.engine.wait_for(lambda: BudgetAccount.objects.get().reserved == 0 and not Reservation.objects.exists())
    time.sleep(0.2)
    assert api.engine.completions() == []
    assert not Reservation.objects.exists()
    assert api.rows() == []


@pytest.mark.spec("F16")
def test_while_the_database_is_away_only_callers_with_a_hard_budget_wait(api: Api, red: Team) -> None:
    other = make_key(red)
    limit(api, red, 10_000, key=other.key)
    holder.fresh = False
    assert api.chat().status_code == 200
    api.client.headers["authorization"] = f"Bearer {other.secret}"
    response = api.chat()
    assert (response.status_code, response.json()["error"]["code"]) == (503, "service_unavailable")
    assert int(response.headers["retry-after"]) > 0
    holder.fresh = True
    assert api.chat().status_code == 200


@pytest.mark.spec("A1", "U4")
def test_embeddings_and_text_completions_are_paid_from_the_same_budget(api: Api, red: Team) -> None:
    budget = limit(api, red, 30)
    assert api.client.post("/v1/embeddings", json={"model": "plain", "input": ["one", "two"]}).status_code == 200
    text = {"model": "plain", "prompt": "once", "max_tokens": 20}
    assert api.client.post("/v1/completions", json=text).status_code == 200
    settled(api, 2)
    assert account(budget)[0] == 2 + 21
    refusal(api.client.post("/v1/completions", json=text))
    refusal(api.client.post("/v1/embeddings", json={"model": "plain", "input": "word " * 100}))


@pytest.mark.spec("U5", "F32", "R14")
def test_of_many_at_once_exactly_as_many_are_let_in_as_are_paid_for(api: Api, red: Team) -> None:
    api.serve("fault:slow?first=1500&n=20")
    budget = limit(api, red, 10 * (ASKED + 21))
    answers: list[int] = []

    def call() -> None:
        with httpx.Client(headers=api.client.headers, timeout=60, trust_env=False) as client:
            body = {
                "model": "fault:slow?first=1500&n=20", "max_tokens": 21,
                "messages": [{"role": "user", "content": "Hola, ¿qué tal?"}],
            }  # fmt: skip
            answers.append(client.post(f"{api.url}/v1/chat/completions", json=body).status_code)

    threads = [threading.Thread(target=call) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] * 10 + [402] * 20
    settled(api, 10)
    assert account(budget) == (260, 0)


@pytest.mark.spec("F31")
@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_with_a_budget_cannot_make_an_engine_write_beyond_the_context_that_is_reserved(
    api: Api, red: Team, stream: bool
) -> None:
    """Engines that shift their context write on and on."""
    ServedModel.objects.filter(public_id="plain").update(context_length=300)
    api.reload()
    assert api.chat(max_tokens=5000, stream=stream).status_code == 200
    limit(api, red, 1000)
    assert api.chat(max_tokens=5000, stream=stream).status_code == 200
    assert api.chat(max_completion_tokens=200, stream=stream).status_code == 200
    sent = [one.body.get("max_tokens") or one.body["max_completion_tokens"] for one in api.engine.completions()]
    assert sent == [5000, 300, 200]


@pytest.mark.spec("F21")
def test_a_call_that_ends_just_as_others_are_given_back_is_given_back_too(api: Api, red: Team) -> None:
    budget = limit(api, red, 1000)
    first, second = uuid4(), uuid4()
    for call in (first, second):
        wanted = Wanted(red.pk, None, None, timezone.now(), 10, None)
        settling.reserve(wanted, request_id=call, process=uuid4(), lease=timedelta(hours=1))

    async def end() -> None:
        budgets.came_to(first, NOTHING, None)
        (task,) = budgets._giving_back
        while not task.done():  # noqa: ASYNC110  an event would be heard of too late
            await asyncio.sleep(0)
        budgets.came_to(second, NOTHING, None)  # before anybody has heard that the task is done

    asyncio.run_coroutine_threadsafe(end(), api.loop).result()
    given_back(api)
    assert account(budget) == (0, 0)


@pytest.mark.spec("F18")
def test_a_caller_with_a_budget_waits_for_a_slow_database_as_long_as_others_and_then_holds_nothing(
    api: Api, red: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets, "PATIENCE", 0.2)
    limit(api, red, 100)
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE billing_budgetaccount IN SHARE ROW EXCLUSIVE MODE")
        response = api.chat(max_tokens=20)
        cursor.execute("COMMIT")
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    time.sleep(0.5)  # what was asked of the database goes on
    api.engine.wait_for(lambda: BudgetAccount.objects.get().reserved == 0 and not Reservation.objects.exists())
    assert api.engine.completions() == []
    assert api.rows() == []


def a_route(context: int | None = None, **more: Any) -> Route:
    return Route(EngineFacts(1, "e", "openai", "", "", ""), "m", "m", context_length=context, **more)


@pytest.fixture
def messages() -> list[dict[str, str]]:
    return [{"role": "user", "content": "hi"}]


@pytest.mark.spec("F31")
@pytest.mark.parametrize(
    ("routes", "more", "most"),
    [
        ([a_route()], {}, DEFAULT_RESERVE),
        ([a_route()], {"max_tokens": 7}, 7),
        ([a_route()], {"max_tokens": 7, "n": 3}, 21),
        ([a_route(100)], {"max_tokens": 500}, 100),
        ([a_route(100)], {"max_tokens": 500, "n": 2}, 200),
        ([a_route(100), a_route(300)], {"max_tokens": 500}, 300),
        ([a_route(100), a_route(None)], {"max_tokens": 500}, 500),
        ([a_route(defaults={"max_tokens": 9}), a_route(defaults={"max_tokens": 11})], {}, 11),
        ([a_route(default_reserve=50), a_route(defaults={"max_tokens": 11})], {}, 50),
    ],
)
def test_the_worst_that_an_answer_may_come_to(
    routes: list[Route], more: dict[str, int], most: int, messages: list[dict[str, str]]
) -> None:
    ask = parse_chat({"model": "m", "messages": messages, **more})
    assert worst_case(ask, routes, 1) == Worst(1, most)


def test_each_prompt_of_a_text_completion_is_answered_and_each_of_the_best(messages: list[dict[str, str]]) -> None:
    text = parse_completion({"model": "m", "prompt": ["a", "b"], "max_tokens": 10, "best_of": 3})
    ids = parse_completion({"model": "m", "prompt": [1, 2, 3], "max_tokens": 10, "n": 2})
    embedding = parse_embedding({"model": "m", "input": "a"})
    assert [worst_case(one, [a_route()], 4).answer for one in (text, ids, embedding)] == [60, 20, 0]


def test_each_prompt_of_a_text_completion_has_the_context_to_itself() -> None:
    ask = parse_completion({"model": "m", "prompt": ["a"] * 50, "max_tokens": 1})
    assert worst_case(ask, [a_route(100)], 3000) == Worst(3000, 50)
    assert worst_case(ask, [a_route(100)], 9000) == Worst(5000, 50)


@pytest.mark.parametrize(
    ("context", "prompt", "length"), [(None, 9, 4096), (8192, 0, 4096), (800, 0, 700), (100, 99, 16)]
)
def test_an_unsaid_length_fits_into_the_context(context: int | None, prompt: int, length: int) -> None:
    assert unsaid_length(a_route(context), prompt) == length


def test_a_refusal_is_json_that_names_the_request(api: Api, red: Team) -> None:
    limit(api, red, 1)
    response = api.chat(stream=True)
    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.content)["error"]["code"] == "insufficient_quota"
    assert response.headers["id"] == response.headers["x-request-id"]
