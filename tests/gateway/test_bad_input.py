"""Bodies that are made to hurt, sent to a whole server: the right refusal, little memory, and nobody else waits."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from accounts.models import Team
from gateway.catalogue import add_engine, import_models
from tests.engines.faultd import FaultEngine
from tests.factories import make_key
from tests.server import LiveServer

MB = 1 << 20
GROWTH = 64 * MB
LAG = 0.2  # seconds that the event loop may be busy with one body
PACED = "fault:drip?n=4000&gap=20"


def asking(**more: object) -> bytes:
    return json.dumps({"model": "plain", "messages": [{"role": "user", "content": "hi"}], **more}).encode()


def padded(inside: bytes) -> bytes:
    return b'{"model":"plain","messages":[{"role":"user","content":"hi"}],"x":%s}' % inside


BODIES: dict[str, tuple[Callable[[], bytes], int, str | None]] = {
    "40 MB": (lambda: padded(b'"%s"' % (b"x" * 40 * MB)), 413, None),
    "40 MB of lists": (lambda: padded(b"[" + b"[]," * (13 * MB) + b"[]]"), 413, None),
    "30 MB of lists": (lambda: padded(b"[" + b"[]," * (10 * MB) + b"[]]"), 400, None),
    "30 MB of numbers": (lambda: padded(b"[" + b"7," * (15 * MB) + b"7]"), 400, None),
    "30 MB of quotes": (lambda: padded(b'"%s' % (b'\\"' * 15 * MB)), 400, None),
    "2 MB nested": (lambda: padded(b"[" * MB + b"]" * MB), 400, None),
    "nested 10,000 deep": (lambda: padded(b'{"a":' * 10_000 + b"1" + b"}" * 10_000), 400, None),
    "10,000 messages": (lambda: asking(messages=[{"role": "user", "content": "x"}] * 10_000), 400, "messages"),
    "NaN": (lambda: padded(b"NaN"), 400, None),
    "temperature NaN": (lambda: asking(temperature=float("nan")), 400, None),
    "infinity": (lambda: asking(top_p=float("-inf")), 400, None),
    "a number too large": (lambda: padded(b"1e999"), 400, None),
    "a number of a million digits": (lambda: padded(b"9" * MB), 400, None),
    "max_tokens 1e12": (lambda: asking(max_tokens=1e12), 400, "max_tokens"),
    "max_tokens 10**12": (lambda: asking(max_tokens=10**12), 400, "max_tokens"),
    "n 1000": (lambda: asking(n=1000), 400, "n"),
    "a byte that is not UTF-8": (lambda: padded(b'"\xff"'), 400, None),
    "half of a surrogate as bytes": (lambda: padded(b'"\xed\xa0\x80"'), 400, None),
    "UTF-16": (lambda: asking().decode().encode("utf-16"), 400, None),
    "nothing": (lambda: b"", 400, None),
    "a list": (lambda: b"[1]", 400, None),
}


@pytest.fixture
def engine() -> Iterator[FaultEngine]:
    with FaultEngine() as found:
        yield found


@pytest.fixture
def server(transactional_db: None, engine: FaultEngine) -> Iterator[LiveServer]:
    import_models(engine=add_engine(name="faults", type="openai", url=engine.url), only=["plain", PACED])
    with LiveServer() as running:
        yield running


@pytest.fixture
def client(server: LiveServer, red: Team) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {make_key(red).secret}", "content-type": "application/json"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60, trust_env=False) as found:
        yield found


class Memory:
    """The most that a process held at once since it was made, above what it held then, in bytes."""

    def __init__(self, server: LiveServer) -> None:
        self._process = Path(f"/proc/{server.pid}")
        self._process.joinpath("clear_refs").write_text("5")  # the peak begins anew
        self._before = self._held("VmRSS:")

    @property
    def grown(self) -> int:
        return self._held("VmHWM:") - self._before

    def _held(self, name: str) -> int:
        status = self._process.joinpath("status").read_text()
        return int(status.partition(name)[2].split()[0]) * 1024


def refused(client: httpx.Client, name: str) -> str:
    """What is not as it should be in the answer to one of BODIES."""
    make, status, param = BODIES[name]
    response = client.post("/v1/chat/completions", content=make())
    error = response.json()["error"]
    code = "request_too_large" if status == 413 else "invalid_value"
    found = (response.status_code, error["type"], error["code"], error["param"])
    return "" if found == (status, "invalid_request_error", code, param) else f"{name}: {found} {error['message']}"


@pytest.mark.spec("S15", "H3", "C2")
def test_every_bad_body_is_refused_in_json_and_reaches_no_engine(
    client: httpx.Client, server: LiveServer, engine: FaultEngine
) -> None:
    assert client.post("/v1/chat/completions", content=asking()).status_code == 200
    assert [found for name in BODIES if (found := refused(client, name))] == []
    assert len(engine.completions()) == 1
    assert "Traceback" not in server.log()
    assert client.post("/v1/chat/completions", content=asking()).status_code == 200


@pytest.mark.spec("S15", "F28")
@pytest.mark.parametrize("names", [["40 MB"], ["40 MB of lists"], [name for name in BODIES if " MB" not in name]])
def test_what_is_refused_takes_little_memory(client: httpx.Client, server: LiveServer, names: list[str]) -> None:
    client.post("/v1/chat/completions", content=asking())
    memory = Memory(server)
    for name in names * 3:
        assert refused(client, name) == ""
    assert memory.grown < GROWTH


@pytest.mark.spec("S15")
def test_a_body_that_drips_in_holds_up_nobody_and_is_answered(client: httpx.Client, server: LiveServer) -> None:
    body = asking()
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.settimeout(30)
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: {client.headers['authorization']}"
        )
        slow.sendall(f"{head}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode())
        for place in range(len(body)):
            slow.sendall(body[place : place + 1])
            time.sleep(0.01)
            if place % 20 == 0:
                assert client.post("/v1/chat/completions", content=asking()).status_code == 200
        answer = b"".join(iter(lambda: slow.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.spec("S15", "R21")
def test_a_body_that_never_comes_whole_is_not_waited_for(client: httpx.Client, server: LiveServer) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.settimeout(1)
        slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n")
        while time.monotonic() - began < 200:
            try:
                slow.sendall(b" ")
                if slow.recv(100) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert 100 < time.monotonic() - began < 150


class Watch:
    """Asks /healthz again and again, and keeps the longest time that an answer took, in seconds."""

    def __init__(self, url: str) -> None:
        self.worst, self._url = 0.0, url
        self._begun, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watch":
        self._thread.start()
        assert self._begun.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _look(self) -> None:
        with httpx.Client(trust_env=False) as client:
            client.get(f"{self._url}/healthz")
            self._begun.set()
            while True:
                last = self._stopping.wait(0.01)
                began = time.perf_counter()
                assert client.get(f"{self._url}/healthz").status_code == 200
                self.worst = max(self.worst, time.perf_counter() - began)
                if last:
                    return


@pytest.mark.slow
@pytest.mark.spec("S15", "F40")
@pytest.mark.parametrize("name", BODIES)
def test_no_bad_body_keeps_the_event_loop_busy(client: httpx.Client, server: LiveServer, name: str) -> None:
    """The best of three, as the machine may be at something else."""
    make, status, _ = BODIES[name]
    body, worst = make(), []
    for _ in range(3):
        with Watch(server.url) as watch:
            assert client.post("/v1/chat/completions", content=body).status_code == status
        worst.append(watch.worst)
    assert min(worst) < LAG, worst


@pytest.mark.slow
@pytest.mark.spec("S15", "F40")
def test_a_stream_keeps_its_pace_while_bad_bodies_come_in(client: httpx.Client, server: LiveServer) -> None:
    bodies, gaps = [make() for make, _, _ in BODIES.values()], []
    asked = {"model": PACED, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    with (
        httpx.Client(base_url=server.url, headers=client.headers, timeout=60, trust_env=False) as reader,
        reader.stream("POST", "/v1/chat/completions", json=asked) as response,
    ):
        pieces, stopping = response.iter_raw(), threading.Event()

        def read() -> None:
            last = time.perf_counter()
            while not stopping.is_set():
                next(pieces)
                now = time.perf_counter()
                gaps.append(now - last)
                last = now

        thread = threading.Thread(target=read)
        thread.start()
        for body in bodies * 3:
            assert client.post("/v1/chat/completions", content=body).status_code in {400, 413}
        stopping.set()
        thread.join()
    assert len(gaps) > 50
    assert sorted(gaps)[-3] < 0.02 + LAG, sorted(gaps)[-10:]
