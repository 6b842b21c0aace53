"""A request that is sent twice is carried out once, and one that came to nothing may be sent again."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest
from django.db import DatabaseError
from django.utils import timezone

from accounts.database import in_database
from accounts.models import Team
from billing.usage.glances import came_to_nothing
from console.listen import direct_address
from gateway import idempotency
from gateway.idempotency import forget_old
from gateway.models import RememberedRequest
from gateway.running import Call
from tests.factories import make_key
from tests.gateway.conftest import Api


def send(api: Api, name: str, model: str = "plain", *, secret: str = "", **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Pay the bill"}], **more}
    headers = {"idempotency-key": name.encode("latin-1"), "authorization": f"Bearer {secret or api.secret}"}
    return api.client.post("/v1/chat/completions", json=body, headers=headers)


@pytest.mark.spec("R16", "F33")
def test_ten_at_once_and_one_later_are_one_call_and_one_row(api: Api) -> None:
    model = "fault:slow?first=300&n=3"
    api.serve(model)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: send(api, "order-1", model), range(10)))
    answers.append(send(api, "order-1", model))
    (first,) = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(api.engine.completions()) == 1
    assert str(api.row().id) == first.headers["id"]
    assert len(refused) == 10
    for answer in refused:
        assert answer.status_code == 409
        assert answer.headers["x-should-retry"] == "false"
        assert answer.json()["error"]["code"] == "idempotency_conflict"
        assert first.headers["id"] in answer.json()["error"]["message"]


@pytest.mark.spec("R16")
def test_another_body_under_the_same_key_is_422(api: Api) -> None:
    assert send(api, "order-1").status_code == 200
    other = send(api, "order-1", max_tokens=7)
    assert other.status_code == 422
    assert other.headers["x-should-retry"] == "false"
    assert other.json()["error"]["code"] == "idempotency_mismatch"
    assert len(api.engine.completions()) == 1


def test_keys_do_not_meet_each_others_names(api: Api, red: Team) -> None:
    other = make_key(red).secret
    assert send(api, "order-1").status_code == 200
    assert send(api, "order-1", secret=other).status_code == 200
    assert send(api, "order-2").status_code == 200
    headers = {"idempotency-key": "order-1"}
    text = api.client.post("/v1/completions", json={"model": "plain", "prompt": "Once"}, headers=headers)
    assert text.status_code == 200


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["fault:status?code=500", "fault:refuse", "no such model"])
def test_what_came_to_nothing_may_be_sent_again(api: Api, model: str, stream: bool) -> None:
    api.serve("fault:status?code=500")
    statuses = {send(api, "order-1", model, stream=stream).status_code for _ in range(2)}
    assert statuses == {404 if model == "no such model" else 502}
    assert send(api, "order-1", stream=stream).status_code == 200
    assert send(api, "order-1", stream=stream).status_code == 409


def test_an_answer_that_broke_off_is_not_made_again(api: Api) -> None:
    assert send(api, "order-1", "fault:rst", stream=True).status_code == 200
    assert send(api, "order-1", "fault:rst", stream=True).status_code == 409


@pytest.mark.spec("R16")
def test_without_the_database_it_is_a_503_and_nothing_is_asked(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise DatabaseError

    monkeypatch.setattr(idempotency, "_claim", away)
    answer = send(api, "order-1")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert api.engine.completions() == []
    assert api.chat().status_code == 200  # and without the header all goes on


def test_the_log_frees_what_could_not_be_forgotten(api: Api) -> None:
    api.serve("fault:status?code=500")
    failed = send(api, "order-1", "fault:status?code=500")
    row = api.row()
    assert failed.headers["id"] == str(row.id)
    RememberedRequest.objects.create(
        key_id=row.key_id, path="/v1/chat/completions", name="order-1", body=b"x" * 32, request_id=row.id, at=row.at
    )
    assert came_to_nothing(row.team_id, row.id)
    assert send(api, "order-1").status_code == 200


def test_after_a_day_the_name_is_free_and_the_memory_goes(api: Api) -> None:
    assert send(api, "order-1").status_code == 200
    RememberedRequest.objects.update(at=timezone.now() - timedelta(hours=25))
    assert send(api, "order-1").status_code == 200
    forget_old()
    assert RememberedRequest.objects.count() == 1
    RememberedRequest.objects.update(at=timezone.now() - timedelta(hours=25))
    forget_old()
    assert not RememberedRequest.objects.exists()


@pytest.mark.parametrize("name", ["", "x" * 256, "a\tb", "clé"])
def test_a_name_that_cannot_be_one_is_400(api: Api, name: str) -> None:
    answer = send(api, name)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "idempotency-key")
    assert api.engine.completions() == []


@pytest.mark.spec("R13", "R16")
def test_a_claim_that_takes_too_long_is_refused_and_taken_back(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "PATIENCE", 0.2)
    with psycopg.connect(**direct_address()) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE gateway_rememberedrequest")
        slow = send(api, "order-1")
        other.execute("ROLLBACK")
    assert (slow.status_code, slow.headers["retry-after"]) == (503, "5")
    assert api.engine.completions() == []
    api.engine.wait_for(lambda: send(api, "order-1").status_code == 200)
    assert len(api.engine.completions()) == 1


@pytest.mark.spec("F02", "R16")
def test_a_claim_that_is_made_at_the_moment_its_caller_leaves_is_taken_back(api: Api, red: Team) -> None:
    call = Call()
    place = {"key_id": make_key(red).key.pk, "path": "/v1/chat/completions", "name": "order-1", "body": b""}

    async def leave() -> None:
        caller: asyncio.Task[None]

        async def claim() -> None:
            made = {**place, "request_id": call.request.id, "at": timezone.now()}
            await in_database(lambda: RememberedRequest.objects.create(**made))
            caller.cancel()

        caller = asyncio.create_task(idempotency._claim_soon(claim(), call))
        with pytest.raises(asyncio.CancelledError):
            await caller

    asyncio.run_coroutine_threadsafe(leave(), api.loop).result()
    api.engine.wait_for(lambda: not RememberedRequest.objects.exists())
