"""What of a request reaches an engine: the caller's fields, the model's defaults for what he left out, and no more."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import Team
from billing.budgets.monthly import set_budget
from billing.models import Unit
from gateway.snapshot import holder
from tests.engines.faultd import FaultEngine
from tests.gateway.conftest import SECRET, Api

type Json = Mapping[str, Any]

DEFAULTS = {"temperature": 0.7, "max_tokens": 600, "top_p": 0.9}
EITHER_WAY = pytest.mark.parametrize("stream", [False, True])


def seen(api: Api) -> dict[str, Any]:
    """The fields that the engine was last sent, short of those that are ours."""
    ours = ("model", "messages", "stream", "stream_options")
    return {name: value for name, value in api.engine.completions()[-1].body.items() if name not in ours}


@EITHER_WAY
@pytest.mark.spec("H5")
def test_an_open_engine_gets_every_field_that_is_not_denied(api: Api, stream: bool) -> None:
    given = {"guard": True, "chat_id": "7", "metadata": {"a": "b"}, "tools": [], "reasoning_effort": "low"}
    response = api.chat(**given, chat_template="{{ evil }}", priority=9, stream=stream)
    assert seen(api) == given
    assert response.headers["x-tertulia-ignored"].split(", ") == ["chat_template", "priority"]


@EITHER_WAY
@pytest.mark.spec("H5")
def test_no_caller_chooses_adapters_hosts_or_code_of_an_sglang(api: Api, stream: bool) -> None:
    chosen = {"lora_path": "other", "bootstrap_host": "10.0.0.1", "bootstrap_port": 1, "custom_logit_processor": "{}"}
    response = api.chat(**chosen, stream=stream)
    assert seen(api) == {}
    assert response.headers["x-tertulia-ignored"].split(", ") == list(chosen)


@EITHER_WAY
@pytest.mark.spec("H5", "F31")
def test_names_in_another_case_do_not_pass_for_those_that_we_know(api: Api, stream: bool) -> None:
    """Engines written in Go take them for the same, and the last one wins: Kelvin's sign and the long s, too."""
    disguised = {"Max_Tokens": 9000, "max_to\u212aens": 9000, "N": 64, "\u017ftream": False, "Model": "other"}
    response = api.chat(max_tokens=5, **disguised, API_BASE="http://evil", N_Predict=9000, Guard=1, stream=stream)
    assert seen(api) == {"max_tokens": 5, "Guard": 1}
    assert len(response.headers["x-tertulia-ignored"].split(", ")) == 7


@EITHER_WAY
@pytest.mark.spec("H5")
def test_a_closed_engine_gets_what_is_documented_and_what_its_operator_allows(api: Api, stream: bool) -> None:
    api.offer("closed", allowed_fields=["guard", "chat_template"])
    documented = {"temperature": 1, "stop": ["x"], "tools": [], "user": "u", "seed": 5, "logprobs": True}
    response = api.chat("shared", **documented, guard=True, chat_id="7", chat_template="{{ evil }}", stream=stream)
    assert seen(api) == documented | {"guard": True}
    assert response.headers["x-tertulia-ignored"].split(", ") == ["chat_id", "chat_template"]


def test_an_engine_closed_to_all_else_still_answers(api: Api) -> None:
    api.offer("closed", allowed_fields=[])
    response = api.chat("shared", guard=True)
    assert (response.status_code, response.headers["x-tertulia-ignored"]) == (200, "guard")
    assert seen(api) == {}


def test_the_names_of_ignored_fields_do_not_swell_the_head_of_an_answer(api: Api) -> None:
    api.offer("closed", allowed_fields=[])
    response = api.chat("shared", **{"x" * 200_000: 1, "y": 1})
    assert (response.status_code, len(response.headers["x-tertulia-ignored"])) == (200, 1000)


@pytest.mark.spec("T3")
def test_no_caller_can_ask_for_a_count_in_every_event(api: Api) -> None:
    streamed = api.stream(stream_options={"include_usage": True, "continuous_usage_stats": True}, timings_per_token=1)
    assert api.engine.completions()[0].body["stream_options"] == {"include_usage": True}
    assert "timings_per_token" not in seen(api)
    assert sum(bool(event.get("usage")) for event in streamed.events) == 1


@pytest.mark.spec("T3", "F31")
@pytest.mark.parametrize(
    ("kind", "model", "asked"),
    [
        ("vllm", "fault:drip?n=1000&gap=20", {"include_usage": True, "continuous_usage_stats": True}),
        ("llamacpp", "fault:timings", {"include_usage": True}),
        ("openai", "plain", {"include_usage": True}),
    ],
)
def test_an_engine_counts_as_it_goes_for_a_caller_with_a_hard_budget(
    api: Api, kind: str, model: str, asked: Json
) -> None:
    api.offer("counts", type=kind, model=model)
    snapshot = holder.current()
    callers = {digest: replace(caller, hard_budget=True) for digest, caller in snapshot.callers.items()}
    holder._snapshot = replace(snapshot, callers=callers)
    body = {"model": "shared", "stream": True, "messages": [{"role": "user", "content": "Hola"}]}
    with api.client.stream("POST", "/v1/chat/completions", json=body) as response:
        raw = b""
        for piece in response.iter_raw():
            raw += piece
            if b"word5 " in raw and kind == "vllm":
                break
    assert api.engine.completions()[-1].body["stream_options"] == asked
    assert ("timings_per_token" in seen(api)) == (kind == "llamacpp")
    assert b'"usage":{' not in raw
    assert b'"timings"' not in raw
    row = api.row()
    assert row.completion_source == ("upstream_partial" if kind == "vllm" else "upstream")
    assert row.completion_tokens >= 5


@EITHER_WAY
@pytest.mark.spec("C3")
def test_none_is_injected_unless_configured(api: Api, stream: bool) -> None:
    api.chat(stream=stream)
    assert seen(api) == {}


@EITHER_WAY
@pytest.mark.spec("C3", "C4")
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, DEFAULTS),
        ({"temperature": 0, "max_tokens": 5, "top_p": 1}, {"temperature": 0, "max_tokens": 5, "top_p": 1}),
        ({"temperature": None}, DEFAULTS),
        ({"max_completion_tokens": 5}, {"max_completion_tokens": 5, "temperature": 0.7, "top_p": 0.9}),
        ({"seed": 1}, {**DEFAULTS, "seed": 1}),
    ],
)
def test_a_models_defaults_stand_in_for_what_the_caller_left_out(
    api: Api, given: Json, wanted: Json, stream: bool
) -> None:
    api.offer("e", defaults=DEFAULTS)
    response = api.chat("shared", **given, stream=stream)
    assert seen(api) == wanted
    assert "x-tertulia-ignored" not in response.headers


@pytest.mark.spec("C3", "C4")
def test_a_default_by_the_newer_name_does_not_stand_beside_the_callers_by_the_older(api: Api) -> None:
    api.offer("e", defaults={"max_completion_tokens": 600})
    api.chat("shared", max_tokens=5)
    assert seen(api) == {"max_tokens": 5}


@pytest.mark.spec("C3")
def test_the_defaults_of_an_engine_that_failed_do_not_go_on_to_the_next(api: Api) -> None:
    with FaultEngine(secret=SECRET) as spare:
        api.offer("first", model="fault:status", defaults={"temperature": 0.1, "guard": True})
        api.offer("spare", spare.url, weight=0, defaults={"temperature": 0.2})
        assert api.chat("shared").status_code == 200
        assert seen(api) == {"temperature": 0.1, "guard": True}
        body = spare.completions()[0].body
    assert {name: body[name] for name in body if name not in ("model", "messages")} == {"temperature": 0.2}


@pytest.mark.spec("C3")
def test_a_default_for_ollama_is_put_in_its_words(api: Api) -> None:
    api.offer("ollama", type="ollama", defaults={**DEFAULTS, "options": {"num_ctx": 2048}})
    assert api.chat("shared", max_completion_tokens=7).status_code == 200
    wanted = {"temperature": 0.7, "num_predict": 7, "top_p": 0.9, "num_ctx": 2048}
    assert api.engine.completions()[0].body["options"] == wanted


@pytest.mark.spec("C4")
@pytest.mark.parametrize(
    ("kind", "name"),
    [("openai", "max_completion_tokens"), ("vllm", "max_completion_tokens"), ("llamacpp", "max_tokens")],
)
def test_the_newer_name_for_a_limit_reaches_each_engine_by_a_name_it_knows(api: Api, kind: str, name: str) -> None:
    api.offer("e", type=kind)
    assert api.chat("shared", max_completion_tokens=7).status_code == 200
    assert seen(api) == {name: 7}


@pytest.mark.spec("C3")
def test_embeddings_get_no_defaults_of_a_chat(api: Api) -> None:
    api.offer("e", defaults=DEFAULTS)
    assert api.client.post("/v1/embeddings", json={"model": "shared", "input": "x"}).status_code == 200
    assert seen(api) == {"input": "x"}


@EITHER_WAY
@pytest.mark.spec("C7")
def test_several_choices_and_log_probabilities_come_through(api: Api, stream: bool) -> None:
    response = api.chat("fault:choices", n=3, stream=stream)
    assert seen(api) == {"n": 3}
    assert response.status_code == 200
    if not stream:
        assert [choice["index"] for choice in response.json()["choices"]] == [0, 1, 2]
    assert api.row().completion_tokens == 9
    told = api.chat(logprobs=True, stream=stream).content
    assert told.count(b'"logprob"') == (20 if stream else 0)


@pytest.mark.spec("T2")
@pytest.mark.parametrize("model", ["fault:choices", "fault:choices?forget=1"])
def test_each_of_several_choices_has_a_role_a_text_and_an_end(api: Api, model: str) -> None:
    api.serve(model)
    events = api.stream(model, n=3).events
    for index in range(3):
        own = [choice for event in events for choice in event["choices"] if choice["index"] == index]
        assert own[0]["delta"]["role"] == "assistant"
        assert "".join(choice["delta"].get("content") or "" for choice in own) == "word0 word1 word2 "
        assert [choice["finish_reason"] for choice in own if choice["finish_reason"]] == ["stop"]


@pytest.mark.spec("T5", "F03")
def test_an_engine_that_hangs_up_before_the_last_choice_ended_has_not_answered(api: Api) -> None:
    api.serve("fault:choices?cut=1")
    streamed = api.stream("fault:choices?cut=1", n=2)
    assert not streamed.done
    assert streamed.events[-1]["error"]["code"] == "bad_gateway"
    row = api.row()
    assert (row.outcome, row.completion_tokens, row.completion_source) == ("upstream_error", 5, "counted")


@pytest.mark.spec("R07", "A1")
@pytest.mark.parametrize("scenario", ["created", "crlf"])
def test_lines_with_crlf_and_times_that_move_are_no_matter(api: Api, scenario: str) -> None:
    streamed = api.stream(f"fault:{scenario}", stream_options={"include_usage": True})
    assert streamed.done
    assert streamed.text == "".join(f"word{i} " for i in range(20))
    assert streamed.events[-1]["usage"]["completion_tokens"] == 20


@EITHER_WAY
@pytest.mark.spec("T4", "A5")
def test_llama_cpps_own_counts_are_billed_and_not_shown(api: Api, stream: bool) -> None:
    response = api.chat("fault:timings", stream=stream)
    assert b'"timings":' not in response.content
    row = api.row()
    assert (row.prompt_tokens, row.cached_tokens, row.completion_tokens) == (6, 2, 20)
    assert (row.prompt_source, row.completion_source) == ("upstream", "upstream")


@EITHER_WAY
@pytest.mark.spec("C7", "F08", "T4")
def test_all_choices_are_billed_where_an_engine_reports_the_tokens_of_one(api: Api, stream: bool) -> None:
    api.offer("llama", type="llamacpp", model="fault:choices?one=1")
    body = api.chat("shared", n=3, stream=stream, stream_options={"include_usage": True}).text
    row = api.row()
    assert (row.prompt_source, row.prompt_tokens) == ("upstream", 6)
    assert (row.completion_tokens, row.completion_source) == (9, "counted" if stream else "estimated")
    assert '"completion_tokens":9' in body.replace(" ", "")
    assert api.chat("shared", n=1, stream=stream).status_code == 200
    assert sorted(one.completion_tokens for one in api.rows(2)) == [3, 9]


@EITHER_WAY
@pytest.mark.spec("C7", "F08")
def test_another_engines_count_of_several_choices_is_believed(api: Api, stream: bool) -> None:
    api.offer("proxy", type="openai", model="fault:choices?one=1")
    assert api.chat("shared", n=3, stream=stream).status_code == 200
    assert (api.row().completion_tokens, api.row().completion_source) == (3, "upstream")


@pytest.mark.spec("F31")
def test_several_choices_are_cut_where_they_go_beyond_what_is_reserved_for_all(api: Api, red: Team) -> None:
    api.offer("llama", type="llamacpp", model="fault:choices?one=1&words=40&gap=5")
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(1000), hard=True, by=None)
    api.reload()
    assert not api.stream("shared", n=2, max_tokens=10).done
    row = api.row()
    assert (row.outcome, row.completion_source) == ("budget_stop", "counted")
    assert 20 < row.completion_tokens < 80
