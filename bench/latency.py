"""What the gateway adds to the time of a first token and to the gaps between chunks, against a bare relay.

    python -m bench.latency [rounds] [seconds]

The engine paces every stream at 50 chunks a second, its first one at once. First tokens: 16 connections, streams of 10
chunks one after the other. Gaps: 60 streams at a time on daphne and 150 on uvicorn, of 100 chunks; only those seen
while all of them run. Relay and gateway take turns, on daphne and then on uvicorn; what is told is the middle of the
rounds' differences and their range. Engine and driver are processes of the same machine: at a whole core either of them
is what is measured, so the shares of a core are told too, and the CPU time of chunks that come one by one with them.
So is the share that everything else on the machine took: where it is large, the differences say nothing.
"""

import asyncio
import random
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, quantiles

from bench.load import CONNECTIONS, Target, cpu_seconds, machine_seconds
from bench.servers import SERVERS, engine, gateway, installation, relay

PACE = 50  # chunks a second of one stream
STREAMS = {"daphne": 60, "uvicorn": 150}
FIRST_P50, FIRST_P99, GAP_P99 = 2, 10, 5  # ms more than the relay, at most


@dataclass(frozen=True)
class Seen:
    """Milliseconds, and shares of a core."""

    first_p50: float
    first_p99: float
    gap_p99: float
    server: float
    engine: float
    driver: float
    others: float


async def load(target: Target, streams: int, chunks: int, seconds: float, engine_pid: int) -> Seen:
    """Streams begin one by one within the first stream's time, and are watched from then on."""
    request, one = target.request(stream=True, pace=PACE, chunks=chunks), chunks / PACE
    start = time.perf_counter() + one
    until = start + seconds
    asked: list[list[float]] = []

    async def calls() -> None:
        caller = await target.connected()
        await asyncio.sleep(random.uniform(0, one))
        while time.perf_counter() < until:
            asked.append(await caller.ask(request))
        caller.close()

    async def shares() -> list[float]:
        await asyncio.sleep(start - time.perf_counter())
        before = spent()
        await asyncio.sleep(until - time.perf_counter())
        server, engine, driver, machine = ((now - then) / seconds for now, then in zip(spent(), before, strict=True))
        return [server, engine, driver, max(0, machine - server - engine - driver)]

    def spent() -> tuple[float, float, float, float]:
        return cpu_seconds(target.pid), cpu_seconds(engine_pid), time.process_time(), machine_seconds()

    watch = asyncio.create_task(shares())
    await asyncio.gather(*(calls() for _ in range(streams)))
    firsts = [times[1] - times[0] for times in asked if start <= times[0] < until]
    gaps = [later - sooner for times in asked for sooner, later in pairwise(times[1:]) if start <= later < until]
    first, gap = quantiles(firsts, n=100), quantiles(gaps, n=100)
    return Seen(first[49] * 1000, first[98] * 1000, gap[98] * 1000, *await watch)


def main(rounds: int, seconds: float) -> None:
    with engine() as (url, pid), installation(url) as installed:
        for server in SERVERS:
            with relay(server, url) as bare, gateway(server, installed) as (own, _renamed):
                for streams, chunks in ((CONNECTIONS, 10), (STREAMS[server], 100)):
                    turns = [
                        [asyncio.run(load(target, streams, chunks, seconds, pid)) for target in (bare, own)]
                        for _ in range(rounds)
                    ]
                    print(f"{streams} streams of {chunks} chunks at {PACE}/s on {server}")
                    tell_shares(turns)
                    if streams == CONNECTIONS:
                        tell("first token p50", [(a.first_p50, b.first_p50) for a, b in turns], FIRST_P50)
                        tell("first token p99", [(a.first_p99, b.first_p99) for a, b in turns], FIRST_P99)
                    else:
                        tell("gap p99", [(a.gap_p99, b.gap_p99) for a, b in turns], GAP_P99)


def tell_shares(turns: list[list[Seen]]) -> None:
    for name, side in zip(("relay", "gateway"), zip(*turns, strict=True), strict=True):
        shares = {of: median(getattr(one, of) for one in side) for of in ("server", "engine", "driver", "others")}
        full = "; the load itself is what is measured" if max(shares["engine"], shares["driver"]) > 0.85 else ""
        told = ", ".join(f"{of} {share:.0%}" for of, share in shares.items())
        print(f"  {name}: {told} of a core{full}")
    ratios = sorted(found.server / base.server for base, found in turns)
    print(f"  CPU time: {median(ratios):.2f} times the relay's ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def tell(what: str, turns: list[tuple[float, float]], most: float) -> None:
    base, found = (median(side) for side in zip(*turns, strict=True))
    added = sorted(gateway - relay for relay, gateway in turns)
    more = f"{median(added):.1f} ms added ({added[0]:.1f} to {added[-1]:.1f}; bar {most})"
    print(f"  {what}: relay {base:.1f} ms, gateway {found:.1f} ms, {more}", flush=True)


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [5, 4][len(given) :]))
