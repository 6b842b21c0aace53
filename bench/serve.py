"""How soon `manage.py serve` (daphne) and uvicorn answer, and the memory they hold after load.

    python -m bench.serve [rounds]

Start: from the process's start to its first answer of /v1/chat/completions; the database stands, filled. Memory: what
is resident of the server's process after 2000 requests and 300 streams of 100 chunks on 16 connections and 30 views of
a page, which brings Django's own machinery in; database and `manage.py start` are processes of their own. Against: a
bare relay on the same server, in turn.
"""

import sys
import urllib.request
from statistics import median

from bench.load import Target, memory_mb
from bench.servers import SERVERS, engine, gateway, installation, relay

MEMORY = {"daphne": 160, "uvicorn": 140}  # MB at most
START = 3  # seconds at most
PAGE = "/account/login/"


def main(rounds: int) -> None:
    with engine() as (url, _pid), installation(url) as installed:
        for server in SERVERS:
            turns = []
            for _ in range(rounds):
                with relay(server, url) as bare:
                    base = seen(bare)
                with gateway(server, installed) as (own, _renamed):
                    turns.append((base, seen(own, pages=30)))
            tell(f"memory on {server}, MB", [(base[0], found[0]) for base, found in turns], MEMORY[server])
            tell("  at its most, MB", [(base[1], found[1]) for base, found in turns], MEMORY[server])
            tell(f"start on {server}, seconds", [(base[2], found[2]) for base, found in turns], START)


def seen(target: Target, pages: int = 0) -> tuple[float, float, float]:
    """Memory, the most memory there was, and seconds to the first answer."""
    target.measure(2000, stream=False)
    target.measure(300, stream=True)
    for _ in range(pages):
        with urllib.request.urlopen(f"http://localhost:{target.port}{PAGE}", timeout=30) as answer:
            answer.read()
    return memory_mb(target.pid), memory_mb(target.pid, "VmHWM"), target.start_seconds


def tell(what: str, turns: list[tuple[float, float]], most: float) -> None:
    base, found = zip(*turns, strict=True)
    print(f"{what}: gateway {median(found):.1f} ({min(found):.1f} to {max(found):.1f}; bar {most}), ", end="")
    print(f"bare relay {median(base):.1f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
