"""An engine with a limit: never more calls at once, the rest wait their turn, and no place is lost or given twice."""

import asyncio
import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from accounts.keys import revoke_key
from accounts.models import ApiKey, Team
from gateway import health, lanes
from gateway.engines.clock import Clock, Deadlines
from gateway.engines.facts import EngineFacts, Route
from gateway.errors import Unavailable
from tests.engines.faultd import FaultEngine
from tests.factories import make_key
from tests.gateway.conftest import SECRET, Api

SLOW = "fault:slow?first=60&n=2"
HOLD = "fault:ok?n=3&hold=1"


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as found:
        yield found


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    yield
    assert lanes.waiting() == 0
    assert not +lanes._taken


class Queue:
    """Calls of several teams for one engine, sent one after the other and answered when the first is let go."""

    def __init__(self, api: Api, callers: ThreadPoolExecutor) -> None:
        self.api, self._callers = api, callers
        self.answers: list[Future[httpx.Response]] = []
        self._first = callers.submit(self.ask, "", api.secret, HOLD)
        api.engine.wait_for(lambda: bool(api.engine.completions()) and api.engine.completions()[0].deltas == 1)

    def ask(self, user: str, secret: str, model: str = SLOW) -> httpx.Response:
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "x"}], "user": user}
        headers = {"authorization": f"Bearer {secret}"}
        url = f"{self.api.url}/v1/chat/completions"
        return httpx.post(url, json=body, headers=headers, timeout=30, trust_env=False)

    def join(self, user: str, secret: str) -> None:
        before = lanes.waiting()
        self.answers.append(self._callers.submit(self.ask, user, secret))
        self.api.engine.wait_for(lambda: lanes.waiting() == before + 1)

    def let_go(self) -> list[str]:
        """The users in the order in which the engine came to see them."""
        self.api.engine.completions()[0].released = True
        assert self._first.result().status_code == 200
        assert {answer.result().status_code for answer in self.answers} <= {200}
        return [exchange.body["user"] for exchange in self.api.engine.completions()[1:]]


def limited(api: Api, most: int) -> int:
    """An engine of so many places, which serves both models. Its id."""
    engine = api.offer("narrow", public=SLOW, model=SLOW, max_concurrent=most)
    engine.models.create(public_id=HOLD, engine_model=HOLD)
    api.reload()
    return engine.pk


def test_an_engine_never_has_more_calls_than_places(api: Api, callers: ThreadPoolExecutor) -> None:
    limited(api, 3)
    answers = [callers.submit(api.chat, SLOW, stream=number % 2 == 0) for number in range(10)]
    assert {answer.result().status_code for answer in answers} == {200}
    assert api.engine.at_once() == 3
    assert [row.outcome for row in api.rows(10)] == ["ok"] * 10


def test_the_teams_take_turns(api: Api, callers: ThreadPoolExecutor, blue: Team) -> None:
    limited(api, 1)
    blues = make_key(blue).secret
    queue = Queue(api, callers)
    for user in ("red 1", "red 2", "red 3", "blue 1", "blue 2"):
        queue.join(user, api.secret if user.startswith("red") else blues)
    assert queue.let_go() == ["red 1", "blue 1", "red 2", "blue 2", "red 3"]
    assert api.engine.at_once() == 1


def test_a_full_queue_says_so_and_one_team_alone_cannot_fill_it(
    api: Api, callers: ThreadPoolExecutor, blue: Team
) -> None:
    limited(api, 1)
    blues = make_key(blue).secret
    queue = Queue(api, callers)
    for number in range(lanes.LEAST_QUEUE // 2):
        queue.join(f"red {number}", api.secret)
    refused = queue.ask("one too many", api.secret)
    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (503, "service_unavailable_error", "overloaded")
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    for number in range(lanes.LEAST_QUEUE // 2):
        queue.join(f"blue {number}", blues)
    assert queue.ask("one too many", blues).status_code == 503
    assert len(queue.let_go()) == lanes.LEAST_QUEUE
    assert sum(row.status == 503 for row in api.rows(19)) == 2


def test_who_waits_too_long_is_told_to_come_again(
    api: Api, callers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "WAIT", 0.2)
    limited(api, 1)
    queue = Queue(api, callers)
    refused = queue.ask("impatient", api.secret)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert queue.let_go() == []


@pytest.mark.spec("T7", "F02")
def test_who_leaves_the_queue_leaves_no_trace_in_it(api: Api, callers: ThreadPoolExecutor) -> None:
    engine_id = limited(api, 1)
    queue = Queue(api, callers)
    body = json.dumps({"model": SLOW, "messages": [{"role": "user", "content": "x"}], "user": "gone"})
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sock:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {api.secret}\r\n"
        sock.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        api.engine.wait_for(lambda: lanes.waiting() == 1)
    api.engine.wait_for(lambda: lanes.waiting() == 0)
    queue.join("patient", api.secret)
    assert queue.let_go() == ["patient"]
    assert lanes.running(engine_id) == 0
    gone = next(row for row in api.rows(3) if row.end_user == "gone")
    assert (gone.outcome, gone.prompt_tokens, gone.completion_tokens) == ("client_gone", 0, 0)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "ending",
    ["ok", "status", "status?code=400", "429", "hang", "rst", "cut", "eof", "error-late", "stall", "html", "refuse"],
)
def test_a_place_is_free_again_however_a_call_ends(
    api: Api, quick: Callable[..., None], ending: str, stream: bool
) -> None:
    quick(first_byte_seconds=0.3, between_bytes_seconds=0.3)
    engine = api.offer("narrow", model=f"fault:{ending}", max_concurrent=1)
    api.chat("shared", stream=stream)
    assert lanes.running(engine.pk) == 0
    api.offer("wide", public="other")
    engine.models.update(engine_model="plain")
    health.forget()
    api.reload()
    assert api.chat("shared", stream=stream).status_code == 200


@pytest.mark.spec("F30", "T7")
@pytest.mark.parametrize("way", ["leaves", "is revoked"])
def test_a_place_is_free_again_when_a_caller_goes_midway(api: Api, way: str) -> None:
    engine = api.offer("narrow", model="fault:drip?n=1000&gap=10", max_concurrent=1)
    body = {"model": "shared", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    with api.client.stream("POST", "/v1/chat/completions", json=body) as response:
        pieces = response.iter_raw()
        next(pieces)
        assert lanes.running(engine.pk) == 1
        if way == "is revoked":
            revoke_key(key=ApiKey.objects.get(), by=None)
            api.reload()
            assert b'"error"' in b"".join(pieces)
    api.engine.wait_for(lambda: lanes.running(engine.pk) == 0)


def test_the_first_place_at_any_of_its_engines_will_do(api: Api, callers: ThreadPoolExecutor) -> None:
    with FaultEngine(secret=SECRET) as second:
        limited(api, 1)
        other = api.offer("other", second.url, public=SLOW, model=HOLD, weight=0, max_concurrent=1)
        queue = Queue(api, callers)
        held = callers.submit(queue.ask, "held elsewhere", api.secret)
        second.wait_for(lambda: bool(second.completions()) and second.completions()[0].deltas == 1)
        queue.join("waits for either", api.secret)
        second.completions()[0].released = True
        second.wait_for(lambda: len(second.completions()) == 2)
        second.completions()[1].released = True
        assert queue.answers[0].result().status_code == held.result().status_code == 200
        assert queue.let_go() == []
        assert lanes.running(other.pk) == 0


def test_who_queues_after_a_silent_engine_has_time_to_wait(
    api: Api, callers: ThreadPoolExecutor, quick: Callable[..., None]
) -> None:
    """The silent engine's deadline has passed by then, and says nothing about the next one."""
    quick(first_byte_seconds=0.6)
    with FaultEngine(secret=SECRET) as spare:
        api.offer("silent", model="fault:hang")
        narrow = api.offer("narrow", spare.url, weight=0, max_concurrent=1)
        narrow.models.create(public_id="held", engine_model=HOLD)
        api.reload()
        held = callers.submit(api.chat, "held", stream=True)
        spare.wait_for(lambda: bool(spare.completions()) and spare.completions()[0].deltas == 1)
        waits = callers.submit(api.chat, "shared")
        spare.wait_for(lambda: lanes.waiting() == 1)
        time.sleep(0.1)
        spare.completions()[0].released = True
        answer = waits.result()
        assert (held.result().status_code, answer.status_code) == (200, 200)
    queue, connect = (float(word.partition("dur=")[2]) for word in answer.headers["server-timing"].split(", ")[:2])
    assert queue > 600 > connect


def test_a_limit_that_was_lowered_holds_for_those_who_come_to_wait_then() -> None:
    async def work() -> None:
        before, after = (
            Route(EngineFacts(1003, "c", "openai", "", "", "", max_concurrent=most), "m", "m") for most in (3, 1)
        )
        inside = [await lanes.enter([before], 1, Clock(Deadlines())) for _ in range(3)]
        waits = asyncio.create_task(lanes.enter([after], 1, Clock(Deadlines())))
        for _ in range(2):
            await asyncio.sleep(0)
            lanes.leave(inside.pop())
        await asyncio.sleep(0)
        assert (waits.done(), lanes.running(1003)) == (False, 1)
        lanes.leave(inside.pop())
        lanes.leave(await waits)

    asyncio.run(work())


def test_at_random_every_place_is_handed_over_once_and_all_come_back() -> None:
    """Calls of three teams for two engines that are given up, held and cancelled at any moment."""
    chance = random.Random(7)
    engines = [EngineFacts(1001, "a", "openai", "", "", "", max_concurrent=2),
               EngineFacts(1002, "b", "openai", "", "", "", max_concurrent=1)]  # fmt: skip
    routes = [Route(engine, "m", "m") for engine in engines]
    inside = {engine.id: 0 for engine in engines}
    served: list[int] = []

    async def call(number: int, team: int) -> None:
        wanted = chance.choice([routes, routes[:1], routes[1:]])
        try:
            route = await lanes.enter(wanted, team, Clock(Deadlines()))
        except Unavailable:
            return
        try:
            inside[route.engine.id] += 1
            assert route in wanted
            assert inside[route.engine.id] <= (route.engine.max_concurrent or 0)
            await asyncio.sleep(chance.random() / 500)
            served.append(number)
        finally:
            inside[route.engine.id] -= 1
            lanes.leave(route)

    async def crowd() -> None:
        tasks = []
        for number in range(1500):
            tasks.append(asyncio.create_task(call(number, number % 3)))
            if chance.random() < 0.5:
                chance.choice(tasks[-8:]).cancel()
            if chance.random() < 0.6:
                await asyncio.sleep(chance.random() / 1000)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(one) for one in found} == {type(None), asyncio.CancelledError}

    asyncio.run(crowd())
    assert len(served) > 200
    assert [lanes.running(engine.id) for engine in engines] == [0, 0]
