"""The web process as a child over real sockets: readiness, drain, deadlines, headers, and what its log keeps quiet."""

import contextlib
import http.client
import json
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts.models import Team
from console.postgres import running
from gateway.catalogue import add_engine, import_models
from tests.engines.faultd import FaultEngine
from tests.factories import make_key
from tests.server import LiveServer

pytestmark = pytest.mark.django_db(transaction=True)

DRIP = "fault:drip?n=40&gap=50"  # two seconds
ENDLESS = "fault:drip?n=4000&gap=50"
LONG = "fault:ok?n=100000"  # 20 MB


@pytest.fixture
def engine() -> Iterator[FaultEngine]:
    with FaultEngine() as running_engine:
        made = add_engine(name="faults", type="openai", url=running_engine.url)
        import_models(engine=made, only=[DRIP, ENDLESS, LONG])
        yield running_engine


@pytest.fixture
def key(red: Team) -> str:
    return make_key(red).secret


def get(server: LiveServer, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path, headers={"host": f"localhost:{server.port}", **headers})
    answer = connection.getresponse()
    answer.body = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


def ask(server: LiveServer, key: str, model: str, *, status: int = 200) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "the prompt's canary"}]}
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json", "connection": "close"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    assert answer.status == status
    return answer


@pytest.mark.spec("F22", "R11")
def test_a_drain_lets_answers_end_and_refuses_new_calls(engine: FaultEngine, key: str) -> None:
    with LiveServer() as server:
        answers = [ask(server, key, DRIP) for _ in range(5)]
        bodies: list[bytes] = []
        readers = [threading.Thread(target=lambda a=answer: bodies.append(a.read())) for answer in answers]
        for reader in readers:
            reader.start()
        server.signal(signal.SIGTERM)
        server.wait_for(503)
        refused = get(server, "/v1/models", authorization=f"Bearer {key}")
        page = get(server, "/account/login/")
        for reader in readers:
            reader.join()
        assert server.wait() == 0
    assert [answer.status for answer in answers] == [200] * 5
    assert [body.rstrip().endswith(b"data: [DONE]") for body in bodies] == [True] * 5
    assert (refused.status, refused.headers["retry-after"], refused.headers["connection"]) == (503, "5", "close")
    assert page.status == 503


@pytest.mark.spec("F22")
def test_a_drain_ends_when_its_time_is_over(engine: FaultEngine, key: str) -> None:
    with LiveServer(DRAIN_SECONDS="1") as server:
        answer = ask(server, key, ENDLESS)
        server.signal(signal.SIGTERM)
        body = answer.read()
        assert server.wait() == 0
    assert b"[DONE]" not in body
    assert b'"error"' in body


@pytest.mark.spec("F22")
def test_a_second_signal_stops_at_once(engine: FaultEngine, key: str) -> None:
    with LiveServer(DRAIN_SECONDS="600") as server:
        answer = ask(server, key, ENDLESS)
        server.signal(signal.SIGTERM)
        server.wait_for(503)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        answer.close()


@pytest.mark.spec("F15", "R12")
def test_readyz_and_pages_wait_for_the_database_and_need_no_restart() -> None:
    with tempfile.TemporaryDirectory(prefix="tertulia-late-", ignore_cleanup_errors=True) as folder:
        data = Path(folder)
        data.chmod(0o711)
        with running(data) as database:
            sockets = database.sockets
        url = f"postgres://tertulia@/tertulia?host={sockets}"
        with LiveServer(ready=False, DATABASE_URL=url) as server:
            server.wait_for(503)
            assert get(server, "/healthz").status == 200
            page = get(server, "/account/login/", cookie="session=0123456789abcdef0123456789abcdef")
            assert (page.status, page.headers["retry-after"]) == (503, "5")
            assert "The database cannot be reached" in page.body.decode()  # type: ignore[attr-defined]
            with running(data):
                server.manage("migrate", "--verbosity=0")
                server.wait_for(200)
            server.wait_for(503)
            assert server.terminate() == 0


@pytest.mark.spec("S13")
@pytest.mark.parametrize(
    ("name", "value"), [("SECRET_KEY", ""), ("SECRET_KEY", "changeme" * 8), ("SECRET_KEY", "short"), ("DEBUG", "1")]
)
def test_serve_refuses_what_is_not_safe_and_names_it(name: str, value: str) -> None:
    server = LiveServer(**{name: value})
    refused = server.manage("serve", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(name)
    assert "Traceback" not in refused.stderr


def test_a_taken_port_is_one_sentence() -> None:
    with LiveServer() as server:
        second = server.manage("serve", check=False)
    assert second.returncode == 1
    assert "cannot listen" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.spec("R21")
def test_half_a_head_is_not_held_open() -> None:
    with LiveServer() as server, socket.create_connection(("127.0.0.1", server.port)) as half:
        half.settimeout(30)
        half.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow")
        with contextlib.suppress(ConnectionResetError):
            assert half.recv(100) == b""


@pytest.mark.spec("F28", "R20")
def test_a_caller_who_does_not_read_holds_the_engine_back_and_loses_nothing(engine: FaultEngine, key: str) -> None:
    with LiveServer() as server:
        answer = ask(server, key, LONG)
        exchange = engine.requests[-1]
        seen: list[int] = []
        engine.wait_for(lambda: _has_settled(seen, exchange.deltas), seconds=60)
        held = exchange.deltas
        body = answer.read()
    assert held < 100_000
    assert body.count(b'"content": "word') == 100_000
    assert body.endswith(b"data: [DONE]\n\n")


def _has_settled(seen: list[int], now: int) -> bool:
    """Nothing has moved for two hundred looks, two seconds."""
    seen.append(now)
    return len(seen) > 200 and seen[-1] == seen[-200] > 0


@pytest.mark.spec("S15", "F28")
def test_a_body_without_end_is_taken_in_no_further_than_its_limit(key: str) -> None:
    with LiveServer(MAX_BODY="1000000") as server:
        before = _memory(server)
        answer = _post_chunked(server, key, pieces=64, size=1 << 20)
        grown = _memory(server) - before
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code": "request_too_large"' in answer
    assert grown < 32 << 20


def _post_chunked(server: LiveServer, key: str, *, pieces: int, size: int) -> bytes:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        caller.settimeout(60)
        caller.sendall(f"{head}connection: close\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for _ in range(pieces):
            caller.sendall(b"%x\r\n%s\r\n" % (size, b" " * size))
        caller.sendall(b"0\r\n\r\n")
        return b"".join(iter(lambda: caller.recv(65536), b""))


def _memory(server: LiveServer) -> int:
    """Resident bytes."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@pytest.mark.spec("S10")
def test_pages_carry_the_headers_that_protect_them() -> None:
    with LiveServer() as server:
        page = get(server, "/account/login/")
        style = get(server, _a_style_sheet(page.body))  # type: ignore[attr-defined]
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == style.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["cross-origin-opener-policy"] == "same-origin"
    assert "no-store" in page.headers["cache-control"]
    assert "immutable" in style.headers["cache-control"]
    assert "access-control-allow-origin" not in style.headers
    assert len(page.headers["x-request-id"]) == 32


def _a_style_sheet(page: bytes) -> str:
    return page.decode().partition('rel="stylesheet" href="')[2].partition('"')[0]


@pytest.mark.spec("S14")
def test_the_log_knows_ids_and_neither_keys_nor_prompts(engine: FaultEngine, key: str) -> None:
    unknown = f"{key[:-1]}{'0' if key[-1] != '0' else '1'}"
    with LiveServer() as server:
        ask(server, key, DRIP).read()
        ask(server, unknown, DRIP, status=401).read()
        page = get(server, "/account/login/", authorization=f"Bearer {key}")
        server.terminate()
        log = server.log()
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert page.headers["x-request-id"] in {line.get("request_id") for line in lines}
    for secret in (key, unknown, "canary"):
        assert secret not in log
