"""What keeping accounts costs a request: everything, from the spool's records to the row in PostgreSQL.

    python -m bench.accounting [rounds] [requests] [streams]

Against: the same server, whose spool and measures write nothing (`bench.unaccounted`), in turns, on uvicorn. CPU time
is the server process's own, so shipping to PostgreSQL, which another thread of it does, is in it; PostgreSQL's own is
not. Time to the first token: 16 connections, an engine that paces its streams.
"""

import asyncio
import sys
from statistics import median

from bench.latency import load
from bench.load import CONNECTIONS
from bench.servers import engine, gateway, installation

COST, LATER = 0.15, 1.0  # bars: CPU-ms a request, ms at the first token's median


def main(rounds: int, requests: int, streams: int) -> None:
    with (
        engine() as (url, pid),
        installation(url) as installed,
        gateway("uvicorn", installed) as (accounted, _),
        gateway("uvicorn", installed, "bench.unaccounted") as (bare, _),
    ):
        for what, number, stream in (("request", requests, False), ("stream of 100 chunks", streams, True)):
            turns = [
                (bare.measure(number, stream=stream), accounted.measure(number, stream=stream)) for _ in range(rounds)
            ]
            tell(f"{what}, CPU-ms", [(without.cpu_ms, with_.cpu_ms) for without, with_ in turns], COST)
        firsts = [
            [asyncio.run(load(target, CONNECTIONS, 10, 5, pid)).first_p50 for target in (bare, accounted)]
            for _ in range(rounds)
        ]
        tell("first token p50, ms", [(without, with_) for without, with_ in firsts], LATER)


def tell(what: str, turns: list[tuple[float, float]], most: float) -> None:
    added = sorted(with_ - without for without, with_ in turns)
    without, with_ = (median(side) for side in zip(*turns, strict=True))
    print(
        f"{what}: without accounts {without:.2f}, with {with_:.2f};"
        f" added {median(added):.2f} ({added[0]:.2f} to {added[-1]:.2f}; bar {most})",
        flush=True,
    )


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [5, 1000, 300][len(given) :]))
