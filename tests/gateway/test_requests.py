"""What goes in: addresses, keys, bodies."""

import json
import logging
import socket
import threading
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from accounts.keys import new_secret, revoke_key
from accounts.models import ApiKey, Team
from console.listen import direct_address
from gateway import snapshot
from gateway.errors import BadRequest
from gateway.schemas import json_object, parse_chat
from gateway.snapshot import holder
from tests.factories import make_key
from tests.gateway.conftest import SECRET, Api

USER = [{"role": "user", "content": "hi"}]


@pytest.mark.spec("H1", "A1", "A2", "H4")
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/chat/completions/"])
def test_both_slash_forms_answer_in_openais_form(api: Api, path: str) -> None:
    response = api.client.post(path, json={"model": "plain", "messages": USER})
    body = response.json()
    assert response.status_code == 200
    assert body["object"] == "chat.completion"
    assert body["id"].startswith("chatcmpl-")
    assert body["model"] == "plain"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "".join(f"word{i} " for i in range(20))}
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    assert body["usage"]["reasoning_tokens"] == body["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0
    assert body["backend"] == {"engine_type": "openai", "machine_name": "ma02"}
    assert response.headers["id"] == response.headers["x-request-id"] == str(api.row().id)
    assert response.headers["backend"] == "engine_type=openai; machine_name=ma02"


@pytest.mark.spec("H1", "H3", "H4")
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models/", 405, "method_not_allowed"),
        ("GET", "/v1", 404, "unknown_url"),
        ("POST", "/v1/nothing/here", 404, "unknown_url"),
    ],
)
def test_wrong_addresses_and_methods_are_json_errors(api: Api, method: str, path: str, status: int, code: str) -> None:
    response = api.client.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert response.headers["id"] == response.headers["x-request-id"]


@pytest.mark.spec("F23")
def test_a_key_is_good_to_its_end_by_clocks_that_differ_by_a_minute(api: Api, red: Team) -> None:
    statuses = []
    for seconds in (50, 70):
        secret = make_key(red, expires_at=timezone.now() - timedelta(seconds=seconds)).secret
        headers = {"authorization": f"Bearer {secret}"}
        statuses.append(api.client.get("/v1/models", headers=headers).status_code)
    assert statuses == [200, 401]


@pytest.mark.spec("R13")
def test_a_key_that_must_be_looked_up_in_a_slow_database_is_a_503_in_time(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "PATIENCE", 0.2)
    headers = {"authorization": f"Bearer {new_secret()}"}
    with psycopg.connect(**direct_address()) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE accounts_revision")
        slow = api.client.get("/v1/models", headers=headers)
        other.execute("ROLLBACK")
    assert (slow.status_code, slow.headers["retry-after"]) == (503, "5")
    api.engine.wait_for(lambda: api.client.get("/v1/models", headers=headers).status_code == 401)


@pytest.mark.spec("H2")
def test_absent_malformed_unknown_revoked_and_expired_keys_get_one_wording(api: Api, red: Team) -> None:
    revoked, expired = make_key(red), make_key(red, expires_at=timezone.now() - timedelta(minutes=2))
    revoke_key(key=revoked.key, by=None)
    bodies = set()
    for secret in (None, "sk-other-1", new_secret(), revoked.secret, expired.secret):
        headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
        response = httpx.post(f"{api.url}/v1/chat/completions", headers=headers, json={}, trust_env=False)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        bodies.add(response.text)
    assert len(bodies) == 1
    assert json.loads(bodies.pop())["error"]["code"] == "invalid_api_key"


@pytest.mark.spec("H2")
@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
def test_the_scheme_is_case_insensitive_and_x_api_key_will_do(api: Api, name: str) -> None:
    value = f"bEARER {api.secret}" if name == "authorization" else api.secret
    assert httpx.get(f"{api.url}/v1/models", headers={name: value}, trust_env=False).status_code == 200


@pytest.mark.spec("S02")
def test_a_thousand_malformed_keys_cost_no_look_at_the_database(api: Api) -> None:
    before = holder._begun
    with httpx.Client(base_url=api.url, trust_env=False) as client:
        for i in range(1000):
            headers = {"authorization": f"Bearer sk-tert-{i:030d}000000"}
            assert client.get("/v1/models", headers=headers).status_code == 401
    assert holder._begun == before


def test_a_key_made_a_moment_ago_works_at_once(api: Api, red: Team) -> None:
    secret = make_key(red).secret
    headers = {"authorization": f"Bearer {secret}"}
    assert httpx.get(f"{api.url}/v1/models", headers=headers, trust_env=False).status_code == 200


def test_a_warm_call_asks_the_database_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    statements: list[str] = []
    for name in ("execute", "executemany"):
        original = getattr(CursorWrapper, name)

        def noted(self: CursorWrapper, sql: str, *given: object, run: Any = original) -> object:
            statements.append(sql)
            return run(self, sql, *given)

        monkeypatch.setattr(CursorWrapper, name, noted)
    assert api.chat().status_code == 200
    assert api.stream("fault:ok").done
    assert statements == []
    headers = {"authorization": f"Bearer {new_secret()}"}
    assert httpx.get(f"{api.url}/v1/models", headers=headers, trust_env=False).status_code == 401
    assert statements != []  # a key that is not known is looked up, and the watch above does see it


@pytest.mark.spec("H3", "S15")
@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"[1]", 400),
        (b'"text"', 400),
        (b"{not json", 400),
        (b'{"model": "\xff"}', 400),
        (b'{"model": "plain", "temperature": NaN, "messages": []}', 400),
        (b'{"model": "plain", "x": 1e999, "messages": []}', 400),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400),
        (b'{"model": "plain", "x": ' + b"9" * 5000 + b"}", 400),
    ],
)
def test_a_body_that_is_no_fair_json_object_is_refused(raw: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as refused:
        json_object(raw, b"application/json")
    assert refused.value.status == status


@pytest.mark.spec("H3")
def test_another_content_type_is_415_and_none_is_taken_for_json(api: Api) -> None:
    raw = json.dumps({"model": "plain", "messages": USER}).encode()
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert api.client.post("/v1/chat/completions", content=raw, headers=form).status_code == 415
    assert api.client.post("/v1/chat/completions", content=raw).status_code == 200


@pytest.mark.spec("H3", "S15")
def test_a_body_above_the_limit_is_413_whether_announced_or_not(api: Api, quick) -> None:  # type: ignore[no-untyped-def]
    quick(max_body=10_000)
    big = json.dumps({"model": "plain", "messages": [{"role": "user", "content": "x" * 20_000}]}).encode()
    assert api.client.post("/v1/chat/completions", content=big).status_code == 413
    pieces = (big[i : i + 1000] for i in range(0, len(big), 1000))
    response = api.client.post("/v1/chat/completions", content=pieces)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


@pytest.mark.spec("C1", "C2", "C4", "C5", "C6", "S15")
@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 7}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": USER * 10_000}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/"}}]}]},
            "messages[0].content[0]",
        ),
        *[
            ({"messages": [{"role": "user", "content": [part]}]}, "messages[0].content[0]")
            for part in (
                {"type": "video_url", "video_url": {"url": "http://169.254.169.254/"}},
                {"type": "audio_url", "audio_url": "http://10.0.0.1/"},
                {"type": "text", "text": "x", "uuid": "u", "image_url": {"url": "http://10.0.0.1/"}},
                {"type": "text", "text": "x", "uuid": "u", "video_url": "file:///etc/passwd"},
                {"type": "image_url", "image_url": None},
            )
        ],
        *[
            ({"messages": [{"role": "assistant", "tool_calls": [call]}]}, f"messages[0].tool_calls[0]{place}")
            for call, place in (
                ("x", ""),
                ({"id": {}}, ".id"),
                ({"function": "f"}, ".function"),
                ({"function": {"name": 7}}, ".function.name"),
            )
        ],
        ({"temperature": 2.01}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1e12}, "max_tokens"),
        ({"max_tokens": 10**12}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
        ({"max_tokens": 5.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"n": 1000}, "n"),
        ({"stream": "true"}, "stream"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"options": [1]}, "options"),
        ({"options": {"num_ctx": 0}}, "options.num_ctx"),
        ({"options": {"num_ctx": 0.5}}, "options.num_ctx"),
        ({"user": 7}, "user"),
        ({"reasoning_effort": 1}, "reasoning_effort"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"logprobs": "yes"}, "logprobs"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"tools": {}}, "tools"),
        ({"tools": ["weather"]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {"name": 7}}]}, "tools[0].function.name"),
        ({"tool_choice": True}, "tool_choice"),
        ({"messages": [{"role": "user", "content": "x", "name": 7}]}, "messages[0].name"),
    ],
)
def test_a_bad_parameter_is_named(change: dict[str, object], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_chat(json_object(json.dumps({"model": "plain", "messages": USER, **change}).encode(), b""))
    assert (refused.value.status, refused.value.param) == (400, param)


@pytest.mark.spec("C2", "H5")
def test_a_whole_number_written_as_a_float_reaches_the_engine_as_a_whole_number(api: Api) -> None:
    """JSON has one kind of number: JavaScript and JSON Schema know no difference between 5.0 and 5."""
    given = {"max_tokens": 5.0, "n": 1.0, "seed": -0.0, "temperature": 1.0}
    assert api.chat(**given, options={"num_ctx": 512.0}).status_code == 200
    assert api.client.post("/v1/completions", json={"model": "plain", "prompt": [1.0, 2]}).status_code == 200
    assert api.client.post("/v1/embeddings", json={"model": "plain", "input": [[3.0], [4]]}).status_code == 200
    chat, text, embedding = [call.body for call in api.engine.completions()]
    assert json.dumps([chat[name] for name in given]) == "[5, 1, 0, 1.0]"
    assert json.dumps([text["prompt"], embedding["input"]]) == "[[1, 2], [[3], [4]]]"


@pytest.mark.spec("C7")
def test_nulls_inside_messages_and_tools_are_absent_fields(api: Api) -> None:
    """Clients that write out whole objects send them."""
    function = {"name": "weather", "description": None, "parameters": None, "strict": None}
    said = {"role": "assistant", "content": "x", "name": None, "tool_calls": None, "tool_call_id": None}
    answer = api.client.post(
        "/v1/chat/completions",
        json={"model": "plain", "messages": [said], "tools": [{"type": "function", "function": function}]},
    )
    assert answer.status_code == 200
    assert api.engine.completions()[0].body["tools"][0]["function"] == function


@pytest.mark.spec("C1", "C2", "C5")
def test_what_is_refused_never_reaches_an_engine(api: Api) -> None:
    for change, param in (
        ({"messages": None}, "messages"),
        ({"temperature": 2.01}, "temperature"),
        ({"options": {"num_ctx": 9000}}, "options.num_ctx"),  # above the model's context
        ({"stream": True, "n": 0}, "n"),
    ):
        response = api.client.post("/v1/chat/completions", json={"model": "plain", "messages": USER, **change})
        error = response.json()["error"]
        assert (response.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert api.client.post("/v1/chat/completions", content=b"[1]").status_code == 400
    assert api.engine.completions() == []
    assert api.rows() == []


@pytest.mark.spec("C2", "H5", "C7")
def test_bounds_nulls_and_unknown_fields_pass_through(api: Api) -> None:
    given = {"temperature": 2, "top_p": 0, "max_tokens": 1, "stop": ["a"], "seed": None, "guard": True, "lang": "es"}
    assert api.chat(**given, user="end\0user").status_code == 200
    seen = api.engine.completions()[0].body
    assert {name: seen.get(name) for name in given} == given
    assert "seed" not in seen
    assert api.row().end_user == "enduser"


@pytest.mark.spec("S08")
def test_nothing_in_a_body_sends_the_call_elsewhere(api: Api) -> None:
    with socket.socket() as evil:
        evil.bind(("127.0.0.1", 0))
        evil.listen()
        address = f"http://127.0.0.1:{evil.getsockname()[1]}"
        names = ["api_base", "base_url", "url", "headers", "extra_body", "extra_headers", "proxy", "chat_template"]
        response = api.chat(**dict.fromkeys(names, address))
        evil.settimeout(0.2)
        with pytest.raises(TimeoutError):
            evil.accept()
    seen = api.engine.completions()[0].body
    assert seen.keys() == {"model", "messages"}
    assert response.headers["x-tertulia-ignored"].split(", ") == names


@pytest.mark.spec("C8", "H6", "A5")
def test_the_public_id_or_alias_asked_for_comes_back_and_the_engines_id_never(api: Api) -> None:
    from gateway.models import ServedModel

    ServedModel.objects.filter(public_id="plain").update(public_id="Casa Turbo/1:8b", aliases=["turbo"])
    api.reload()
    for asked in ("Casa Turbo/1:8b", "TURBO", "casa turbo/1:8B"):
        assert api.chat(asked).json()["model"] == asked
        streamed = api.stream(asked)
        assert {event["model"] for event in streamed.events} == {asked}
        assert b'"plain"' not in streamed.raw
    assert {row.model for row in api.rows(6)} == {"Casa Turbo/1:8b"}
    card = api.client.get("/v1/models/Casa%20Turbo%2F1:8b")
    assert card.json()["id"] == "Casa Turbo/1:8b"
    assert api.client.get("/v1/models/Casa Turbo/1:8b/").json() == card.json()


@pytest.mark.spec("M1", "S07")
def test_the_list_shows_what_the_key_may_use_with_the_whole_card(api: Api, red: Team) -> None:
    secret = make_key(red, models=["plain"]).secret
    headers = {"authorization": f"Bearer {secret}"}
    listed = api.client.get("/v1/models", headers=headers).json()
    created = listed["data"][0]["created"]
    assert listed == {
        "object": "list",
        "data": [
            {
                "id": "plain", "object": "model", "created": created, "owned_by": "tertulia", "root": "plain",
                "aliases": ["plain"], "parent": None, "max_model_len": 8192,
                "permission": [
                    {
                        "id": f"modelperm-plain-{created}", "object": "model_permission", "created": created,
                        "allow_create_engine": False, "allow_sampling": True, "allow_logprobs": True,
                        "allow_search_indices": False, "allow_view": True, "allow_fine_tuning": False,
                        "organization": "*", "group": None, "is_blocking": False,
                    }
                ],
            }
        ],
    }  # fmt: skip
    assert api.client.get("/v1/models/plain", headers=headers).json() == listed["data"][0]
    assert api.client.get("/v1/models/fault:ok", headers=headers).json()["error"]["code"] == "model_not_allowed"


@pytest.mark.spec("M2", "S05")
def test_a_model_outside_the_teams_does_not_exist(api: Api, red: Team) -> None:
    Team.objects.filter(pk=red.pk).update(models=[])
    api.reload()
    assert api.client.get("/v1/models").json() == {"object": "list", "data": []}
    for response in (api.client.get("/v1/models/plain"), api.chat("plain"), api.chat("no such model")):
        assert response.status_code == 404
        assert response.json()["error"] | {"message": ""} == {
            "message": "", "type": "invalid_request_error", "param": "model", "code": "model_not_found",
        }  # fmt: skip


@pytest.mark.spec("S03")
def test_a_revoked_key_is_refused_with_the_next_snapshot(api: Api) -> None:
    assert api.chat().status_code == 200
    revoke_key(key=ApiKey.objects.get(), by=None)
    api.reload()
    assert api.chat().status_code == 401


@pytest.mark.spec("F30", "S03")
def test_a_running_stream_of_a_revoked_key_is_cut_and_billed_as_counted(api: Api) -> None:
    api.serve("fault:drip?n=1000&gap=20")
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(api.stream("fault:drip?n=1000&gap=20").raw))
    reader.start()
    api.engine.wait_for(lambda: any(exchange.deltas > 5 for exchange in api.engine.requests))
    revoke_key(key=ApiKey.objects.get(), by=None)
    api.reload()
    reader.join(10)
    api.engine.wait_for(lambda: api.engine.requests[-1].closed_at is not None)
    row = api.row()
    assert not found[0].endswith(b"[DONE]\n\n")
    assert b'"error"' in found[0]
    assert (row.outcome, row.completion_source) == ("revoked", "counted")
    assert 5 <= row.completion_tokens <= api.engine.requests[-1].deltas


@pytest.mark.spec("S01", "S14")
def test_no_key_is_ever_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api.chat()
    api.chat("fault:status")
    httpx.get(f"{api.url}/v1/models", headers={"authorization": f"Bearer {new_secret()}"}, trust_env=False)
    assert api.secret not in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.spec("S15", "F40")
@pytest.mark.parametrize("filling", [b"[[]]", b'{"a":1}', b"1", b'""'])
def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(filling: bytes) -> None:
    raw = b'{"model": "plain", "x": [%s]}' % b",".join([filling] * 300_000)
    with pytest.raises(BadRequest, match="more than 300000 values"):
        json_object(raw, b"")


@pytest.mark.spec("S15")
def test_signs_inside_a_string_are_not_values() -> None:
    text = 'a, [b], {c}: \\"d\\" ' * 100_000
    assert json_object(json.dumps({"x": text}).encode(), b"") == {"x": text}


@pytest.mark.spec("S15", "F40")
@pytest.mark.parametrize("number", ["9" * 401, f"0.{'1' * 400}"])
def test_a_number_of_endless_digits_is_refused(number: str) -> None:
    with pytest.raises(BadRequest, match="too long"):
        json_object(f'{{"x": {number}}}'.encode(), b"")
