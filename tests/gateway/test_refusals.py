"""What becomes of a call that is refused: written down once if its caller is known, never if it was admitted."""

from typing import Any

import httpx
import pytest

from accounts.models import Team
from billing.models import Refusal, UsageRecord
from gateway import running
from tests.billing.test_refusals import summed
from tests.factories import make_key
from tests.gateway.conftest import Api

USER = [{"role": "user", "content": "canary-prompt-7481"}]


def refusals(api: Api, least: int = 1) -> list[Refusal]:
    api.rows()

    def shipped() -> bool:
        api.rows()
        return summed() >= least

    api.engine.wait_for(shipped)
    return list(Refusal.objects.order_by("pk"))


def post(api: Api, **more: Any) -> httpx.Response:
    return api.client.post("/v1/chat/completions", **more)


def only_this_is_refused(api: Api) -> None:
    """One more call, whose refusal comes to PostgreSQL after whatever was written before it."""
    last = api.chat("the last one")
    assert [str(row.pk) for row in refusals(api)] == [last.headers["x-request-id"]]


@pytest.mark.spec("U1")
def test_each_kind_of_refusal_becomes_one_row(api: Api, red: Team) -> None:
    body = {"model": "plain", "messages": USER}
    narrow = {"authorization": f"Bearer {make_key(red, name='narrow', models=['other']).secret}"}
    answers = [
        post(api, json=body | {"model": "absent/1:x y"}),
        post(api, json=body | {"temperature": 9}),
        post(api, json=body, headers=narrow),
        post(api, content=b"{}", headers={"content-type": "text/plain"}),
        post(api, content=b"not JSON", headers={"content-type": "application/json"}),
        api.client.get("/v1/models/absent"),
    ]
    found = refusals(api, len(answers))
    assert [(row.status, row.code) for row in found] == [
        (answer.status_code, answer.json()["error"]["code"]) for answer in answers
    ]
    assert [str(row.pk) for row in found] == [answer.headers["x-request-id"] for answer in answers]
    assert [row.status for row in found] == [404, 400, 403, 415, 400, 404]
    assert [row.model for row in found] == ["absent/1:x y", "", "plain", "", "", "absent"]
    assert {row.endpoint for row in found} == {"chat.completions", "models"}
    assert [row.key_name for row in found][2] == "narrow"
    assert {(row.team_id, row.origin, row.count) for row in found} == {(red.pk, "api", 1)}
    assert UsageRecord.objects.count() == 0


def test_nothing_is_written_of_callers_who_are_not_known_nor_of_admitted_calls(api: Api) -> None:
    assert post(api, json={}, headers={"authorization": "Bearer sk-tert-nobody"}).status_code == 401
    assert api.client.get("/v1/nothing").status_code == 404
    assert api.client.get("/v1/chat/completions").status_code == 405
    assert api.chat().status_code == 200
    only_this_is_refused(api)


def test_a_call_that_an_engine_fails_is_in_the_log_and_no_refusal(api: Api) -> None:
    response = api.chat("fault:rst")
    (row,) = api.rows(1)
    assert (response.status_code, row.outcome) == (502, "upstream_error")
    only_this_is_refused(api)


def test_a_repeated_request_is_a_refusal_and_the_first_one_is_not(api: Api) -> None:
    headers = {"idempotency-key": "one"}
    body = {"model": "plain", "messages": USER}
    assert post(api, json=body, headers=headers).status_code == 200
    assert post(api, json=body, headers=headers).status_code == 409
    (row,) = refusals(api)
    assert (row.status, row.code, row.model) == (409, "idempotency_conflict", "plain")
    assert UsageRecord.objects.count() == 1


def test_a_server_that_stops_says_so_and_counts_it(api: Api) -> None:
    running.drain_flag.set()
    assert api.chat().status_code == 503
    running.drain_flag.clear()
    (row,) = refusals(api)
    assert (row.status, row.code, row.endpoint) == (503, "service_unavailable", "chat.completions")


def test_the_status_is_the_one_that_the_caller_saw(api: Api, red: Team) -> None:
    key = make_key(red, dialect="saptiva").secret
    api.reload()
    answer = post(
        api, json={"model": "plain", "messages": USER, "temperature": 9}, headers={"authorization": f"Bearer {key}"}
    )
    (row,) = refusals(api)
    assert (answer.status_code, row.status) == (422, 422)


def test_a_flood_over_the_api_loses_nothing_of_its_sum(api: Api) -> None:
    for _ in range(150):
        assert api.chat("absent").status_code == 404
    found = refusals(api, 150)
    assert summed() == 150
    assert len(found) <= 2 * 101
