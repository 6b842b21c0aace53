"""kill -9 while calls are refused: each refusal that a client was told of is counted, and none twice."""

import http.client
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db.models import Sum

from accounts.models import Team
from billing.ledger.refusals import differing
from billing.models import Refusal, RefusedQuarter
from tests.factories import make_key
from tests.server import LiveServer

ROUNDS = 3
CALLERS = 3


@pytest.fixture
def server(transactional_db: None) -> Iterator[LiveServer]:
    with tempfile.TemporaryDirectory(prefix="tertulia-refused-") as folder:
        Path(folder, "static").mkdir()
        with LiveServer(data=Path(folder), SPOOL_ROTATE="0.3") as running:
            yield running


class Load:
    """Clients that are refused until told to stop."""

    def __init__(self, port: int, key: str) -> None:
        self.sent, self.told = 0, list[str]()
        self._port, self._key, self._stopping, self._lock = port, key, threading.Event(), threading.Lock()

    def __enter__(self) -> "Load":
        self._threads = [threading.Thread(target=self._call_on) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _call_on(self) -> None:
        body = json.dumps({"model": "absent", "messages": [{"role": "user", "content": "hi"}]})
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._stopping.is_set():
            try:
                with self._lock:
                    self.sent += 1
                connection.request("POST", "/v1/chat/completions", body, headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                time.sleep(0.02)
                continue
            if answer.status == 404:
                with self._lock:
                    self.told.append(answer.headers["x-request-id"])
        connection.close()


def summed() -> int:
    return int(RefusedQuarter.objects.aggregate(total=Sum("count"))["total"] or 0)


@pytest.mark.timeout(180)
@pytest.mark.spec("F20", "F39")
def test_kill_9_while_refusing_loses_no_refusal_and_counts_none_twice(server: LiveServer, red: Team) -> None:
    key = make_key(red).secret
    sent, told = 0, list[str]()
    for _ in range(ROUNDS):
        with Load(server.port, key) as load:
            time.sleep(1.5)  # several files of the spool
            server.kill()
        sent += load.sent
        told += load.told
        server.start()
    deadline = time.monotonic() + 20
    while summed() < len(told) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert server.terminate() == 0
    assert len(told) <= summed() <= sent
    assert len(told) > 100 * ROUNDS
    alone = {str(pk) for pk in Refusal.objects.filter(count=1).values_list("pk", flat=True)}
    assert len(alone & set(told)) >= 100
    assert Refusal.objects.count() < sent
    assert differing() == 0
