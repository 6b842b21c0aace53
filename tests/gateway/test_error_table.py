"""The table of errors: each with its status, type, code and parameter, streamed or not, and in JSON in any case."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from accounts.models import Team
from billing.budgets.monthly import set_budget
from billing.models import Price, Unit
from gateway.catalogue import add_engine
from gateway.engines.refusals import LONGEST_WAIT
from gateway.models import Engine, ServedModel
from tests.engines.faultd import CANARY
from tests.factories import make_key
from tests.gateway.conftest import SECRET, Api

INVALID, UPSTREAM = "invalid_request_error", "upstream_error"
EITHER_WAY = pytest.mark.parametrize("stream", [False, True])
TOO_LONG = "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens. Please shorten it."
USER = [{"role": "user", "content": "hi"}]


def check(response: httpx.Response, status: int, kind: str, code: str, param: str | None = None) -> str:
    """The message of an error that is in all else what it should be."""
    error = response.json()["error"]
    assert response.status_code == status
    assert {name: error[name] for name in error if name != "message"} == {"type": kind, "code": code, "param": param}
    assert response.headers["content-type"] == "application/json"
    assert response.headers["id"] == response.headers["x-request-id"] == str(UUID(response.headers["id"]))
    # LiteLLM takes any error with these words for a 429.
    assert bool(re.search(r"rate.?limit", response.text, re.IGNORECASE)) == (status == 429)
    assert CANARY not in response.text
    message: str = error["message"]
    assert message
    return message


@EITHER_WAY
@pytest.mark.spec("C1", "C2", "H3", "T5")
@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"temperature": 2.5}, "invalid_value", "temperature"),
        ({"temperature": "hot"}, "invalid_value", "temperature"),
        ({"top_p": 1.1}, "invalid_value", "top_p"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"messages": None}, "missing_required_parameter", "messages"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"model": None}, "missing_required_parameter", "model"),
    ],
)
def test_a_bad_parameter(api: Api, change: dict[str, Any], code: str, param: str, stream: bool) -> None:
    body = {"model": "plain", "messages": USER, "stream": stream, **change}
    response = api.client.post("/v1/chat/completions", json=body)
    check(response, 400, INVALID, code, param)
    assert "retry-after" not in response.headers


@EITHER_WAY
@pytest.mark.spec("H2")
def test_a_missing_or_a_bad_key(api: Api, stream: bool) -> None:
    for headers in ({}, {"authorization": "Bearer sk-tert-nothing"}, {"authorization": f"Basic {api.secret}"}):
        body = {"model": "plain", "messages": USER, "stream": stream}
        response = httpx.post(f"{api.url}/v1/chat/completions", json=body, headers=headers, trust_env=False)
        check(response, 401, "authentication_error", "invalid_api_key")
        assert response.headers["www-authenticate"] == "Bearer"


@EITHER_WAY
@pytest.mark.spec("K3", "M1")
def test_no_right_to_a_model_and_a_model_that_is_not_there(api: Api, red: Team, stream: bool) -> None:
    api.client.headers["authorization"] = f"Bearer {make_key(red, models=['fault:ok']).secret}"
    check(api.chat("plain", stream=stream), 403, "permission_error", "model_not_allowed", "model")
    told = check(api.chat("plein", stream=stream), 404, INVALID, "model_not_found", "model")
    assert told == "The model 'plein' does not exist."
    check(api.client.get("/v1/models/plein"), 404, INVALID, "model_not_found", "model")


@pytest.mark.spec("H3")
def test_a_wrong_address_method_or_content_type(api: Api) -> None:
    check(api.client.post("/v1/chat/completion", json={}), 404, INVALID, "unknown_url")
    check(api.client.get("/v1/chat/completions"), 405, INVALID, "method_not_allowed")
    form = api.client.post("/v1/chat/completions", data={"model": "plain"})
    check(form, 415, INVALID, "unsupported_media_type")


@EITHER_WAY
@pytest.mark.spec("H3")
def test_a_body_that_is_too_large(api: Api, quick: Callable[..., None], stream: bool) -> None:
    quick(max_body=1000)
    check(api.chat(user="x" * 1000, stream=stream), 413, INVALID, "request_too_large")


@EITHER_WAY
@pytest.mark.spec("H4", "S14")
def test_a_fault_of_our_own_names_the_request_and_tells_nothing(
    api: Api, quick: Callable[..., None], caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    quick(max_body="a size that is no number")
    response = api.chat(stream=stream)
    told = check(response, 500, "server_error", "internal_error")
    assert told == "Something went wrong here. Tell the operator the request id."
    assert "Traceback" not in response.text
    (logged,) = [record for record in caplog.records if record.exc_info]
    assert logged.__dict__["request_id"] == response.headers["x-request-id"]


@EITHER_WAY
@pytest.mark.spec("U4", "U6", "H3")
def test_a_budget_that_is_used_up_and_a_model_without_a_price(api: Api, red: Team, stream: bool) -> None:
    set_budget(team=red, unit=Unit.MONEY, amount=Decimal(1), hard=True, by=None)
    api.reload()
    for code, param in (("model_without_price", "model"), ("insufficient_quota", None)):
        response = api.chat(max_tokens=20, stream=stream)
        check(response, 402, "insufficient_quota", code, param)
        assert response.headers["x-should-retry"] == "false"
        assert "retry-after" not in response.headers
        set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(20), hard=True, by=None)
        Price.objects.get_or_create(
            model="plain", effective_from=datetime(2020, 1, 1, tzinfo=UTC), defaults={"input": 0, "output": 0}
        )
        api.reload()


@EITHER_WAY
@pytest.mark.spec("F03", "T5")
def test_an_engine_that_is_down(api: Api, stream: bool) -> None:
    api.engine.stop()
    response = api.chat(stream=stream)
    check(response, 503, "service_unavailable_error", "service_unavailable")
    assert 1 <= int(response.headers["retry-after"]) <= LONGEST_WAIT


@EITHER_WAY
@pytest.mark.spec("F09", "T5", "T8")
@pytest.mark.parametrize(
    ("model", "status", "kind", "code"),
    [
        ("fault:status?code=500", 502, UPSTREAM, "bad_gateway"),
        ("fault:status?code=401", 502, UPSTREAM, "bad_gateway"),
        ("fault:status?code=404", 502, UPSTREAM, "bad_gateway"),
        ("fault:html", 502, UPSTREAM, "bad_gateway"),
        ("fault:error200", 502, UPSTREAM, "bad_gateway"),
        ("fault:refuse", 502, UPSTREAM, "bad_gateway"),
        ("fault:status?code=503&retry=9", 503, "service_unavailable_error", "service_unavailable"),
        ("fault:429?retry=9", 429, "rate_limit_error", "engine_busy"),
        ("fault:hang", 504, UPSTREAM, "timeout"),
        ("fault:status?code=504", 504, UPSTREAM, "timeout"),
        ("fault:status?code=408", 504, UPSTREAM, "timeout"),
    ],
)
def test_an_engine_that_fails(
    api: Api, quick: Callable[..., None], model: str, status: int, kind: str, code: str, stream: bool
) -> None:
    quick(first_byte_seconds=0.5)
    api.serve(model)
    response = api.chat(model, stream=stream)
    check(response, status, kind, code)
    assert response.headers.get("retry-after") == ("9" if "retry" in model else None)


@pytest.mark.spec("T5")
@pytest.mark.parametrize("model", ["fault:error-late", "fault:rst", "fault:cut"])
def test_a_failure_after_the_first_byte_is_an_event_of_the_same_shape(api: Api, model: str) -> None:
    streamed = api.stream(model)
    error = streamed.events[-1]["error"]
    assert {name: error[name] for name in error if name != "message"} == {
        "type": UPSTREAM,
        "code": "bad_gateway",
        "param": None,
    }
    assert not streamed.done
    assert CANARY.encode() not in streamed.raw


SHAPES = {
    "vllm": {"error": {"message": TOO_LONG, "type": "BadRequestError", "param": None, "code": 400}},
    "vllm of old": {"object": "error", "message": TOO_LONG, "type": "BadRequestError", "param": None, "code": 400},
    "llama.cpp": {
        "error": {
            "code": 400,
            "type": "exceed_context_size_error",
            "message": "the request exceeds the available context size, try increasing it",
            "n_prompt_tokens": 9000,
            "n_ctx": 4096,
        }
    },
    "openai": {"error": {"message": TOO_LONG, "type": INVALID, "param": "messages", "code": "context_length_exceeded"}},
}


@EITHER_WAY
@pytest.mark.parametrize("engine", SHAPES)
def test_a_prompt_above_the_context_says_how_long_it_may_be(api: Api, engine: str, stream: bool) -> None:
    response = api.chat("fault:refuses", refusal=SHAPES[engine], stream=stream)
    told = check(response, 400, INVALID, "context_length_exceeded", "messages")
    assert "maximum context length is 4096 tokens" in told


@EITHER_WAY
def test_a_prompt_above_the_context_of_ollama(api: Api, stream: bool) -> None:
    engine = add_engine(name="ollama", type="ollama", url=api.engine.url, secret=SECRET)
    for name in ("fault:context", "fault:status?code=400"):
        ServedModel.objects.create(engine=engine, public_id=f"ollama {name}", engine_model=name)
    api.reload()
    check(api.chat("ollama fault:context", stream=stream), 400, INVALID, "context_length_exceeded", "messages")
    assert check(api.chat("ollama fault:status?code=400", stream=stream), 400, INVALID, "invalid_value") == "no luck"


@EITHER_WAY
@pytest.mark.parametrize(
    ("status", "refusal", "told", "param"),
    [
        (400, {"error": {"message": "top_k is odd", "type": "BadRequestError", "code": 400}}, "top_k is odd", None),
        (400, {"object": "error", "message": "n is odd", "param": "n", "code": 400}, "n is odd", "n"),
        (422, {"error": {"message": "no", "type": "api_error", "param": "stop", "code": None}}, "no", "stop"),
        (400, {"error": "in a text"}, "in a text", None),
        (400, {"detail": [{"msg": "FastAPI"}]}, "The engine does not accept this request.", None),
        (400, "<html><h1>400 Bad Request</h1>nginx</html>", "The engine does not accept this request.", None),
        (400, {"error": {"message": ["odd"], "param": {"a": 1}}}, "['odd']", None),
        (400, {"error": {"message": f"see http://10.0.0.7:80/x, {SECRET}"}}, "see … …", None),
        (400, {"error": {"message": "Rate limit reached, rate_limit, RateLimitError"}}, "… reached, …, …", None),
    ],
)
def test_an_engines_refusal_of_whatever_shape_is_ours(
    api: Api, status: int, refusal: object, told: str, param: str | None, stream: bool
) -> None:
    model = f"fault:refuses?code={status}"
    api.serve(model)
    response = api.chat(model, refusal=refusal, stream=stream)
    assert check(response, 400, INVALID, "invalid_value", param) == told


@EITHER_WAY
def test_a_body_too_large_for_the_engine(api: Api, stream: bool) -> None:
    api.serve("fault:refuses?code=413")
    response = api.chat("fault:refuses?code=413", refusal="<h1>413</h1>", stream=stream)
    check(response, 413, INVALID, "request_too_large")


def test_a_key_of_an_engine_that_can_no_longer_be_read(api: Api) -> None:
    Engine.objects.update(secret="written with another SECRET_KEY")
    api.reload()
    told = check(api.chat(), 503, "service_unavailable_error", "service_unavailable")
    assert told == "The engine's key cannot be read any more. An operator has to enter it again."


@pytest.mark.spec("H3")
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/usage", "/v1/embeddings"])
def test_no_method_finds_a_page_or_a_redirect(api: Api, method: str, path: str) -> None:
    response = api.client.request(method, path)
    assert response.status_code == 405
    assert response.headers["content-type"] == "application/json"
    if method != "HEAD":
        assert json.loads(response.content)["error"]["code"] == "method_not_allowed"
