"""/v1: an ASGI application of its own beside Django's request cycle, several times cheaper per request.

Both slash forms of every address are served, never with a redirect: clients turn a redirected POST into a GET.
Every answer is JSON or a stream of it, errors included, and names the request.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing
from typing import Any

from django.conf import settings

from accounts.callers import Caller
from gateway.auth import authenticate
from gateway.cards import model_card, model_list
from gateway.completions import Answer, Ask, Call, Event, Head, stream
from gateway.errors import GatewayError, MethodNotAllowed, NotFound, ServerError, TooLarge
from gateway.openapi import in_english
from gateway.schemas import json_object, parse_chat, parse_completion

logger = logging.getLogger(__name__)

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Headers = list[tuple[bytes, bytes]]

PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
FLUSH_BYTES = 65_536  # of events that may wait for the caller's side to take the ones before
LARGE = 65_536  # bytes of a body that take a while to parse
ASKS: Mapping[str, Callable[[dict[str, Any]], Ask]] = {
    "/v1/chat/completions": parse_chat,
    "/v1/completions": parse_completion,
}


class Gone(Exception):
    """The caller left before his request was read."""


async def application(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    call = Call()
    headers = dict(reversed(scope["headers"]))
    call.client_request_id = _label(headers.get(b"x-request-id", b""))
    reply = Reply(call, send)
    try:
        await _answer(scope, headers, receive, reply)
    except Gone:
        return
    except GatewayError as error:
        await reply.fail(error)
    except Exception:
        logger.exception("A request of /v1 failed", extra={"request_id": str(call.request.id)})
        await reply.fail(ServerError("Something went wrong here. Tell the operator the request id."))


async def _answer(scope: Mapping[str, Any], headers: Mapping[bytes, bytes], receive: Receive, reply: "Reply") -> None:
    path, method = scope["path"].rstrip("/"), scope["method"]
    parse = ASKS.get(path)
    if parse is not None:
        _allow(method, "POST")
        caller = await authenticate(headers)
        ask = await _understood(await _read(headers, receive), headers.get(b"content-type", b""), parse)
        await _complete(caller, ask, receive, reply)
    elif path == "/v1/models":
        _allow(method, "GET")
        await reply.json(model_list(await authenticate(headers)))
    elif path.startswith("/v1/models/"):
        _allow(method, "GET")
        await reply.json(model_card(await authenticate(headers), path.removeprefix("/v1/models/")))
    elif path == "/v1/openapi.json":
        _allow(method, "GET")
        await reply.json(in_english())
    else:
        raise NotFound(f"There is nothing at {scope['path'][:200]}.", code="unknown_url")


def _allow(method: str, allowed: str) -> None:
    if method != allowed:
        raise MethodNotAllowed(f"Use {allowed} here.")


async def _read(headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """The whole body. Raises TooLarge as soon as it is, and Gone when the caller leaves first."""
    most: int = settings.ENVIRONMENT.max_body
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > most:
        raise _too_large(most)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body += message.get("body", b"")
        if len(body) > most:
            raise _too_large(most)
        if not message.get("more_body"):
            return bytes(body)


async def _understood(raw: bytes, content_type: bytes, parse: Callable[[dict[str, Any]], Ask]) -> Ask:
    """What the caller asks. A large body is read in a thread, so that others are answered meanwhile."""

    def understand() -> Ask:
        return parse(json_object(raw, content_type))

    return understand() if len(raw) <= LARGE else await asyncio.to_thread(understand)


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"The body is larger than {most} bytes.")


async def _complete(caller: Caller, ask: Ask, receive: Receive, reply: "Reply") -> None:
    """Answers, and stops the engine as soon as the caller has left."""
    watcher = Watcher(receive)
    reply.streamed = ask.stream
    heart = asyncio.create_task(reply.beat(settings.ENVIRONMENT.heartbeat_after)) if ask.stream else None
    try:
        async with aclosing(stream(caller, ask, reply.call)) as parts:
            async for part in parts:
                await reply.part(part)
        await reply.done()
    except asyncio.CancelledError:
        reply.leave()
        if not watcher.saw_leave:
            raise
    finally:
        watcher.stop()
        if heart is not None:
            heart.cancel()


class Watcher:
    """Waits for the caller to leave, and cancels the task that answers him: servers tell only those who listen."""

    def __init__(self, receive: Receive) -> None:
        self.saw_leave = False
        self._task, self._receive = asyncio.current_task(), receive
        self._watch = asyncio.create_task(self._look())

    def stop(self) -> None:
        self._watch.cancel()

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.saw_leave = True
        if self._task is not None:
            self._task.cancel()


class Reply:
    """One answer going out. The headers wait for the engine's first event, or for the first heartbeat."""

    def __init__(self, call: Call, send: Send) -> None:
        self.call = call
        self.streamed = False  # whether the caller asked for a stream
        self._send = send
        self._streams = False  # whether a 200 with an event stream has begun
        self._ended = False
        self._head: Head | None = None
        self._last = 0.0
        self._frames: list[bytes] = []  # events on their way to the wire
        self._waiting = 0  # bytes of them
        self._flushing: asyncio.Task[None] | None = None

    async def part(self, part: object) -> None:
        match part:
            case Event(data=data):
                await self._event(b"data: " + data + b"\n\n")
            case Head():
                self._head = part
                if self.streamed:
                    await self._begin_stream()
            case Answer(body=body):
                await self._whole(200, body)

    async def beat(self, seconds: float) -> None:
        """Comments while nothing else goes out, so that no proxy on the way thinks the connection dead."""
        loop = asyncio.get_running_loop()
        self._last = loop.time()
        while True:
            await asyncio.sleep(self._last + seconds - loop.time())
            if loop.time() >= self._last + seconds:
                await self._begin_stream()
                await self._body(PING)

    async def _event(self, frame: bytes) -> None:
        """Events that the engine sent together leave together: a message to the server costs more than an event."""
        self._frames.append(frame)
        self._waiting += len(frame)
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        elif self._waiting > FLUSH_BYTES:
            await self._flushing

    async def _flush(self) -> None:
        try:
            while frames := self._taken():
                await self._body(frames)
        finally:
            self._flushing = None

    def _taken(self) -> bytes:
        frames = b"".join(self._frames)
        self._frames.clear()
        self._waiting = 0
        return frames

    async def _end_stream(self, last: bytes) -> None:
        frames = self._taken()
        if self._flushing is not None:
            await self._flushing
        await self._body(frames + last, more=False)

    def leave(self) -> None:
        """Nobody reads any more."""
        if self._flushing is not None:
            self._flushing.cancel()

    async def done(self) -> None:
        if self._streams:
            await self._end_stream(DONE)

    async def json(self, value: object) -> None:
        await self._whole(200, json.dumps(value, ensure_ascii=False).encode())

    async def fail(self, error: GatewayError) -> None:
        """An HTTP error, or, once a stream has begun, an error event and no [DONE]."""
        if self._ended:
            return
        if self._streams:
            await self._end_stream(b"data: " + error.body() + b"\n\n")
            return
        more: Headers = []
        if error.retry_after is not None:
            more.append((b"retry-after", str(error.retry_after).encode()))
        if error.status == 401:
            more.append((b"www-authenticate", b"Bearer"))
        await self._whole(error.status, error.body(), more)

    async def _begin_stream(self) -> None:
        if self._streams:
            return
        self._streams = True
        headers: Headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
        ]
        await self._start(200, headers)

    async def _whole(self, status: int, body: bytes, more: Headers | None = None) -> None:
        headers: Headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            *(more or []),
        ]
        await self._start(status, headers)
        await self._body(body, more=False)

    async def _start(self, status: int, headers: Headers) -> None:
        name = str(self.call.request.id).encode()
        headers += [(b"x-request-id", name), (b"id", name), (b"x-content-type-options", b"nosniff")]
        if self._head is not None:
            backend = f"engine_type={self._head.engine_type}; machine_name={self._head.machine_name}"
            headers.append((b"backend", _header(backend)))
            if self._head.ignored:
                headers.append((b"x-tertulia-ignored", _header(", ".join(self._head.ignored))))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, data: bytes, *, more: bool = True) -> None:
        self._ended = self._ended or not more
        self._last = asyncio.get_running_loop().time()
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


def _header(text: str) -> bytes:
    """Text for a header: Latin letters, no control characters."""
    return "".join(sign for sign in text if sign.isprintable()).encode("latin-1", "replace")


def _label(given: bytes) -> str:
    """The caller's own name for the request, as far as a log can hold it."""
    return "".join(sign for sign in given.decode("latin-1") if sign.isprintable())[:200]
