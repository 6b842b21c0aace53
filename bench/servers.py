"""What the benchmarks measure, as servers of their own: the gateway and a bare relay, each on daphne and on uvicorn.

uvicorn takes its own variables from the environment, for both: UVICORN_LOOP=asyncio UVICORN_HTTP=h11, for example.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.engine import MODEL
from bench.load import ROOT, Target, child, free_port

SERVERS = ("daphne", "uvicorn")
H11 = "uvicorn on h11"  # without httptools, which the extra installs
SECRET = "benchmarks only: 5f4e3d2c1b0a9f8e7d6c5b4a"
RENAMED = "fast, by another name"
RENAME = f"""
from accounts import revision
from gateway.models import ServedModel
model = ServedModel.objects.get(public_id={MODEL!r})
model.pk, model.public_id = None, {RENAMED!r}
model.save()
revision.bump()
"""
# Prints the address of the server that `manage.py start` runs.
ADDRESS = """
from urllib.parse import quote
from django.db import connections
found = connections["default"].settings_dict
print(f"postgres://{found['USER']}@/{found['NAME']}?host={quote(str(found['HOST']), safe='')}")
"""


@dataclass(frozen=True)
class Installation:
    """A database with an engine, its model under two names, and a key."""

    environment: dict[str, str]
    key: str


@contextmanager
def engine() -> Iterator[tuple[str, int]]:
    """Its URL and its process."""
    port = free_port()
    with child("-m", "bench.engine", str(port), port=port) as started:
        yield f"http://127.0.0.1:{port}", started.pid


@contextmanager
def installation(engine: str) -> Iterator[Installation]:
    """Held by a `manage.py start` that nobody calls."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="tertulia-bench-", ignore_cleanup_errors=True) as data:
        Path(data).chmod(0o711)  # the database server's account passes through
        environment = {"TERTULIA_DATA": data, "SECRET_KEY": SECRET, "PORT": str(port), "DATABASE_URL": ""}
        with child("manage.py", "start", port=port, **environment):
            manage(environment, "add_engine", "--name", "fast", "--type", "openai", "--url", engine)
            manage(environment, "shell", "--verbosity=0", "--command", RENAME)
            manage(environment, "create_team", "--name", "Bench", "--owner", "bench@example.org")
            key = manage(environment, "create_key", "--team", "bench", "--name", "bench")
            address = manage(environment, "shell", "--verbosity=0", "--command", ADDRESS)
            yield Installation(environment | {"DATABASE_URL": address}, key)


@contextmanager
def gateway(server: str, installed: Installation, module: str = "console.asgi") -> Iterator[tuple[Target, Target]]:
    """One server, asked for the engine's own model id, and for another one."""
    port = free_port()
    words = ("manage.py", "serve") if server == "daphne" else _words(server, port, module)
    with child(*words, port=port, **installed.environment | {"PORT": str(port)}) as started:
        own = started.target(port, installed.key, MODEL)
        yield own, replace(own, model=RENAMED)


@contextmanager
def relay(server: str, engine: str, module: str = "bench.relay") -> Iterator[Target]:
    port = free_port()
    with child(*_words(server, port, module), port=port, ENGINE=engine) as started:
        yield started.target(port, "none", MODEL)


def _words(server: str, port: int, module: str) -> tuple[str, ...]:
    more = ("-v", "0") if server == "daphne" else ("--no-access-log", "--log-level", "warning")
    parser = ("--http", "h11") if server == H11 else ()
    return ("-m", server.partition(" ")[0], *more, *parser, "--port", str(port), f"{module}:application")


def manage(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()
