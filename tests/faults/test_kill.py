"""kill -9 under load: nothing that a client saw is lost, nothing is counted twice, and the next start finds all."""

import http.client
import json
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.engines.faultd import FaultEngine
from tests.server import LiveServer

ROUNDS = int(os.environ.get("KILL_ROUNDS", "5"))
ROTATE = 0.3  # seconds of a spool file's life
LONG = "fault:drip?n=400&gap=25"  # ten seconds: thirty files
SHORT = "fault:ok?n=5"
CALLERS = 4  # of each kind
LAST_DELTAS = 60  # progress is written once a second, and a delta comes every 25 ms


@dataclass
class Seen:
    """What one client knows of one request."""

    request_id: str
    stream: bool
    tokens: int = 0  # content deltas that arrived
    whole: bool = False  # the end arrived


@dataclass
class Load:
    """Clients that call until told to stop."""

    port: int
    key: str
    seen: list[Seen] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Load":
        models = [LONG, SHORT] * CALLERS
        self.threads = [threading.Thread(target=self._call_on, args=(model,)) for model in models]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def _call_on(self, model: str) -> None:
        stream = model == LONG
        while not self.stopping.is_set():
            try:
                self._call(model, stream)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)

    def _call(self, model: str, stream: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "how are you"}]}
        try:
            connection.request(
                "POST",
                "/v1/chat/completions",
                json.dumps(body),
                {"authorization": f"Bearer {self.key}", "content-type": "application/json"},
            )
            answer = connection.getresponse()
            if answer.status != 200:
                answer.read()
                return
            seen = Seen(answer.headers["x-request-id"], stream)
            self.seen.append(seen)
            if stream:
                self._read_events(answer, seen)
            else:
                answer.read()
                seen.whole = True
        finally:
            connection.close()

    def _read_events(self, answer: http.client.HTTPResponse, seen: Seen) -> None:
        for line in answer:
            if line.strip() == b"data: [DONE]":
                seen.whole = True
            elif line.startswith(b"data: {"):
                choices = json.loads(line[6:]).get("choices") or [{}]
                seen.tokens += bool(choices[0].get("delta", {}).get("content"))


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tertulia-kill-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # the database server's account passes through
        yield Path(folder)


@pytest.fixture
def server(data: Path, transactional_db: None) -> Iterator[LiveServer]:
    with LiveServer("start", data=data, SPOOL_ROTATE=str(ROTATE), DRAIN_SECONDS="1") as running:
        yield running


@pytest.mark.timeout(60 + 30 * ROUNDS)
@pytest.mark.spec("F20", "F21", "R23")
def test_kill_9_under_load_loses_nothing_and_counts_nothing_twice(server: LiveServer) -> None:
    with FaultEngine() as engine:
        key = _prepare(server, engine.url)
        seen: list[Seen] = []
        for _ in range(ROUNDS):
            with Load(server.port, key) as load:
                time.sleep(random.uniform(1.5, 3.5))  # longer than several spool files
                server.kill()
            seen += load.seen
            server.start()
        rows = _rows_once_shipped(server, {one.request_id for one in seen})
    assert server.terminate() == 0
    _check(seen, rows)
    audit = server.manage("usage_audit", check=False)
    assert audit.returncode == 0, audit.stdout + audit.stderr


def _prepare(server: LiveServer, engine: str) -> str:
    server.manage(
        "add_engine", "--name", "faults", "--type", "openai", "--url", engine, "--model", LONG, "--model", SHORT
    )
    slug = server.manage("create_team", "--name", "Load", "--owner", "owner@example.org").stdout.strip()
    return server.manage("create_key", "--team", slug, "--name", "load").stdout.strip()


def _rows_once_shipped(server: LiveServer, wanted: set[str]) -> list[dict[str, Any]]:
    """The log once every request that a client saw stands in it; a missing one is for the oracle to complain of."""
    deadline = time.monotonic() + 20
    while True:
        days = ("--from", "2020-01-01", "--to", "2100-01-01")
        rows = json.loads(server.manage("usage_export", "--team", "load", *days, "--format", "json").stdout)
        if wanted <= {row["request_id"] for row in rows} or time.monotonic() > deadline:
            return list(rows)
        time.sleep(0.5)


def _check(seen: list[Seen], rows: list[dict[str, Any]]) -> None:
    counts = Counter(row["request_id"] for row in rows)
    by_id = {row["request_id"]: row for row in rows}
    assert {request_id: n for request_id, n in counts.items() if n != 1} == {}
    whole, cut = [one for one in seen if one.whole], [one for one in seen if not one.whole]
    assert len(whole) >= ROUNDS
    assert len([one for one in cut if one.stream]) >= ROUNDS
    assert [one for one in seen if one.request_id not in counts] == []
    assert [(one, by_id[one.request_id]) for one in whole if by_id[one.request_id]["outcome"] != "ok"] == []
    for one in (one for one in cut if one.stream):
        row = by_id[one.request_id]
        assert row["outcome"] == "interrupted", (one, row)
        assert row["completion_source"] == "counted", (one, row)
        assert row["completion_tokens"] > 0, (one, row)
        assert abs(row["completion_tokens"] - one.tokens) <= LAST_DELTAS, (one, row)
