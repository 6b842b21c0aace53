"""Load on a server that speaks OpenAI's protocol, and what it costs the server's process."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = 16
TICKS = os.sysconf("SC_CLK_TCK")


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
    start_seconds: float = 0  # from the process's start until it listened

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


@dataclass(frozen=True)
class Child:
    pid: int
    start_seconds: float  # until it listened


@contextmanager
def child(*words: str, port: int, program: str | Path = sys.executable, **environment: str) -> Iterator[Child]:
    began = time.monotonic()
    process = subprocess.Popen(
        [program, *words], cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    try:
        wait_for(port, process)
        yield Child(process.pid, time.monotonic() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on {port}")
