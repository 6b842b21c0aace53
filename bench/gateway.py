"""What the whole gateway costs a request, against a bare relay: same server, same HTTP client, nothing else.

    python -m bench.gateway [requests] [streams]

The engine answers at once; a stream is 100 chunks. CPU time is the server process's own (user and system), so that a
busy machine shows less in it than in the requests a second. `rewritten`: the public id is not the engine's own.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.engine import MODEL

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = 16
TICKS = os.sysconf("SC_CLK_TCK")
SECRET = "benchmarks only: 5f4e3d2c1b0a9f8e7d6c5b4a"
RENAMED = "fast, by another name"


@dataclass(frozen=True)
class Measured:
    per_second: float
    cpu_ms: float

    def __str__(self) -> str:
        return f"{self.cpu_ms:.2f} CPU-ms, {self.per_second:.0f}/s"


@dataclass(frozen=True)
class Target:
    port: int
    pid: int
    key: str
    model: str

    def measure(self, number: int, *, stream: bool) -> Measured:
        asyncio.run(self._load(number // 10 + CONNECTIONS, stream))  # warm
        before, began = cpu_seconds(self.pid), time.perf_counter()
        asyncio.run(self._load(number, stream))
        took = time.perf_counter() - began
        return Measured(number / took, (cpu_seconds(self.pid) - before) * 1000 / number)

    async def _load(self, number: int, stream: bool) -> None:
        left = iter(range(number))
        request = self._request(stream)
        await asyncio.gather(*(self._caller(left, request) for _ in range(CONNECTIONS)))

    async def _caller(self, left: Iterator[int], request: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for _ in left:
            writer.write(request)
            await read_answer(reader)
        writer.close()

    def _request(self, stream: bool) -> bytes:
        body = {"model": self.model, "stream": stream, "messages": [{"role": "user", "content": "How are you?"}]}
        content = json.dumps(body).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost:{self.port}\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {self.key}\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


async def read_answer(reader: asyncio.StreamReader) -> None:
    """One whole answer, by its length or its chunks. Anything but a 200 is an error."""
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise AssertionError(head.decode())
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    if b"content-length" in fields:
        await reader.readexactly(int(fields[b"content-length"]))
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
    await reader.readexactly(2)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def child(*words: str, port: int, **environment: str) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    try:
        wait_for(port)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)


def wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on {port}")


@contextmanager
def relay(engine: str) -> Iterator[Target]:
    port = free_port()
    words = ("-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(port), "bench.relay:application")
    with child(*words, port=port, ENGINE=engine) as pid:
        yield Target(port, pid, "none", MODEL)


@contextmanager
def gateway(engine: str) -> Iterator[tuple[Target, Target]]:
    """The same gateway with the engine's own model id, and with another one."""
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

        with child("manage.py", "start", port=port, **environment) as pid:
            manage("add_engine", "--name", "fast", "--type", "openai", "--url", engine)
            rename = f"from gateway.models import *; m = ServedModel.objects.get(public_id={MODEL!r}); m.pk = None; "
            rename += f"m.public_id = {RENAMED!r}; m.save(); from accounts import revision; revision.bump()"
            manage("shell", "--verbosity=0", "--command", rename)
            manage("create_team", "--name", "Bench", "--owner", "bench@example.org")
            key = manage("create_key", "--team", "bench", "--name", "bench")
            time.sleep(2)  # the snapshot
            yield Target(port, pid, key, MODEL), Target(port, pid, key, RENAMED)
            print(f"memory of the gateway {memory_mb(pid):.0f} MB")


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
