"""A model that several engines serve: whose turn it is, who stands in, and which of them is not asked at all."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic

import pytest

from gateway import health, routing
from gateway.engines.client import close_http
from gateway.engines.facts import EngineFacts, Route
from gateway.errors import EngineFailed, EngineTimeout, TooMany, Unavailable
from gateway.models import Engine
from gateway.snapshot import engine_facts
from tests.engines.faultd import FaultEngine
from tests.gateway.conftest import SECRET, Api

WORDS = "".join(f"word{i} " for i in range(20))
EITHER_WAY = pytest.mark.parametrize("stream", [False, True])
FAILURES = ["status?code=500", "status?code=503", "status?code=404", "429", "refuse", "html", "hang", "error200"]


@pytest.fixture
def second() -> Iterator[FaultEngine]:
    with FaultEngine(secret=SECRET) as engine:
        yield engine


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    health.forget()
    yield
    health.forget()


def way(number: int, *, weight: int = 1) -> Route:
    return Route(EngineFacts(number, f"e{number}", "openai", "", "", "", weight=weight), "m", "m")


def firsts(routes: list[Route], times: int) -> Counter[int]:
    return Counter(routing.in_order(routes)[0].engine.id for _ in range(times))


def test_engines_are_asked_as_often_as_their_weights_say() -> None:
    found = firsts([way(1, weight=3), way(2), way(3, weight=0)], 6000)
    assert set(found) == {1, 2}
    assert 4200 < found[1] < 4800  # a chance of three in four, give or take nine standard deviations


def test_a_spare_engine_comes_last_until_the_others_rest() -> None:
    first, spare = way(1), way(2, weight=0)
    assert {tuple(one.engine.id for one in routing.in_order([spare, first])) for _ in range(100)} == {(1, 2)}
    health.failed(first.engine, EngineFailed("it broke"))
    assert {tuple(one.engine.id for one in routing.in_order([spare, first])) for _ in range(100)} == {(2, 1)}


def test_an_engine_that_is_out_is_not_among_those_to_ask() -> None:
    routes = [way(1), way(2)]
    for _ in range(health.OUT_AFTER):
        health.failed(routes[0].engine, Unavailable("away"))
    assert firsts(routes, 50) == {2: 50}
    for _ in range(health.OUT_AFTER):
        health.failed(routes[1].engine, EngineTimeout("silent"))
    with pytest.raises(Unavailable) as refused:
        routing.in_order(routes)
    assert refused.value.retry_after == health.REST


@EITHER_WAY
@pytest.mark.parametrize("failure", FAILURES)
def test_another_engine_answers_when_the_first_one_fails(
    api: Api, second: FaultEngine, quick: Callable[..., None], failure: str, stream: bool
) -> None:
    quick(first_byte_seconds=0.5)
    api.offer("first", model=f"fault:{failure}")
    api.offer("spare", second.url, weight=0, machine_name="spare-1")
    response = api.chat("shared", stream=stream)
    assert response.status_code == 200
    assert response.headers["backend"] == "engine_type=openai; machine_name=spare-1"
    assert [len(engine.completions()) for engine in (api.engine, second)] == [1, 1]
    row = api.row()
    assert (row.engine, row.outcome, row.completion_tokens) == ("spare", "ok", 20)


@EITHER_WAY
def test_what_is_the_callers_fault_is_not_asked_twice(api: Api, second: FaultEngine, stream: bool) -> None:
    api.offer("first", model="fault:status?code=400")
    api.offer("spare", second.url, weight=0)
    assert api.chat("shared", stream=stream).status_code == 400
    assert second.completions() == []
    assert not health.rests(engine_facts(Engine.objects.get(name="first")))


@pytest.mark.spec("T5")
@pytest.mark.parametrize("failure", ["rst", "eof", "error-late", "cut?after=1", "rst?after=0"])
def test_no_other_engine_is_asked_once_something_was_sent(api: Api, second: FaultEngine, failure: str) -> None:
    api.offer("first", model=f"fault:{failure}")
    api.offer("spare", second.url, weight=0)
    streamed = api.stream("shared")
    assert (streamed.status, streamed.done) == (200, False)
    assert streamed.events[-1]["error"]["code"] == "bad_gateway"
    assert second.completions() == []
    assert api.row().engine == "first"


@pytest.mark.spec("T6")
def test_heartbeats_do_not_keep_another_engine_from_answering(
    api: Api, second: FaultEngine, quick: Callable[..., None]
) -> None:
    quick(heartbeat_after=0.1, first_byte_seconds=0.5)
    api.offer("first", model="fault:hang")
    api.offer("spare", second.url, weight=0)
    streamed = api.stream("shared")
    assert streamed.raw.startswith(b": ping\n\n")
    assert (streamed.text, streamed.done) == (WORDS, True)


@EITHER_WAY
def test_when_all_fail_the_last_ones_failure_is_told(api: Api, second: FaultEngine, stream: bool) -> None:
    api.offer("first", model="fault:html")
    api.offer("spare", second.url, model="fault:status?code=503&retry=11", weight=0)
    response = api.chat("shared", stream=stream)
    assert (response.status_code, response.headers["retry-after"]) == (503, "11")
    assert (api.row().engine, api.row().status) == ("spare", 503)


def test_three_times_unreachable_is_out_and_callers_hear_it_at_once(api: Api) -> None:
    engine = engine_facts(api.offer("only"))
    api.engine.fail_next(1000)
    assert [api.chat("shared").status_code for _ in range(5)] == [503] * 5
    assert len(api.engine.completions()) == health.OUT_AFTER
    assert health.is_out(engine)
    refused = api.chat("shared").json()["error"]
    assert refused["message"] == "No engine serves this model at the moment."
    assert {row.status for row in api.rows(6)} == {503}


def test_where_no_other_is_left_one_call_a_second_finds_out_that_an_engine_is_back(api: Api) -> None:
    engine = engine_facts(api.offer("only"))
    api.engine.fail_next(health.OUT_AFTER + 1)
    assert {api.chat("shared").status_code for _ in range(health.OUT_AFTER)} == {503}
    for _ in range(2):  # that it is still away, and that it is back
        health.state(engine).called_at -= health.LOOK_AGAIN
        answers = [api.chat("shared").status_code for _ in range(2)]
    assert answers == [200, 200]
    assert len(api.engine.completions()) == health.OUT_AFTER + 3


def test_nobody_is_sent_to_find_out_about_an_engine_that_keeps_silent() -> None:
    routes = [way(1)]
    for _ in range(health.OUT_AFTER):
        health.failed(routes[0].engine, EngineTimeout("silent"))
    health.state(routes[0].engine).called_at = 0
    with pytest.raises(Unavailable):
        routing.in_order(routes)


def test_a_look_lets_an_engine_in_again_and_an_answer_makes_it_well(api: Api) -> None:
    engine = engine_facts(api.offer("only"))
    api.engine.fail_next(health.OUT_AFTER)
    for _ in range(health.OUT_AFTER):
        api.chat("shared")
    assert api.chat("shared").status_code == 503
    api.run(health.look(engine))
    assert not health.is_out(engine)
    assert api.chat("shared").status_code == 200
    assert health.state(engine).failures == 0


def test_an_engine_that_falls_over_is_asked_on_and_only_rests(api: Api) -> None:
    """A caller whose question makes an engine fall over does not take it from everybody else."""
    engine = engine_facts(api.offer("only"))
    api.engine.fail_next(7, 500)
    assert [api.chat("shared").status_code for _ in range(7)] == [502] * 7
    assert len(api.engine.completions()) == 7
    assert (health.rests(engine), health.is_out(engine)) == (True, False)
    assert api.chat("shared").status_code == 200
    assert not health.rests(engine)


def test_an_engine_with_enough_to_do_rests_as_long_as_it_asked_for(api: Api, second: FaultEngine) -> None:
    engine = engine_facts(api.offer("first", model="fault:429?retry=40"))
    api.offer("spare", second.url, weight=0)
    assert [api.chat("shared").status_code for _ in range(3)] == [200] * 3
    assert len(api.engine.completions()) == 1
    assert 30 < health.state(engine).rests_until - monotonic() <= 40
    assert (health.state(engine).failures, health.is_out(engine)) == (0, False)


def test_an_engine_that_says_nothing_is_not_let_in_by_a_look(api: Api, quick: Callable[..., None]) -> None:
    quick(first_byte_seconds=0.2)
    engine = engine_facts(api.offer("only", model="fault:hang"))
    assert [api.chat("shared").status_code for _ in range(health.OUT_AFTER)] == [504] * health.OUT_AFTER
    api.run(health.look(engine))
    assert health.is_out(engine)
    assert api.chat("shared").status_code == 503
    health.state(engine).out_until = monotonic()  # its time is over
    assert api.chat("shared").status_code == 504


@EITHER_WAY
def test_an_engine_that_answers_others_is_not_out_for_one_callers_long_questions(
    api: Api, quick: Callable[..., None], stream: bool
) -> None:
    quick(first_byte_seconds=0.6)
    engine = api.offer("only", public="long", model="fault:hang")
    engine.models.create(public_id="short", engine_model="plain")
    api.reload()
    with ThreadPoolExecutor(5) as callers:
        long = [callers.submit(api.chat, "long", stream=stream) for _ in range(5)]
        api.engine.wait_for(lambda: len(api.engine.completions()) == 5)
        assert api.chat("short").status_code == 200
        assert {answer.result().status_code for answer in long} == {504}
    assert health.rests(engine_facts(engine))
    assert api.chat("short").status_code == 200


def test_a_look_that_fails_as_none_should_does_not_end_the_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    async def look(engine: EngineFacts) -> None:
        looked.append(engine.id)
        if engine.id == 1:
            raise RuntimeError

    async def watched() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await health.watch(lambda: [way(1).engine, way(2).engine])

    monkeypatch.setattr(health, "look", look)
    monkeypatch.setattr(health, "LOOK_AGAIN", 0.01)
    asyncio.run(watched())
    assert looked[:4] == [1, 2, 1, 2]


def test_an_engine_stays_out_twice_as_long_each_time_and_a_minute_at_most() -> None:
    engine, waits = way(1).engine, []
    for _ in range(9):
        health.failed(engine, Unavailable("away"))
        waits.append(max(0, round(health.state(engine).out_until - monotonic())))
    assert waits == [0, 0, 5, 10, 20, 40, 60, 60, 60]
    health.failed(engine, TooMany("busy", retry_after=7))
    assert health.state(engine).failures == 9
    health.answered(engine)
    assert (health.is_out(engine), health.rests(engine), health.state(engine).failures) == (False, False, 0)


def test_an_engine_that_is_away_for_hours_is_looked_at_as_before() -> None:
    engine = way(1).engine
    for _ in range(5000):
        health.failed(engine, Unavailable("away"))
    assert round(health.state(engine).out_until - monotonic()) == health.LONGEST_OUT


PROBES = {"openai": "/v1/models", "vllm": "/health", "llamacpp": "/health", "ollama": "/api/version"}


@pytest.mark.parametrize("kind", PROBES)
def test_each_kind_of_engine_is_looked_at_where_it_says_how_it_does(second: FaultEngine, kind: str) -> None:
    engine = EngineFacts(1, "e", kind, second.url, SECRET, "")

    async def look(times: int) -> None:
        try:
            for _ in range(times):
                await health.look(engine)
        finally:
            await close_http()

    asyncio.run(look(1))
    assert [exchange.path for exchange in second.requests] == [PROBES[kind]]
    assert health.state(engine).failures == 0
    second.well = False
    asyncio.run(look(health.OUT_AFTER))
    assert health.is_out(engine)
    second.well = True
    asyncio.run(look(1))
    assert not health.is_out(engine)


def test_the_demo_is_always_well() -> None:
    engine = EngineFacts(1, "e", "demo", "", "", "")
    asyncio.run(health.look(engine))
    assert health.state(engine).failures == 0


def test_the_watch_looks_at_every_engine_and_again_soon_at_one_that_is_not_well(second: FaultEngine) -> None:
    well = EngineFacts(1, "well", "vllm", second.url, SECRET, "")
    gone = EngineFacts(2, "gone", "openai", "http://127.0.0.1:9", "", "")

    async def watch() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(2.5):
                await health.watch(lambda: [well, gone])
        await close_http()

    asyncio.run(watch())
    assert len(second.requests) == 1
    assert health.state(gone).failures >= 2
