"""One answer of /v1 going out: its headers, its frames, its errors."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from functools import lru_cache
from typing import Any

from gateway.allowances import RATES
from gateway.completions import Call, Events, Head
from gateway.dialects import OPENAI
from gateway.errors import GatewayError, MethodNotAllowed, OverLimit

type Message = MutableMapping[str, Any]
type Send = Callable[[Message], Awaitable[None]]
type Headers = list[tuple[bytes, bytes]]

PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
STREAM: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
LONGEST_LIST = 1000  # characters of the ignored fields' names: callers choose them, and servers on the way refuse much
OURS = ("x-request-id", "id", "backend", "server-timing", "retry-after", "x-tertulia-ignored", *RATES)
EXPOSED = ", ".join(OURS).encode()


class Reply:
    """The headers wait for the engine's first event, or for the first heartbeat."""

    def __init__(self, call: Call, send: Send) -> None:
        self.call = call
        self.dialect = OPENAI
        self.origin = b""  # of the page that may read the answer; empty: not called from a page
        self._send = send
        self._began = asyncio.get_running_loop().time()
        self._streams = False  # whether a 200 with an event stream has begun
        self.told = False  # whether anything of an answer went out
        self._ended = False
        self._head: Head | None = None
        self._last = 0.0

    async def answer(self, head: Head, body: bytes) -> None:
        self._head, self.told = head, True
        await self.whole(200, body)

    async def part(self, part: Head | Events) -> None:
        match part:
            case Events(data=data):
                self.told = True
                await self._body(b"data: " + b"\n\ndata: ".join(data) + b"\n\n")
            case Head():
                self._head = part
                await self._begin_stream()

    def keep_alive(self, seconds: float) -> Callable[[], None]:
        """Comments whenever nothing else goes out, so that no proxy on the way thinks the connection dead.

        Until the function that it gives is called.
        """
        loop = asyncio.get_running_loop()
        beats: list[asyncio.Task[None]] = []
        self._last = loop.time()
        first = loop.call_later(seconds, lambda: beats.append(loop.create_task(self._beat(seconds))))

        def stop() -> None:
            first.cancel()
            for beat in beats:
                beat.cancel()

        return stop

    async def _beat(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if loop.time() >= self._last + seconds:
                await self._begin_stream()
                await self._body(PING)
            await asyncio.sleep(self._last + seconds - loop.time())

    async def done(self) -> None:
        if self._streams:
            await self._body(DONE, more=False)

    async def json(self, value: object) -> None:
        await self.whole(200, json.dumps(value, ensure_ascii=False).encode())

    async def fail(self, error: GatewayError) -> None:
        """An HTTP error, or, once a stream has begun, an error event and no [DONE]."""
        if self._ended:
            return
        body = json.dumps(self.dialect.body(error)).encode()
        if self._streams:
            await self._body(b"data: " + body + b"\n\n", more=False)
            return
        more: Headers = []
        if error.retry_after is not None:
            more.append((b"retry-after", str(error.retry_after).encode()))
        if isinstance(error, OverLimit):
            more += error.headers
        if isinstance(error, MethodNotAllowed):
            more.append((b"allow", error.allowed.encode()))
        if error.status == 401:
            more.append((b"www-authenticate", b"Bearer"))
        if not error.retry:
            more.append((b"x-should-retry", b"false"))
        await self.whole(self.dialect.status(error), body, more)

    async def whole(self, status: int, body: bytes, more: Collection[tuple[bytes, bytes]] = ()) -> None:
        headers: Headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            *more,
        ]
        await self._start(status, headers)
        await self._body(body, more=False)

    async def _begin_stream(self) -> None:
        if not self._streams:
            self._streams = True
            await self._start(200, list(STREAM))

    async def _start(self, status: int, headers: Headers) -> None:
        name = str(self.call.request.id).encode()
        headers += [(b"x-request-id", name), (b"id", name), (b"x-content-type-options", b"nosniff")]
        if (engine := self.call.engine) is not None:
            headers.append((b"backend", _backend(engine.type, engine.machine_name)))
        if self.call.admission is not None:
            headers += self.call.admission.headers
        if self._head is not None:
            headers.append((b"server-timing", self._timing(self._head)))
            if self._head.ignored:
                headers.append((b"x-tertulia-ignored", _header(", ".join(self._head.ignored)[:LONGEST_LIST])))
        if self.origin:
            headers += [(b"access-control-allow-origin", self.origin), (b"vary", b"origin")]
            headers.append((b"access-control-expose-headers", EXPOSED))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def _timing(self, head: Head) -> bytes:
        """Milliseconds. How long the whole took is known of an answer in one piece alone."""
        told = f"queue;dur={head.queue_ms}, connect;dur={head.connect_ms}"
        if not self._streams:
            total = round((asyncio.get_running_loop().time() - self._began) * 1000)
            told += f", ttft;dur={head.queue_ms + head.connect_ms}, total;dur={total}"
        return told.encode()

    async def _body(self, data: bytes, *, more: bool = True) -> None:
        self._ended = self._ended or not more
        self._last = asyncio.get_running_loop().time()
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


@lru_cache(maxsize=256)
def _backend(engine_type: str, machine_name: str) -> bytes:
    return _header(f"engine_type={engine_type}; machine_name={machine_name}")


def _header(text: str) -> bytes:
    """Text for a header: Latin letters, no control characters."""
    return printable(text).encode("latin-1", "replace")


def printable(text: str) -> str:
    return text if text.isprintable() else "".join(sign for sign in text if sign.isprintable())
