"""What limits cost a call: its admission and its end, with three subjects and all seven windows of each.

    python -m bench.limits [calls]

Against: a caller whom no limit binds, in the same run; and the library `limits`, where it is installed, doing the same
in memory. CPU time of this process, the middle of five rounds. With Redis, where a server is found: CPU time on both
sides, and the time that a call waits, one after the other and sixteen at a time.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from statistics import median
from types import SimpleNamespace
from typing import Any

from bench.load import cpu_seconds
from bench.scratch import scratch

ROUNDS = 5
CALLS = 2000  # with Redis
EVERY = dict.fromkeys(
    (
        "requests_per_minute", "requests_per_day", "tokens_per_minute", "tokens_per_day",
        "output_tokens_per_hour", "output_tokens_per_day", "concurrent_requests",
    ),
    10**12,
)  # fmt: skip


def main(calls: int) -> None:
    from billing.limits.limiter import limiter
    from billing.limits.windows import Bounds, Days, Rules, Subject
    from billing.records import Counts
    from gateway.admission import admit

    rules, days = Bounds(**EVERY).rules(), Days("Europe/Madrid")
    team = Subject("team", "team/1", 1, 0, 0, rules, days)
    member = Subject("member", "member/1/1", 1, 0, 1, rules, days)
    keys = {number: Subject("key", f"key/{number}", 1, number, 0, rules, days) for number in range(1000)}
    counts = Counts(100, 50, "upstream", "upstream")

    def caller(team_id: int) -> Any:
        return SimpleNamespace(team_id=team_id, key_id=1, member_id=1)

    async def one(who: Any, limits: Rules) -> None:
        snapshot: Any = SimpleNamespace(limits=limits)
        admission = await admit(
            caller=who,
            ask=None,
            request=None,
            model="m",
            prompt_estimate=10,
            snapshot=snapshot,  # type: ignore[arg-type]
        )
        admission.release(counts)

    limits = Rules({1: team}, keys, {(1, 1): member})
    strangers = Rules({1: team}, {}, {(1, 1): member})
    bare = measured(calls, lambda: one(caller(2), strangers))
    limited = measured(calls, lambda: one(caller(1), limits))
    for key in keys.values():
        limiter.counters.charge([key], 1, 1)
    crowded = measured(calls, lambda: one(caller(1), limits))
    print(f"not limited                               {bare:7.1f} µs a call")
    print(
        f"three subjects, seven windows each        {limited:7.1f} µs a call, {limited - bare:.1f} of them the limits'"
    )
    print(f"the same among 1,000 keys with limits     {crowded:7.1f} µs a call")
    if find_spec("limits"):
        for among in (0, 1000):
            print(f"the library `limits` among {among:5,} keys      {library(calls // 10, among):7.1f} µs a call")
    redis([team, keys[1], member], counts)


def measured(calls: int, one: Callable[[], Awaitable[None]]) -> float:
    """Microseconds of CPU time a call, the middle of the rounds."""

    async def round_() -> float:
        began = time.process_time()
        for _ in range(calls):
            await one()
        return (time.process_time() - began) / calls * 1e6

    return median(asyncio.run(round_()) for _ in range(ROUNDS))


def library(calls: int, among: int) -> float:
    """Its sliding counter for requests, its fixed windows for tokens: tested for all, then counted in all."""
    from limits import RateLimitItemPerDay, RateLimitItemPerHour, RateLimitItemPerMinute
    from limits.aio.storage import MemoryStorage
    from limits.aio.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter

    requests = [RateLimitItemPerMinute(10**12, namespace="rm"), RateLimitItemPerDay(10**12, namespace="rd")]
    kinds = {"tm": RateLimitItemPerMinute, "td": RateLimitItemPerDay, "oh": RateLimitItemPerHour,
             "od": RateLimitItemPerDay}  # fmt: skip
    tokens = [kind(10**12, namespace=name) for name, kind in kinds.items()]

    async def round_() -> float:
        storage = MemoryStorage()
        sliding, fixed = SlidingWindowCounterRateLimiter(storage), FixedWindowRateLimiter(storage)
        for number in range(among):
            await storage.incr(tokens[0].key_for(f"key/{number}"), 60, 1)
        began = time.process_time()
        for _ in range(calls):
            for who in ("team/1", "key/1", "member/1"):
                for item in requests:
                    await sliding.test(item, who)
                for item in tokens:
                    await fixed.test(item, who)
            for who in ("team/1", "key/1", "member/1"):
                for item in requests:
                    await sliding.hit(item, who)
                for item in tokens:
                    await storage.incr(item.key_for(who), item.get_expiry(), 50)
            await asyncio.sleep(0)
        return (time.process_time() - began) / calls * 1e6

    return median(asyncio.run(round_()) for _ in range(ROUNDS))


def redis(subjects: Any, counts: Any) -> None:
    import pytest

    from tests.redisd import RedisServer

    try:
        server = RedisServer()
    except pytest.skip.Exception as absent:
        print(f"with Redis: {absent}")
        return
    with server:
        for at_once in (1, 16):
            waits, here, there = asyncio.run(together(server, subjects, counts, at_once))
            middle, late = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
            print(
                f"with Redis, {at_once:2} at a time: {here:.0f} µs a call here and {there:.0f} in Redis; "
                f"a call waits {middle:.2f} ms, one in a hundred {late:.2f}"
            )


async def together(server: Any, subjects: Any, counts: Any, at_once: int) -> tuple[list[float], float, float]:
    """What calls wait, in ms, and the CPU time of a call on either side, in µs."""
    from billing.limits.limiter import Limiter

    limiter = Limiter()
    await limiter.open(workers=2, redis_url=server.url)

    async def caller() -> list[float]:
        found = []
        for _ in range(CALLS // at_once):
            began = time.perf_counter()
            taken = await limiter.take(subjects)
            found.append((time.perf_counter() - began) * 1000)
            taken.settle(counts)
        return found

    here, there = time.process_time(), cpu_seconds(server.pid)
    found = await asyncio.gather(*(caller() for _ in range(at_once)))
    await limiter.close()
    each = 1e6 / CALLS
    waits = sorted(wait for part in found for wait in part)
    return waits, (time.process_time() - here) * each, (cpu_seconds(server.pid) - there) * each


if __name__ == "__main__":
    with scratch():
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
