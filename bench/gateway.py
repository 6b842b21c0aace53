"""What the whole gateway costs a request, against a bare relay: same server, same HTTP client, nothing else.

    python -m bench.gateway [requests] [streams]

The engine answers at once; a stream is 100 chunks. CPU time is the server process's own (user and system), so that a
busy machine shows less in it than in the requests a second. `rewritten`: the public id is not the engine's own.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from bench.engine import MODEL
from bench.load import ROOT, Target, child, free_port, memory_mb

SECRET = "benchmarks only: 5f4e3d2c1b0a9f8e7d6c5b4a"
RENAMED = "fast, by another name"
# Prints the address of the server that `manage.py start` runs.
ADDRESS = """
from urllib.parse import quote
from django.db import connections
found = connections["default"].settings_dict
print(f"postgres://{found['USER']}@/{found['NAME']}?host={quote(str(found['HOST']), safe='')}")
"""


@contextmanager
def relay(engine: str) -> Iterator[Target]:
    port = free_port()
    words = ("-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(port), "bench.relay:application")
    with child(*words, port=port, ENGINE=engine) as server:
        yield Target(port, server.pid, "none", MODEL, server.start_seconds)


@contextmanager
def gateway(engine: str, *, uvicorn: bool = False) -> Iterator[tuple[Target, Target]]:
    """The same gateway with the engine's own model id, and with another one. On daphne, unless uvicorn is asked for."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="tertulia-bench-", ignore_cleanup_errors=True) as data:
        Path(data).chmod(0o711)  # the database server's account passes through
        environment = {"TERTULIA_DATA": data, "SECRET_KEY": SECRET, "PORT": str(port), "DATABASE_URL": ""}

        def manage(*words: str) -> str:
            done = subprocess.run(
                [sys.executable, "manage.py", *words],
                cwd=ROOT,
                env={**os.environ, **environment},
                check=True,
                capture_output=True,
                text=True,
            )
            return done.stdout.strip()

        with child("manage.py", "start", port=port, **environment) as server:
            manage("add_engine", "--name", "fast", "--type", "openai", "--url", engine)
            rename = f"from gateway.models import *; m = ServedModel.objects.get(public_id={MODEL!r}); m.pk = None; "
            rename += f"m.public_id = {RENAMED!r}; m.save(); from accounts import revision; revision.bump()"
            manage("shell", "--verbosity=0", "--command", rename)
            manage("create_team", "--name", "Bench", "--owner", "bench@example.org")
            key = manage("create_key", "--team", "bench", "--name", "bench")
            if uvicorn:
                environment |= {"DATABASE_URL": manage("shell", "--verbosity=0", "--command", ADDRESS)}
                port = free_port()
            words = (
                "-m",
                "uvicorn",
                "--no-access-log",
                "--log-level",
                "warning",
                "--port",
                str(port),
                "console.asgi:application",
            )
            with child(*words, port=port, **environment) if uvicorn else nullcontext(server) as asked:
                time.sleep(2)  # the snapshot
                own = Target(port, asked.pid, key, MODEL, asked.start_seconds)
                yield own, replace(own, model=RENAMED)
                print(f"memory of the gateway {memory_mb(asked.pid):.0f} MB")


def main(requests: int, streams: int) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with child("-m", "bench.engine", str(port), port=port), relay(url) as bare, gateway(url) as (own, renamed):
        for what, number, stream in (("request", requests, False), ("stream of 100 chunks", streams, True)):
            base = bare.measure(number, stream=stream)
            for name, target in (("own id", own), ("rewritten", renamed)):
                found = target.measure(number, stream=stream)
                ratio = found.cpu_ms / base.cpu_ms
                print(f"{what}, {name}: relay {base}; gateway {found}; ratio of CPU time {ratio:.2f}")


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [2000, 500][len(given) :]))
