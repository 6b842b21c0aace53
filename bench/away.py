"""An hour without PostgreSQL, shortened: what the spool takes, whether memory stays flat, and how soon all is shipped.

    python -m bench.away [seconds]

`manage.py serve` (daphne) answers 50 requests a second while its PostgreSQL is stopped for so long (120 s by default);
then it is started again, and everything must come to the log, each request once. Growth is told for an hour.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote, urlencode

from bench.load import Target, child, free_port, memory_mb
from bench.servers import SECRET, engine, manage
from console.postgres import DATABASE, USER, EmbeddedServer

RATE = 50  # requests a second


def main(seconds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="tertulia-away-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # the database server's account passes through
        database = EmbeddedServer(Path(folder))
        database.join()
        try:
            away(database, Path(folder), seconds)
        finally:
            database.leave()


def away(database: EmbeddedServer, data: Path, seconds: int) -> None:
    port = free_port()
    address = f"postgres://{USER}@/{DATABASE}?{urlencode({'host': str(database.sockets)}, quote_via=quote)}"
    environment = {"TERTULIA_DATA": str(data), "SECRET_KEY": SECRET, "PORT": str(port), "DATABASE_URL": address}
    manage(environment, "migrate", "--verbosity=0")
    manage(environment, "collectstatic", "--noinput", "--verbosity=0")
    with engine() as (url, _pid), child("manage.py", "serve", port=port, **environment) as server:
        manage(environment, "add_engine", "--name", "fast", "--type", "openai", "--url", url)
        manage(environment, "create_team", "--name", "Bench", "--owner", "bench@example.org")
        target = server.target(port, manage(environment, "create_key", "--team", "bench", "--name", "bench"), "fast")
        asyncio.run(calls(target, 10))
        database._run("pg_ctl", "-D", database.cluster, "stop", "-m", "immediate")
        asked = asyncio.run(calls(target, 5))
        size, memory, began = size_of(data / "spool"), memory_mb(target.pid), time.monotonic()
        seen = []
        for _ in range(4):
            asked += asyncio.run(calls(target, seconds / 4))
            seen.append(memory_mb(target.pid))
        took = time.monotonic() - began
        grown = size_of(data / "spool") - size
        print(f"{asked} requests answered without PostgreSQL, {RATE}/s")
        print(f"spool: {grown / took / 1e3:.0f} KB/s, {grown / took * 3600 / 1e9:.2f} GB an hour")
        print(f"memory: {memory:.0f} MB, then {', '.join(f'{one:.0f}' for one in seen)} MB a quarter each", flush=True)
        began = time.monotonic()
        database.revive()
        while closed(data / "spool"):
            time.sleep(0.2)
        print(f"shipped {time.monotonic() - began:.0f} s after PostgreSQL was started again")
    print(manage(environment, "usage_audit"))


async def calls(target: Target, seconds: float) -> int:
    """At an even rate, over a few connections. Anything but a 200 ends it. Returns how many."""
    request, began = target.request(stream=False), time.monotonic()
    number = int(seconds * RATE)
    left = iter(range(number))

    async def one() -> None:
        caller = await target.connected()
        for place in left:
            await asyncio.sleep(began + place / RATE - time.monotonic())
            await caller.ask(request)
        caller.close()

    await asyncio.gather(*(one() for _ in range(8)))
    return number


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.name != "ballast" and path.is_file())


def closed(folder: Path) -> int:
    """Files that wait to be shipped: all but the live one."""
    return len(list(folder.rglob("*.jsonl"))) - 1


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 120)
