"""What comes out as a stream, and what is accounted when something goes wrong on the way."""

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway import running
from tests.engines.faultd import CANARY
from tests.gateway.conftest import Api

WORDS = "".join(f"word{i} " for i in range(20))


@pytest.mark.spec("T1", "T2", "T4", "T9", "A2")
def test_a_stream_has_role_finish_and_backend_and_no_usage_nobody_asked_for(api: Api) -> None:
    streamed = api.stream()
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.headers["cache-control"] == "no-cache"
    assert streamed.headers["x-accel-buffering"] == "no"
    assert streamed.headers["x-request-id"] == streamed.headers["id"]
    assert streamed.headers["backend"] == "engine_type=openai; machine_name=ma02"
    assert streamed.done
    assert streamed.text == WORDS
    assert streamed.events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert streamed.events[-1]["choices"][0]["finish_reason"] == "stop"
    assert streamed.events[-1]["backend"] == {"engine_type": "openai", "machine_name": "ma02"}
    assert not any(event.get("usage") for event in streamed.events)
    row, reported = api.row(), api.engine.completions()[0].reported
    assert reported is not None
    assert (row.prompt_tokens, row.completion_tokens) == (reported["prompt_tokens"], reported["completion_tokens"])
    assert (row.prompt_source, row.completion_source, row.outcome) == ("upstream", "upstream", "ok")
    assert row.answer_id == streamed.events[0]["id"]


@pytest.mark.spec("T3", "T9")
def test_usage_comes_once_and_last_when_asked_for(api: Api) -> None:
    streamed = api.stream(stream_options={"include_usage": True})
    with_usage = [event for event in streamed.events if event.get("usage")]
    assert with_usage == streamed.events[-1:]
    assert with_usage[0]["choices"] == []
    assert with_usage[0]["usage"]["completion_tokens"] == 20
    assert with_usage[0]["backend"]["machine_name"] == "ma02"


@pytest.mark.spec("R07", "F14")
def test_the_bytes_of_deltas_pass_untouched(api: Api) -> None:
    streamed = api.stream("fault:unicode")
    texts = ["a\u2028b", "c\u0085d", "nul\x00", "\x0b\x0c\x1c", "\ud83d", "\ude00", "ñ", "😀"]
    said = [event["choices"][0]["delta"].get("content") for event in streamed.events]
    assert [text for text in said if text] == texts
    for raw in ('"a\u2028b"'.encode(), '"c\u0085d"'.encode(), rb'"\ud83d"', '"ñ"'.encode(), '"😀"'.encode()):
        assert raw in streamed.raw


@pytest.mark.spec("F14")
def test_a_byte_that_is_not_utf8_passes_untouched(api: Api) -> None:
    assert b'"x\xffy"' in api.chat("fault:bad-utf8", stream=True).content


@pytest.mark.spec("T2", "A5")
def test_a_missing_role_and_finish_are_added_and_engines_own_fields_taken_out(api: Api) -> None:
    streamed = api.stream("fault:bare")
    assert streamed.done
    assert streamed.text == WORDS
    assert streamed.events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert streamed.events[-1]["choices"][0]["finish_reason"] == "stop"
    assert CANARY.encode() not in streamed.raw
    assert api.chat("fault:bare").json().keys() == {"id", "object", "created", "model", "choices", "usage", "backend"}


@pytest.mark.spec("A4", "A2")
@pytest.mark.parametrize("stream", [True, False])
def test_reasoning_has_one_name_and_its_tokens_are_told(api: Api, stream: bool) -> None:
    response = api.chat("fault:reasoning", stream=stream, stream_options={"include_usage": True})
    assert b'"reasoning":' not in response.content
    assert response.content.count(b'"reasoning_content"') == (5 if stream else 1)
    row = api.row()
    assert (row.completion_tokens, row.reasoning_tokens) == (25, 5)
    assert b'"reasoning_tokens":5' in response.content


@pytest.mark.spec("T6")
def test_heartbeats_while_the_engine_thinks(api: Api, quick: Callable[..., None]) -> None:
    quick(heartbeat_after=0.1)
    api.serve("fault:slow?first=600&n=3")
    streamed = api.stream("fault:slow?first=600&n=3")
    assert streamed.raw.startswith(b": ping\n\n")
    assert streamed.done
    assert streamed.text == "word0 word1 word2 "


@pytest.mark.spec("T5", "F04", "R05")
@pytest.mark.parametrize("scenario", ["hang", "hang-headers"])
@pytest.mark.parametrize("stream", [True, False])
def test_an_engine_that_says_nothing_is_a_504(
    api: Api, quick: Callable[..., None], scenario: str, stream: bool
) -> None:
    quick(first_byte_seconds=0.3)
    response = api.chat(f"fault:{scenario}", stream=stream)
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "timeout"
    assert response.headers["content-type"] == "application/json"
    row = api.row()
    assert (row.outcome, row.status, row.prompt_tokens, row.completion_tokens) == ("upstream_timeout", 504, 0, 0)
    assert (row.prompt_source, row.completion_source) == ("none", "none")


@pytest.mark.spec("T5")
def test_failure_after_a_heartbeat_is_an_error_event(api: Api, quick: Callable[..., None]) -> None:
    quick(heartbeat_after=0.1, first_byte_seconds=0.4)
    streamed = api.stream("fault:hang")
    assert streamed.status == 200
    assert streamed.events[-1]["error"]["code"] == "timeout"
    assert not streamed.done


@pytest.mark.spec("T5", "F03", "R04")
@pytest.mark.parametrize("scenario", ["rst", "cut", "eof", "error-late?after=7"])
def test_an_engine_that_dies_midway_is_an_error_event_and_what_came_is_counted(api: Api, scenario: str) -> None:
    api.serve(f"fault:{scenario}")
    streamed = api.stream(f"fault:{scenario}")
    assert streamed.status == 200
    assert streamed.events[-1]["error"]["type"] == "upstream_error"
    assert not streamed.done
    assert CANARY.encode() not in streamed.raw
    row = api.row()
    assert (row.outcome, row.completion_tokens, row.completion_source) == ("upstream_error", 7, "counted")
    assert row.prompt_source == "estimated"


@pytest.mark.spec("T7", "F05", "R06")
@pytest.mark.parametrize(("scenario", "tokens"), [("stall", 7), ("comments", 3), ("bytes?gap=50", 0), ("bad-chunk", 7)])
def test_drips_comments_and_silence_are_no_progress(
    api: Api, quick: Callable[..., None], scenario: str, tokens: int
) -> None:
    quick(first_byte_seconds=0.6, between_bytes_seconds=0.4)
    api.serve(f"fault:{scenario}")
    response = api.chat(f"fault:{scenario}", stream=True)
    assert b"[DONE]" not in response.content
    row = api.row()
    assert (row.outcome, row.completion_tokens) == ("upstream_timeout", tokens)


@pytest.mark.spec("F05")
def test_the_whole_answer_has_a_deadline_too(api: Api, quick: Callable[..., None]) -> None:
    quick(total_seconds=0.8)
    api.serve("fault:drip?n=1000&gap=20")
    assert not api.stream("fault:drip?n=1000&gap=20").done
    assert api.row().outcome == "upstream_timeout"


@pytest.mark.spec("F06")
def test_one_broken_event_is_skipped_and_many_end_the_stream(api: Api) -> None:
    api.serve("fault:malformed?bad=30")
    once = api.stream("fault:malformed")
    assert once.done
    assert once.text == WORDS
    often = api.stream("fault:malformed?bad=30")
    assert often.events[-1]["error"]["code"] == "bad_gateway"
    assert not often.done
    assert [row.outcome for row in api.rows(2)] == ["ok", "bad_upstream"]


@pytest.mark.spec("F07", "F08", "R08")
@pytest.mark.parametrize(
    ("scenario", "completion", "source", "anomaly"),
    [
        ("nousage", 20, "counted", ""),
        ("usage-twice", 20, "upstream", ""),
        ("usage-each", 20, "upstream", ""),
        ("usage-after-done", 20, "upstream", ""),
        ("usage-negative", 20, "counted", "usage_negative"),
        ("usage-huge", 20, "counted", "usage_huge"),
        ("usage-string", 20, "counted", "usage_type"),
    ],
)
def test_odd_usage_is_the_last_valid_or_counted_never_summed(
    api: Api, scenario: str, completion: int, source: str, anomaly: str
) -> None:
    streamed = api.stream(f"fault:{scenario}", stream_options={"include_usage": True})
    assert streamed.done
    assert sum(bool(event.get("usage")) for event in streamed.events) == 1
    assert streamed.events[-1]["usage"]["completion_tokens"] == completion
    row = api.row()
    assert (row.completion_tokens, row.completion_source, row.anomaly) == (completion, source, anomaly)
    assert row.outcome == "ok"


@pytest.mark.spec("F07")
def test_a_whole_answer_without_usage_is_estimated(api: Api) -> None:
    assert api.chat("fault:nousage").json()["usage"]["completion_tokens"] > 0
    row = api.row()
    assert (row.prompt_source, row.completion_source) == ("estimated", "estimated")


@pytest.mark.spec("F09", "F11", "F12", "F13", "R09", "S14", "T8")
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("scenario", "status"),
    [
        ("error200", 502),
        ("html", 502),
        ("bomb", 502),
        ("refuse", 502),
        ("redirect", 502),
        ("status?code=500", 502),
        ("status?code=401", 502),
        ("status?code=403", 502),
        ("status?code=404", 502),
        ("status?code=400", 400),
        ("status?code=503", 503),
    ],
)
def test_an_engines_refusal_is_ours_in_status_and_words(api: Api, scenario: str, status: int, stream: bool) -> None:
    api.serve(f"fault:{scenario}")
    response = api.chat(f"fault:{scenario}", stream=stream)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    for private in (api.engine.url, api.engine.url.removeprefix("http://"), "10.1.2.3", "sk-engine-canary", "9999"):
        assert private not in response.text
    row = api.row()
    assert (row.status, row.prompt_tokens, row.completion_tokens) == (status, 0, 0)


@pytest.mark.spec("F09", "T8")
@pytest.mark.parametrize("scenario", ["error-event", "json"])
def test_a_stream_that_begins_with_an_error_or_is_none_is_a_502(api: Api, scenario: str) -> None:
    response = api.chat(f"fault:{scenario}", stream=True)
    assert response.status_code == 502
    assert CANARY not in response.text
    assert api.row().completion_tokens == 0


@pytest.mark.spec("F13", "R19")
def test_an_endless_line_is_cut_at_the_cap(api: Api) -> None:
    response = api.chat("fault:huge-line", stream=True)
    assert response.status_code == 502
    assert api.row().outcome == "bad_upstream"
    api.engine.wait_for(lambda: api.engine.requests[-1].closed_at is not None)


@pytest.mark.spec("F10", "R10")
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_an_engines_429_is_passed_on_with_its_wait(api: Api, form: str) -> None:
    api.serve(f"fault:429?retry=7&form={form}")
    response = api.chat(f"fault:429?retry=7&form={form}")
    assert response.status_code == 429
    assert 1 <= int(response.headers["retry-after"]) <= 7
    assert response.json()["error"]["code"] == "engine_busy"


def test_a_prompt_too_long_for_the_model_says_how_long_it_may_be(api: Api) -> None:
    error = api.chat("fault:context").json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "maximum context length is 4096 tokens" in error["message"]


def test_an_engine_that_is_down_is_a_503_with_retry_after(api: Api) -> None:
    api.engine.stop()
    response = api.chat()
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert api.row().outcome == "upstream_error"


@pytest.mark.spec("T7", "F01", "R03")
def test_a_caller_who_leaves_midway_stops_the_engine_and_pays_for_what_came(api: Api) -> None:
    model = "fault:drip?n=1000&gap=20"
    api.serve(model)
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    with api.client.stream("POST", "/v1/chat/completions", json=body) as response:
        for piece in response.iter_raw():
            if b"word5 " in piece:
                break
    left = time.monotonic()
    api.engine.wait_for(lambda: api.engine.requests[-1].closed_at is not None)
    closed = api.engine.requests[-1].closed_at
    assert closed is not None
    assert closed - left < 1
    row = api.row()
    assert (row.outcome, row.completion_source) == ("client_gone", "counted")
    assert 5 <= row.completion_tokens <= api.engine.requests[-1].deltas
    assert not running.running()


@pytest.mark.spec("F02")
@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_who_leaves_before_the_first_byte_pays_nothing(api: Api, stream: bool) -> None:
    body = json.dumps({"model": "fault:hang", "stream": stream, "messages": [{"role": "user", "content": "hi"}]})
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sock:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {api.secret}\r\n"
        sock.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        api.engine.wait_for(lambda: bool(api.engine.completions()))
    api.engine.wait_for(lambda: api.engine.requests[-1].closed_at is not None)
    row = api.row()
    assert (row.outcome, row.prompt_tokens, row.completion_tokens, row.completion_source) == (
        "client_gone",
        0,
        0,
        "none",
    )


def test_another_engine_answers_while_nothing_was_sent(api: Api) -> None:
    from gateway.models import Engine, ServedModel

    dead = Engine.objects.create(name="a dead one", type="openai", url="http://127.0.0.1:9")
    ServedModel.objects.create(engine=dead, public_id="shared", engine_model="plain")
    alive = Engine.objects.get(name="fault")
    ServedModel.objects.create(engine=alive, public_id="shared", engine_model="plain")
    api.reload()
    assert api.stream("shared").text == WORDS
    assert api.chat("shared").status_code == 200
    assert [row.engine for row in api.rows(2)] == ["fault", "fault"]


def test_draining_refuses_new_calls_and_waits_for_running_ones(api: Api) -> None:
    running.drain_flag.set()
    response = api.chat()
    assert response.status_code == 503
    assert response.headers["retry-after"]
    assert api.rows() == []


@pytest.mark.spec("P1")
def test_text_completions_take_prompt_or_messages(api: Api) -> None:
    whole = api.client.post("/v1/completions", json={"model": "plain", "prompt": "Once"}).json()
    assert (whole["object"], whole["choices"][0]["text"]) == ("text_completion", WORDS)
    raw = api.client.post("/v1/completions/", json={"model": "plain", "prompt": "Once", "stream": True}).content
    events = [json.loads(line[6:]) for line in raw.split(b"\n\n") if line.startswith(b"data: {")]
    assert "".join(event["choices"][0]["text"] for event in events) == WORDS
    chat = api.client.post("/v1/completions", json={"model": "plain", "messages": [{"role": "user", "content": "hi"}]})
    assert chat.json()["object"] == "chat.completion"
    assert api.client.post("/v1/completions", json={"model": "plain"}).status_code == 400


def test_tool_calls_pass_and_count(api: Api) -> None:
    streamed = api.stream("fault:tool")
    calls = [event["choices"][0]["delta"].get("tool_calls") for event in streamed.events]
    assert "".join(call[0]["function"]["arguments"] for call in calls if call) == '{"city": "Lugo"}'
    assert streamed.events[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_an_engines_cookie_goes_to_nobody(api: Api) -> None:
    api.chat("fault:cookie")
    api.chat("fault:cookie")
    assert all("cookie" not in exchange.headers for exchange in api.engine.requests)


def test_the_openai_client_streams_and_asks(api: Api) -> None:
    import openai

    client = openai.OpenAI(base_url=f"{api.url}/v1", api_key=api.secret, max_retries=0)
    question: Any = [{"role": "user", "content": "hi"}]
    with client:
        whole = client.chat.completions.create(model="plain", messages=question)
        chunks = list(client.chat.completions.create(model="plain", messages=question, stream=True))
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="none", messages=question)
    assert whole.choices[0].message.content == WORDS
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 20
    assert whole._request_id == str(api.rows(2)[0].id)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == WORDS
    assert missing.value.code == "model_not_found"


def test_many_streams_at_once_each_have_their_row(api: Api) -> None:
    done: list[bool] = []
    threads = [threading.Thread(target=lambda: done.append(api.stream().done)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert done == [True] * 20
    assert len(api.rows(20)) == 20
