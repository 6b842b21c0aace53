"""What the whole gateway costs a request, against a bare relay: same server, same HTTP client, nothing else.

    python -m bench.gateway [rounds] [requests] [streams]

The engine answers at once; a stream is 100 chunks. Relay and gateway take turns, on daphne, on uvicorn with h11, and
on uvicorn with httptools, which makes the relay so cheap that the ratio has no bar there: what a relay on httpx takes
on the same server is told beside it. Each ratio is one round's, and what is told is their middle and their range. CPU
time is the server process's own (user and system), so that a busy machine shows less in it than in the requests a
second. `rewritten`: the public id is not the engine's own.
"""

import sys
from statistics import median

from bench.load import Measured
from bench.servers import H11, SERVERS, engine, gateway, installation, relay

OWN, REWRITTEN = 2, 3  # times the relay's CPU time, at most


def main(rounds: int, requests: int, streams: int) -> None:
    with engine() as (url, _pid), installation(url) as installed:
        for server in (SERVERS[0], H11, SERVERS[1]):
            with relay(server, url) as bare, gateway(server, installed) as (own, renamed):
                for what, number, stream in (("request", requests, False), ("stream of 100 chunks", streams, True)):
                    turns = [
                        [target.measure(number, stream=stream) for target in (bare, own, renamed)]
                        for _ in range(rounds)
                    ]
                    own_most, rewritten_most = (OWN, REWRITTEN) if server != SERVERS[1] else (None, None)
                    tell(f"{what} on {server}, own id", [(base, found) for base, found, _ in turns], own_most)
                    tell(f"{what} on {server}, rewritten", [(base, found) for base, _, found in turns], rewritten_most)
        with relay("uvicorn", url, "bench.relay_httpx") as on_httpx, gateway("uvicorn", installed) as (own, _):
            for what, number, stream in (("request", requests, False), ("stream of 100 chunks", streams, True)):
                pairs = [
                    (on_httpx.measure(number, stream=stream), own.measure(number, stream=stream)) for _ in range(rounds)
                ]
                tell(f"{what} on uvicorn, against a relay on httpx", pairs, None)


def tell(what: str, turns: list[tuple[Measured, Measured]], most: float | None) -> None:
    base, found = (Measured.middle(list(side)) for side in zip(*turns, strict=True))
    ratios = sorted(gateway.cpu_ms / relay.cpu_ms for relay, gateway in turns)
    bar = f"; bar {most}" if most else ""
    ratio = f"{median(ratios):.2f} times the relay's ({ratios[0]:.2f} to {ratios[-1]:.2f}{bar})"
    print(f"{what}: relay {base}; gateway {found}; CPU time {ratio}", flush=True)


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [5, 600, 200][len(given) :]))
