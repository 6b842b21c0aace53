"""Those who call the API over real sockets, and what each of them saw."""

import contextlib
import http.client
import itertools
import json
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

from tests.faults.cast import MODEL

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Way:
    """How a caller calls. `says` begins the prompt: what the fault engine plays, such as `fault:drip?n=20`.

    `leave_after`: so many deltas, and the caller hangs up. `leave_at`: so many seconds after the call. `reads` False:
    he never reads the answer. `more` are fields of the request's body.
    """

    says: str = "fault:ok?n=5"
    model: str = MODEL
    key: str = "red"
    stream: bool = True
    server: int = 0
    leave_after: int | None = None
    leave_at: float | None = None
    reset: bool = False  # leaves with a TCP reset
    patience: float = 60.0  # seconds between two bytes
    headers: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


@dataclass
class Seen:
    """What one caller knows of one call. Times are of `time.monotonic`."""

    way: Way
    label: str  # his own name for it: the log has it, and the engine in the prompt
    status: int = 0  # 0: no head of an answer came
    headers: dict[str, str] = field(default_factory=dict)
    request_id: str = ""
    body: bytes = b""
    texts: list[str] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)  # of the deltas
    whole: bool = False  # the answer's end came
    error: dict[str, Any] = field(default_factory=dict)  # of the body, or of an event
    cut: bool = False  # the connection ended before the answer
    began_at: float = field(default_factory=time.monotonic)
    ended_at: float = 0.0

    @property
    def deltas(self) -> int:
        return len(self.arrivals)

    @property
    def seconds(self) -> float:
        return self.ended_at - self.began_at

    @property
    def longest_gap(self) -> float:
        """Seconds between two deltas."""
        return max((later - earlier for earlier, later in itertools.pairwise(self.arrivals)), default=0.0)


class Caller:
    """One call, carried out by `run`, which never raises for what the server does."""

    def __init__(self, port: int, secret: str, way: Way, seen: Seen) -> None:
        self._way, self._seen = way, seen
        self._secret = secret
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=way.patience)

    def run(self) -> Seen:
        try:
            self._ask()
            self._hear()
        except (OSError, http.client.HTTPException, _Left):
            self._seen.cut = not self._seen.whole
        finally:
            self._seen.ended_at = time.monotonic()
            self._hang_up()
        return self._seen

    def _ask(self) -> None:
        way, label = self._way, self._seen.label
        prompt = {"role": "user", "content": f"{way.says} {label}"}
        body = {"model": way.model, "stream": way.stream, "messages": [prompt], **way.more}
        headers = {
            "authorization": f"Bearer {self._secret}",
            "content-type": "application/json",
            "x-request-id": label,
            "connection": "close",
            **way.headers,
        }
        self._connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)

    def _hear(self) -> None:
        way, seen = self._way, self._seen
        if way.leave_at is not None:
            self._socket().settimeout(way.leave_at)
        answer = self._connection.getresponse()
        seen.status = answer.status
        seen.headers = {name.lower(): value for name, value in answer.getheaders()}
        seen.request_id = seen.headers.get("x-request-id", "")
        if answer.status == 200 and "event-stream" in seen.headers.get("content-type", ""):
            self._hear_events(answer)
            return
        seen.body = answer.read()
        seen.whole = answer.status == 200
        with contextlib.suppress(ValueError):
            found = json.loads(seen.body)
            seen.error = found.get("error") or {}
            seen.texts = [choice["message"]["content"] for choice in found.get("choices", [])]

    def _hear_events(self, answer: http.client.HTTPResponse) -> None:
        way, seen = self._way, self._seen
        while line := answer.readline():
            seen.body += line
            if line.strip() == b"data: [DONE]":
                seen.whole = True
            elif line.startswith(b"data: "):
                self._take(line[6:])
            if way.leave_after is not None and seen.deltas >= way.leave_after:
                raise _Left
        seen.cut = not seen.whole

    def _take(self, data: bytes) -> None:
        event = json.loads(data)
        if "error" in event:
            self._seen.error = event["error"]
        for choice in event.get("choices", []):
            if text := choice["delta"].get("content"):
                self._seen.texts.append(text)
                self._seen.arrivals.append(time.monotonic())

    def _socket(self) -> socket.socket:
        found = self._connection.sock
        assert found is not None
        return found

    def _hang_up(self) -> None:
        if self._way.reset and self._connection.sock is not None:
            self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


class _Left(Exception):
    """The caller has had enough."""


def new_seen(way: Way) -> Seen:
    return Seen(way, f"call-{next(_numbers)}")
