"""Load on a server that speaks OpenAI's protocol, and what it costs the server's process."""

import asyncio
import json
import os
import re
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
from statistics import median
from typing import cast

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = 16
TICKS = os.sysconf("SC_CLK_TCK")
CHUNKED_END = b"0\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")


@dataclass(frozen=True)
class Measured:
    per_second: float
    cpu_ms: float
    driver: float  # the load's own share of a core: near 1, it is what is measured

    def __str__(self) -> str:
        full = f" (the load itself took {self.driver:.0%} of a core)" if self.driver > 0.85 else ""
        return f"{self.cpu_ms:.2f} CPU-ms, {self.per_second:.0f}/s{full}"

    @classmethod
    def middle(cls, of: "list[Measured]") -> "Measured":
        return cls(*(median(getattr(one, name) for one in of) for name in ("per_second", "cpu_ms", "driver")))


@dataclass(frozen=True)
class Target:
    port: int
    pid: int
    key: str
    model: str
    start_seconds: float = 0  # from the process's start until its first answer

    def measure(self, number: int, *, stream: bool) -> Measured:
        asyncio.run(self._load(number // 10 + CONNECTIONS, stream))  # warm
        before, began, own = cpu_seconds(self.pid), time.perf_counter(), time.process_time()
        asyncio.run(self._load(number, stream))
        took = time.perf_counter() - began
        cpu = (cpu_seconds(self.pid) - before) * 1000 / number
        return Measured(number / took, cpu, (time.process_time() - own) / took)

    async def _load(self, number: int, stream: bool) -> None:
        left = iter(range(number))
        request = self.request(stream=stream)
        await asyncio.gather(*(self._calls(left, request) for _ in range(CONNECTIONS)))

    async def _calls(self, left: Iterator[int], request: bytes) -> None:
        caller = await self.connected()
        for _ in left:
            await caller.ask(request)
        caller.close()

    async def connected(self) -> "Caller":
        return (await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", self.port))[1]

    def request(self, *, stream: bool, **more: int) -> bytes:
        asked = {"model": self.model, "stream": stream, "messages": [{"role": "user", "content": "How are you?"}]}
        content = json.dumps(asked | more).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost:{self.port}\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {self.key}\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


class Caller(asyncio.Protocol):
    """One connection that asks and reads the whole answer, again and again. Anything but a 200 is an error."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    async def ask(self, request: bytes) -> list[float]:
        """When it asked and when each event of a stream came, by time.perf_counter."""
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head: bytes | None = b""
        self._left: int | None = None  # bytes to come, where the answer has a length
        self._tail = b""
        self._times = [time.perf_counter()]
        self._transport.write(request)
        await self._answered
        return self._times

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if self._head is not None:
            self._head, end, data = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                return
            if not self._head.startswith(b"HTTP/1.1 200"):
                self._answered.set_exception(AssertionError(self._head.decode()))
                self._transport.abort()
                return
            found = LENGTH.search(self._head.lower())
            self._head, self._left = None, int(found[1]) if found else None
        for _ in range(data.count(b"\n\n")):
            self._times.append(now)
        if self._left is not None:
            self._left -= len(data)
        else:
            self._tail = (self._tail + data)[-len(CHUNKED_END) :]
        if self._tail == CHUNKED_END or self._left == 0:
            self._answered.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._answered.done():
            self._answered.set_exception(error or ConnectionError("closed before the answer's end"))

    def close(self) -> None:
        self._transport.close()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def machine_seconds() -> float:
    """CPU time that the machine has spent on anything."""
    user, nice, system, _idle, _waiting, *interrupts = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + sum(interrupts)) / TICKS


def memory_mb(pid: int, line: str = "VmRSS") -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(found for found in lines if found.startswith(line)).split()[1]) / 1024


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Child:
    pid: int
    began: float  # by time.monotonic

    def target(self, port: int, key: str, model: str) -> Target:
        """This server, once it has given its first answer."""
        target = Target(port, self.pid, key, model)
        asyncio.run(first_answer(target))
        return Target(port, self.pid, key, model, time.monotonic() - self.began)


async def first_answer(target: Target) -> None:
    async with asyncio.timeout(60):
        while True:
            caller = await target.connected()
            try:
                await caller.ask(target.request(stream=False))
                return
            except AssertionError:  # it listens, and does not know its keys and models yet
                await asyncio.sleep(0.05)
            finally:
                caller.close()


@contextmanager
def child(*words: str, port: int, program: str | Path = sys.executable, **environment: str) -> Iterator[Child]:
    """A server that listens. What it logged is told when something fails."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [program, *words], cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=log
        )
        try:
            wait_for(port, process)
            yield Child(process.pid, began)
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace")[-5000:])
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on {port}")
