"""Limits that several processes count together in Redis, and what they do when it is gone."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from billing.errors import BadFleet, LimitReached
from billing.limits import fleet
from billing.limits import limiter as limits
from billing.limits.limiter import Counting, Limiter, Taken
from billing.limits.windows import Bounds, Consumed, Days, Subject
from billing.records import NOTHING, Counts
from tests.redisd import RedisServer

WORKERS = 4


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture(autouse=True)
def empty(server: RedisServer) -> None:
    server.empty()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that tests run on may be busier than a server ever is."""
    monkeypatch.setattr(fleet, "TIMEOUT", 10.0)


@asynccontextmanager
async def processes(server: RedisServer, count: int = WORKERS) -> AsyncIterator[list[Limiter]]:
    found = [Limiter() for _ in range(count)]
    for one in found:
        await one.open(workers=count, redis_url=server.url)
    try:
        yield found
    finally:
        for one in found:
            await one.close()


def subject(name: str = "key/1", **bounds: int) -> Subject:
    kind = name.partition("/")[0]
    return Subject(kind, name, 1, 1, 1, Bounds(**bounds).rules(), Days("Europe/Madrid"))  # type: ignore[arg-type]


async def take(limiter: Limiter, *whose: Subject) -> Taken | LimitReached:
    try:
        return await limiter.take(whose)
    except LimitReached as error:
        return error


def counts(prompt: int, completion: int) -> Counts:
    return Counts(prompt, completion, "upstream", "upstream")


async def crowd(limiters: list[Limiter], calls: int, *whose: Subject) -> list[Taken]:
    found = await asyncio.gather(*(take(limiters[number % len(limiters)], *whose) for number in range(calls)))
    return [one for one in found if isinstance(one, Taken)]


@pytest.mark.usefixtures("patient")
@pytest.mark.spec("F02", "U4")
@pytest.mark.parametrize("limit", [1, 9])
def test_a_caller_who_leaves_while_redis_is_asked_counts_nowhere(server: RedisServer, limit: int) -> None:
    team = subject("team/1", requests_per_minute=limit, requests_per_day=limit, concurrent_requests=9)

    async def work() -> list[int]:
        async with processes(server, 1) as (limiter,):
            (await limiter.take([team])).settle(NOTHING)
            leaving = asyncio.create_task(limiter.take([team]))
            await asyncio.sleep(0)  # the question is on its way
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            await settled(limiter)
            return [one.used for one in limiter.look([team])]

    assert asyncio.run(work()) == [0, 1, 1]


@pytest.mark.usefixtures("patient")
@pytest.mark.spec("U4", "F32", "R15")
@pytest.mark.parametrize(
    "bounds", [{"requests_per_minute": 60}, {"requests_per_day": 60}, {"concurrent_requests": 60}], ids=str
)
def test_no_more_than_the_limit_passes_whichever_process_is_asked(server: RedisServer, bounds: dict[str, int]) -> None:
    async def work() -> int:
        async with processes(server) as limiters:
            assert {one.counting for one in limiters} == {Counting.TOGETHER}
            return len(await crowd(limiters, 200, subject(**bounds)))

    assert asyncio.run(work()) == 60


@pytest.mark.spec("U4")
def test_what_calls_came_to_is_known_to_all_and_a_refused_one_counts_nowhere(server: RedisServer) -> None:
    team = subject("team/1", requests_per_minute=9, tokens_per_minute=100, concurrent_requests=9)
    key = subject("key/1", output_tokens_per_hour=50, tokens_per_day=1000, output_tokens_per_day=500)

    async def work() -> None:
        async with processes(server, 2) as (here, there):
            taken = await here.take([team, key])
            assert [one.used for one in taken.standings] == [1, 1, 0, 0, 0, 0]
            taken.settle(counts(10, 50))
            await settled(here)
            assert [one.used for one in await told(there, team, key)] == [0, 1, 60, 50, 60, 50]
            refused = await take(there, team, key)
            assert isinstance(refused, LimitReached)
            assert refused.full.rule.window.name == "output-tokens-per-hour"
            assert 0 < refused.wait <= 3600
            assert [one.used for one in await told(here, team, key)] == [0, 1, 60, 50, 60, 50]
            again = await there.take([team])
            assert (await told(here, team))[0].used == 1
            again.undo()
            await settled(there)
            assert [one.used for one in await told(here, team)] == [0, 1, 60]

    asyncio.run(work())


@pytest.mark.spec("U4")
def test_calls_of_a_process_that_died_are_let_go_and_those_of_the_living_are_not(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "LEASE", 0.6)
    monkeypatch.setattr(limits, "RENEW_EVERY", 0.1)
    monkeypatch.setattr(limits, "LOOK_AGAIN", 0.1)
    whose = subject(concurrent_requests=2)

    async def work() -> None:
        async with processes(server, 2) as (here, there):
            assert here._keeper
            assert isinstance(await take(here, whose), Taken)
            assert isinstance(await take(there, whose), Taken)
            assert isinstance(await take(there, whose), LimitReached)
            here._keeper.cancel()  # as a kill would
            await asyncio.sleep(1.5)
            assert isinstance(await take(there, whose), Taken)
            assert isinstance(await take(there, whose), LimitReached)

    asyncio.run(work())


@pytest.mark.spec("F32", "F24")
def test_when_redis_is_lost_each_process_keeps_to_its_share_and_waits_for_nobody(
    server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOOK_AGAIN", 0.1)
    whose, other = subject(requests_per_minute=60), subject("key/2", requests_per_minute=2)

    async def work() -> None:
        async with processes(server) as limiters:
            assert len(await crowd(limiters, 40, whose)) == 40
            server.hang()
            assert len(await crowd(limiters, 200, whose)) == 20  # 15 each, of which each had let in 10
            assert {one.counting for one in limiters} == {Counting.LOST}
            assert len(await crowd(limiters, 40, other)) == WORKERS  # at least one a process
            server.go_on()
            for one in limiters:
                await found_again(one)
            # What it had been asked before it hung, it did when it went on: nobody gained by that.
            assert len(await crowd(limiters, 200, whose)) <= 20

    with caplog.at_level(logging.WARNING, "billing.limits.limiter"):
        asyncio.run(work())
    lost = [record for record in caplog.messages if record.startswith("Redis is lost")]
    assert len(lost) == WORKERS
    assert "a 4th (WORKERS=4)" in lost[0]
    assert caplog.messages.count("Redis is back; limits are counted together again") == WORKERS


@pytest.mark.spec("F24", "F40")
def test_a_process_that_was_held_up_itself_does_not_take_redis_for_lost(server: RedisServer) -> None:
    async def work() -> None:
        async with processes(server, 1) as (here,):
            asked = asyncio.create_task(take(here, subject(requests_per_minute=5)))
            for _ in range(3):
                await asyncio.sleep(0)  # the question goes out
            time.sleep(fleet.TIMEOUT * 1.5)  # noqa: ASYNC251  # what holds up the event loop
            assert isinstance(await asked, Taken)
            assert here.counting is Counting.TOGETHER

    asyncio.run(work())


@pytest.mark.spec("F24")
def test_a_redis_that_comes_later_is_found(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOOK_AGAIN", 0.1)
    server.stop()

    async def work() -> None:
        async with processes(server, 2) as (here, there):
            assert here.counting is Counting.LOST
            assert len(await crowd([here, there], 50, subject(requests_per_minute=10))) == 10
            server.start()
            await found_again(here)
            assert isinstance(await take(here, subject(requests_per_minute=10)), Taken)

    asyncio.run(work())


@pytest.mark.spec("F23")
def test_processes_whose_clocks_disagree_count_the_same_windows(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whose = subject(requests_per_day=5, requests_per_minute=5)

    async def work() -> None:
        async with processes(server, 1) as (here,):
            assert len(await crowd([here], 3, whose)) == 3
            for skew in (-7200, 7200, 0):
                monkeypatch.setattr(fleet.time, "time", lambda skew=skew: time.monotonic() + offset + skew)
                found = await take(here, whose)
                assert found.standings[0].used <= 5
            assert len(await crowd([here], 9, whose)) == 0

    offset = time.time() - time.monotonic()
    asyncio.run(work())


@pytest.mark.spec("U4")
def test_what_the_log_knows_is_taken_up_together_and_lowers_nothing(server: RedisServer) -> None:
    whose = subject(requests_per_day=10, tokens_per_day=1000, output_tokens_per_day=500, output_tokens_per_hour=100)

    async def work() -> None:
        async with processes(server, 2) as (here, there):
            await here.take_up([Consumed(whose, hour_output=20, requests=7, tokens=90, output=30)])
            assert [one.used for one in await told(there, whose)] == [20, 7, 90, 30]
            (await there.take([whose])).settle(counts(50, 50))
            await settled(there)
            await there.take_up([Consumed(whose, hour_output=20, requests=7, tokens=95, output=99)])
            assert [one.used for one in await told(here, whose)] == [70, 8, 190, 99]

    asyncio.run(work())


def test_an_address_that_is_none_is_told_of_at_the_start() -> None:
    async def work() -> None:
        await Limiter().open(workers=2, redis_url="amqp://here")

    with pytest.raises(BadFleet, match="REDIS_URL must look like"):
        asyncio.run(work())


async def found_again(limiter: Limiter) -> None:
    for _ in range(200):
        if limiter.counting is Counting.TOGETHER:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("Redis was not found again")


async def settled(limiter: Limiter) -> None:
    if limiter._tasks:
        await asyncio.wait(limiter._tasks)


async def told(limiter: Limiter, *whose: Subject) -> list[object]:
    return await asyncio.to_thread(limiter.look, whose)


def test_the_end_of_a_call_that_began_apart_is_no_matter(server: RedisServer) -> None:
    async def work() -> None:
        limiter = Limiter()
        taken = await limiter.take([subject(concurrent_requests=1)])
        await limiter.open(workers=2, redis_url=server.url)
        taken.settle(NOTHING)
        await limiter.close()

    asyncio.run(work())
