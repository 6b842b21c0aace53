"""The deadlines of a call to an engine: which ends a wait, who wins when two things happen, and what is left."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from gateway.engines.clock import Clock, Cut, Deadlines
from gateway.errors import EngineTimeout

LONG = 30.0  # seconds that no test waits


def live(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs it, and sees that it leaves no timer and no task behind."""

    async def watched() -> None:
        await work()
        loop = asyncio.get_running_loop()
        assert [one for one in loop._scheduled if not one.cancelled()] == []  # type: ignore[attr-defined]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(watched())


def clock(**seconds: float) -> Clock:
    return Clock(Deadlines(**{"first": LONG, "between": LONG, "total": LONG, **seconds}))


async def fails(ticking: Clock, kind: type[Exception], work: Awaitable[object]) -> str:
    async with asyncio.timeout(LONG / 3):
        with pytest.raises(kind) as raised:
            await ticking.wait(work)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0  # whoever waits may go on
    ticking.close()
    return str(raised.value)


@pytest.mark.spec("F04", "R05")
def test_an_engine_must_begin_in_time() -> None:
    async def work() -> None:
        told = await fails(clock(first=0.02), EngineTimeout, asyncio.sleep(LONG))
        assert told == "The engine did not begin to answer in time."

    live(work)


@pytest.mark.spec("F05", "R06")
def test_from_event_to_event_it_has_a_time_of_its_own() -> None:
    async def work() -> None:
        ticking = clock(between=0.03)
        await ticking.wait(asyncio.sleep(0.06))  # before the first event, the time between events is nothing
        ticking.progress()
        assert await fails(ticking, EngineTimeout, asyncio.sleep(LONG)) == "The engine stopped answering."

    live(work)


@pytest.mark.spec("F05")
def test_events_put_the_deadline_off_and_bytes_without_events_do_not() -> None:
    async def work() -> None:
        ticking = clock(between=0.6)

        async def bytes_alone() -> None:
            while True:
                await ticking.wait(asyncio.sleep(0.05))

        for _ in range(16):
            ticking.progress()
            await ticking.wait(asyncio.sleep(0.05))
        with pytest.raises(EngineTimeout, match="stopped answering"):
            await bytes_alone()
        ticking.close()

    live(work)


@pytest.mark.spec("F05")
def test_the_whole_answer_has_a_deadline_whatever_comes() -> None:
    async def work() -> None:
        ticking = clock(total=0.1)

        async def events() -> None:
            while True:
                ticking.progress()
                await ticking.wait(asyncio.sleep(0.01))

        with pytest.raises(EngineTimeout, match="too long over the whole answer"):
            await events()
        ticking.close()

    live(work)


def test_another_engine_has_the_first_deadline_anew_and_the_whole_one_not() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        began, ticking = loop.time(), clock(first=0.05, total=0.8)
        with pytest.raises(EngineTimeout, match="did not begin"):
            await ticking.wait(asyncio.sleep(LONG))
        ticking.begin()
        await ticking.wait(asyncio.sleep(0))
        ticking.answered()
        assert ticking.answered_ms <= (loop.time() - began - 0.05) * 1000 + 1  # from its own question on
        ticking.progress()
        assert "whole answer" in await fails(ticking, EngineTimeout, asyncio.sleep(LONG))

    live(work)


@pytest.mark.spec("F30", "R11")
def test_a_cut_ends_the_wait_that_runs() -> None:
    async def work() -> None:
        ticking = clock()
        asyncio.get_running_loop().call_later(0.02, ticking.cut)
        await fails(ticking, Cut, asyncio.sleep(LONG))

    live(work)


@pytest.mark.spec("F30", "R11")
def test_a_cut_between_two_waits_ends_the_next_one() -> None:
    async def work() -> None:
        ticking = clock()
        await ticking.wait(asyncio.sleep(0))
        ticking.cut()
        await asyncio.sleep(0.02)  # sending, say
        await fails(ticking, Cut, asyncio.sleep(LONG))

    live(work)


def test_a_cut_wins_over_a_deadline_that_has_passed() -> None:
    async def work() -> None:
        ticking = clock(first=0.01)
        ticking.cut()
        await asyncio.sleep(0.02)
        await fails(ticking, Cut, asyncio.sleep(LONG))

    live(work)


def test_a_deadline_that_passed_between_two_waits_ends_the_next_one() -> None:
    async def work() -> None:
        ticking = clock(first=0.01)
        await ticking.wait(asyncio.sleep(0))
        await asyncio.sleep(0.03)
        await fails(ticking, EngineTimeout, asyncio.sleep(LONG))

    live(work)


@pytest.mark.parametrize("cut", [False, True])
def test_work_that_is_done_at_once_is_not_disturbed(cut: bool) -> None:
    async def done() -> str:
        return "done"

    async def work() -> None:
        ticking = clock(first=0.01)
        await asyncio.sleep(0.02)
        if cut:
            ticking.cut()
        assert await ticking.wait(done()) == "done"
        await asyncio.sleep(0.02)  # what was to end the wait finds none, and leaves us alone
        ticking.close()

    live(work)


@pytest.mark.parametrize("outer_first", [True, False])
@pytest.mark.parametrize("what", ["cut", "deadline"])
def test_in_one_moment_the_outer_cancel_wins_whichever_came_first(what: str, outer_first: bool) -> None:
    async def work() -> None:
        ticking = clock()

        async def waits() -> None:
            await ticking.wait(asyncio.sleep(LONG))

        def ours() -> None:
            if what == "cut":
                ticking.cut()
            else:
                ticking.close()  # as the timer's end would
                ticking._next_at = 0
                ticking._ring()

        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        for one in (task.cancel, ours) if outer_first else (ours, task.cancel):
            one()
        with pytest.raises(asyncio.CancelledError):
            await task
        ticking.close()

    live(work)


def test_a_timeout_around_the_wait_is_told_from_the_clocks_own() -> None:
    async def work() -> None:
        ticking = clock()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await ticking.wait(asyncio.sleep(LONG))
        await ticking.wait(asyncio.sleep(0))
        ticking.close()

    live(work)


def test_an_error_of_the_work_itself_comes_through() -> None:
    async def breaks() -> None:
        await asyncio.sleep(0)
        raise ValueError("of the work")

    async def work() -> None:
        assert await fails(clock(), ValueError, breaks()) == "of the work"

    live(work)


def test_a_thousand_waits_share_one_timer() -> None:
    async def work() -> None:
        loop, ticking = asyncio.get_running_loop(), clock()
        for _ in range(1000):
            ticking.progress()
            await ticking.wait(asyncio.sleep(0))
        assert len(loop._scheduled) == 1  # type: ignore[attr-defined]
        ticking.close()

    live(work)


def test_a_shorter_deadline_is_not_slept_through() -> None:
    async def work() -> None:
        ticking = clock(between=0.03)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ticking.wait(asyncio.sleep(LONG))  # the timer is set for the first event, far away
        ticking.progress()
        async with asyncio.timeout(5):
            await fails(ticking, EngineTimeout, asyncio.sleep(LONG))

    live(work)


def test_a_clock_that_was_closed_can_wait_again_and_be_closed_twice() -> None:
    async def work() -> None:
        ticking = clock(first=0.02)
        ticking.close()
        await fails(ticking, EngineTimeout, asyncio.sleep(LONG))
        ticking.close()

    live(work)
