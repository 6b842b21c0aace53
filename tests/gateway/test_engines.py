"""The clients of the engines, and their splitter, without the gateway around them."""

import asyncio
import json
from typing import Any

import pytest

from gateway.engines import CLIENTS
from gateway.engines.client import close_http, parsed_object
from gateway.engines.clock import Clock, Cut, Deadlines
from gateway.engines.demo import count
from gateway.engines.facts import EngineFacts, Item, Json, Kind, Question, Route
from gateway.engines.ollama import _Shape
from gateway.engines.refusals import LONGEST_MESSAGE, scrubbed
from gateway.engines.sse import MAX_LINE, Splitter
from gateway.errors import EngineTimeout, UnreadableAnswer
from gateway.meter import Meter, estimate, estimate_prompt
from tests.engines.faultd import FaultEngine

ASKED: Json = {"messages": [{"role": "user", "content": "Hola amigo"}]}


def asked(body: Json) -> Question:
    kind = Kind.CHAT if "messages" in body else Kind.EMBEDDING if "input" in body else Kind.TEXT
    return Question(kind, body)


def read(item: Item) -> Json:
    found = parsed_object(item) if isinstance(item, bytes) else item
    assert found is not None
    return found


def collect(route: Route, body: Json) -> list[Json]:
    async def run() -> list[Json]:
        clock = Clock(Deadlines(first=5, between=5, total=20))
        try:
            batches = CLIENTS[route.engine.type].stream(route, asked(body), clock)
            return [read(item) async for batch in batches for item in batch]
        finally:
            await close_http()

    return asyncio.run(run())


def whole(route: Route, body: Json) -> Json:
    async def run() -> Json:
        try:
            return read(await CLIENTS[route.engine.type].answer(route, asked(body), Clock(Deadlines())))
        finally:
            await close_http()

    return asyncio.run(run())


def route_to(kind: str, url: str = "", model: str = "plain") -> Route:
    return Route(EngineFacts(1, "e", kind, url, "", ""), "public", model)


@pytest.mark.parametrize("kind", ["openai", "ollama"])
def test_an_engine_that_is_ahead_of_its_reader_is_cut_off_too(kind: str) -> None:
    """What has come already is read without a wait, and so without a moment in which a wait could be ended."""

    taken: list[Item] = []

    async def take(clock: Clock) -> None:
        batches = CLIENTS[kind].stream(route_to(kind, engine.url, "fault:ok?n=20000"), asked(ASKED), clock)
        async for batch in batches:
            taken.extend(batch)
            await asyncio.sleep(0.05)  # the next ones are here meanwhile
            clock.cut()

    async def run() -> None:
        clock = Clock(Deadlines(first=5, between=5, total=20))
        try:
            with pytest.raises(Cut):
                await take(clock)
        finally:
            clock.close()
            await close_http()

    with FaultEngine() as engine:
        asyncio.run(run())
        assert 0 < len(taken) < 10_000


@pytest.mark.parametrize("kind", ["openai", "ollama"])
def test_an_engine_that_is_ahead_of_its_reader_has_no_more_than_its_whole_time(kind: str) -> None:
    taken: list[Item] = []

    async def take(clock: Clock) -> None:
        async for batch in CLIENTS[kind].stream(route_to(kind, engine.url, "fault:ok?n=20000"), asked(ASKED), clock):
            taken.extend(batch)
            await asyncio.sleep(0.05)  # the next ones are here meanwhile

    async def run() -> None:
        clock = Clock(Deadlines(first=5, between=5, total=0.1))
        try:
            with pytest.raises(EngineTimeout) as caught:
                await take(clock)
            assert caught.value.message == "The engine took too long over the whole answer."
        finally:
            clock.close()
            await close_http()

    with FaultEngine() as engine:
        asyncio.run(run())
        assert 0 < len(taken) < 20_000


@pytest.mark.spec("R07")
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_end_at_lf_crlf_and_cr_however_the_bytes_are_cut(size: int) -> None:
    parts = ["data: a\u2028b\n\n", ": note\r\n\r\n", "data:{}\r\r", "id: 7\ndata: one\ndata: two\r\n\r\n"]
    raw = "".join([*parts, "event: x\n\n", "data: c\u0085d\n\n"]).encode()
    splitter = Splitter()
    events = [event for i in range(0, len(raw), size) for event in splitter.feed(raw[i : i + size])]
    assert events == ["a\u2028b".encode(), b"{}", b"one\ntwo", "c\u0085d".encode()]


@pytest.mark.spec("F13")
def test_a_line_above_the_cap_is_unreadable() -> None:
    splitter = Splitter()
    assert splitter.feed(b"x" * MAX_LINE) == []
    with pytest.raises(UnreadableAnswer):
        splitter.feed(b"x")


ENDS_SOON = pytest.mark.timeout(30)  # what grows with the square of its input does not


@ENDS_SOON
@pytest.mark.spec("F13")
@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_an_event_of_lines_without_number_is_unreadable_and_holds_nobody_up(end: bytes) -> None:
    with pytest.raises(UnreadableAnswer):
        Splitter().feed((b"data:" + end) * 600_000 + end)


@pytest.mark.parametrize(
    "calls", [5, "x", {"a": 1}, ["x"], [{"function": "f"}], [{}], [{"function": {"name": "f"}}, {"function": None}]]
)
def test_ollamas_calls_of_tools_that_are_none_are_unreadable(calls: object) -> None:
    with pytest.raises(UnreadableAnswer):
        _Shape(Kind.CHAT, "m").whole({"message": {"content": "", "tool_calls": calls}, "done": True})


@ENDS_SOON
@pytest.mark.parametrize(
    "text", ["a." * 320_000, "a-" * 320_000, "/a" * 320_000, "Bearer " * 90_000, "rate " * 120_000]
)
def test_a_refusal_of_any_words_is_soon_read(text: str) -> None:
    assert len(scrubbed(text, "")) <= LONGEST_MESSAGE


@pytest.mark.spec("C5")
def test_ollama_is_spoken_to_natively_and_num_ctx_arrives() -> None:
    with FaultEngine() as engine:
        body = {**ASKED, "options": {"num_ctx": 4096}, "max_completion_tokens": 7, "temperature": 0.1}
        chunks = collect(route_to("ollama", engine.url, "fault:ok?n=3"), body)
        seen = engine.requests[0]
    assert seen.path == "/api/chat"
    assert seen.body["options"] == {"num_ctx": 4096, "num_predict": 7, "temperature": 0.1}
    texts = [chunk["choices"][0]["delta"].get("content") for chunk in chunks if chunk["choices"]]
    assert texts == ["word0 ", "word1 ", "word2 ", None]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"] == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


@pytest.mark.spec("C5", "S08")
def test_ollamas_own_options_shape_an_answer_and_do_not_lift_its_limit_or_run_its_machine() -> None:
    given = {"num_ctx": 4096, "top_k": 5, "num_predict": -1, "num_gpu": 99, "num_thread": 64, "use_mmap": False}
    with FaultEngine() as engine:
        whole(route_to("ollama", engine.url), {**ASKED, "options": {**given, "temperature": 2}, "temperature": 0.1})
        whole(route_to("ollama", engine.url), {**ASKED, "options": given, "max_tokens": 7})
        seen = [exchange.body["options"] for exchange in engine.requests]
    assert seen == [{"num_ctx": 4096, "top_k": 5, "temperature": 0.1}, {"num_ctx": 4096, "top_k": 5, "num_predict": 7}]


def test_ollamas_images_tools_and_prompts_are_put_in_its_own_words() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Lugo"}'}}
    body: Json = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ]
    }
    with FaultEngine() as engine:
        answer = whole(route_to("ollama", engine.url), body)
        text = whole(route_to("ollama", engine.url, "fault:ok?n=2"), {"prompt": "Once upon"})
        messages = engine.requests[0].body["messages"]
    assert messages[0] == {"role": "user", "content": "look", "images": ["QUJD"]}
    assert messages[1]["tool_calls"] == [{"function": {"name": "weather", "arguments": {"city": "Lugo"}}}]
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert (text["object"], text["choices"][0]["text"]) == ("text_completion", "word0 word1 ")
    assert text["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("kind", ["openai", "vllm", "ollama"])
def test_models_are_listed_with_their_context(kind: str) -> None:
    async def run(url: str) -> list[Any]:
        try:
            return await CLIENTS[kind].models(EngineFacts(1, "e", kind, url, "", ""), Clock(Deadlines()))
        finally:
            await close_http()

    with FaultEngine(models=("a", "b")) as engine:
        found = asyncio.run(run(engine.url))
    assert [(model.name, model.context_length) for model in found] == [("a", 8192), ("b", 8192)]


def test_the_demo_says_that_it_is_one_and_counts_its_tokens() -> None:
    body = {"messages": [{"role": "user", "content": "¿Quién eres?"}], "max_tokens": 40}
    chunks = collect(route_to("demo"), body)
    texts = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"]]
    assert "motor de demostración" in "".join(texts)
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["completion_tokens"] == 40 == len([text for text in texts if text])
    assert chunks[-1]["usage"]["prompt_tokens"] == 3 + count("¿Quién eres?")


@ENDS_SOON
def test_the_demo_does_not_read_a_long_question_to_its_end() -> None:
    asked = [{"role": "user", "content": "¿qué? " * 700_000}, *[{"role": "user", "content": "z " * 700}] * 3000]
    answer = whole(route_to("demo"), {"messages": asked})
    assert "motor de demostración" not in answer["choices"][0]["message"]["content"]  # of all but the last
    assert 4_000_000 < answer["usage"]["prompt_tokens"] < 4_300_000


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("¿Qué es HTTP?", "motor de demostración"),
        ("Où est la gare ?", "moteur de démonstration"),
        ("π", "demo engine"),
    ],
)
def test_the_demo_answers_in_the_language_of_the_question(question: str, said: str) -> None:
    chunks = collect(route_to("demo"), {"messages": [{"role": "user", "content": question}], "max_tokens": 40})
    assert said in "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"])


def test_the_demos_whole_answer_is_markdown_of_several_kinds() -> None:
    answer = whole(route_to("demo"), ASKED)
    text = answer["choices"][0]["message"]["content"]
    assert all(mark in text for mark in ("## ", "- **", "|---|", "```sh", "> Hola amigo", "add_engine"))
    assert answer["usage"]["completion_tokens"] == count(text)
    assert json.dumps(answer)


@pytest.mark.spec("F08")
def test_details_that_cannot_be_parts_of_their_whole_are_not_believed() -> None:
    meter = Meter(9)
    meter.event(
        counts=True,
        usage={
            "prompt_tokens": 10,
            "completion_tokens": 4,
            "completion_tokens_details": {"reasoning_tokens": 5},
            "prompt_tokens_details": {"cached_tokens": 10},
        },
    )
    counts = meter.counts(complete=False)
    assert (counts.prompt_tokens, counts.completion_tokens, counts.completion_source) == (10, 4, "upstream_partial")
    assert (counts.reasoning_tokens, counts.cached_tokens) == (None, 10)


@pytest.mark.spec("F31")
def test_tools_and_calls_of_them_are_part_of_what_is_asked() -> None:
    """Engines put them into the prompt: nobody reads them for less than is reserved."""
    question = {"role": "user", "content": "a" * 35}
    tool = {"type": "function", "function": {"name": "f", "description": "ñ" * 3500}}
    called = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "b" * 3500}}]}
    assert estimate_prompt({"messages": [question]}) == 10
    assert estimate_prompt({"messages": [question], "tools": []}) == 10
    assert 2010 < estimate_prompt({"messages": [question], "tools": [tool]}) < 2040
    assert 2010 < estimate_prompt({"messages": [question], "functions": [tool["function"]]}) < 2040
    assert 1010 < estimate_prompt({"messages": [question, called]}) < 1030


def test_an_estimate_goes_by_bytes() -> None:
    assert (estimate(""), estimate("a" * 35), estimate("ñ" * 35)) == (0, 10, 20)
