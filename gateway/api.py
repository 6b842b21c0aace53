"""/v1: an ASGI application of its own beside Django's request cycle, several times cheaper per request.

Both slash forms of every address are served, never with a redirect: clients turn a redirected POST into a GET.
Every answer is JSON or a stream of it, errors included, and names the request.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from django.conf import settings

from accounts.callers import Caller
from gateway import organization, refused
from gateway.auth import authenticate
from gateway.cards import model_card, model_list
from gateway.completions import Call, answer, stream
from gateway.consumption import consumption
from gateway.dialects import DIALECTS, Dialect
from gateway.errors import GatewayError, MethodNotAllowed, NotFound, ServerError, TooLarge
from gateway.idempotency import once
from gateway.openapi import in_english
from gateway.reply import Headers, Message, Reply, Send, printable
from gateway.schemas import Ask, json_object, parse_chat, parse_completion, parse_embedding

logger = logging.getLogger(__name__)

type Receive = Callable[[], Awaitable[Message]]
type Parse = Callable[[dict[str, Any], Dialect], Ask]

LARGE = 65_536  # bytes of a body that take a while to parse
ASKS: Mapping[str, Parse] = {
    "/v1/chat/completions": parse_chat,
    "/v1/completions": parse_completion,
    "/v1/embeddings": parse_embedding,
}
ENDPOINTS = {path: path.removeprefix("/v1/").replace("/", ".") for path in ASKS}
MODELS = "/v1/models"
USAGE = "/v1/usage"
OPENAPI = "/v1/openapi.json"
ADMIN = "/api"  # before the address of what is read with an admin key, and nothing else


class Gone(Exception):
    """The caller left before his request was read."""


async def application(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    call = Call()
    headers = dict(reversed(scope["headers"]))
    call.client_request_id = _label(headers.get(b"x-request-id", b""))
    reply = Reply(call, send)
    reply.origin = _page(headers)
    try:
        await _answer(scope, headers, receive, reply)
    except Gone:
        return
    except GatewayError as error:
        await refuse(reply, error)
    except Exception:
        logger.exception("A request of /v1 failed", extra={"request_id": str(call.request.id)})
        await refuse(reply, ServerError("Something went wrong here. Tell the operator the request id."))


async def refuse(reply: Reply, error: GatewayError) -> None:
    refused.note(reply.call, error, status=reply.dialect.status(error))
    await reply.fail(error)


async def _answer(scope: Mapping[str, Any], headers: Mapping[bytes, bytes], receive: Receive, reply: Reply) -> None:
    path, method = scope["path"].removeprefix(ADMIN).rstrip("/"), scope["method"]
    if method == "OPTIONS" and reply.origin:
        await reply.whole(204, b"", PREFLIGHT)
    elif path in ASKS:
        _allow(method, "POST")
        await answer_as(await _known(headers, reply), path, headers, receive, reply)
    elif path == MODELS:
        _allow(method, "GET")
        reply.call.endpoint = "models"
        await reply.json(model_list(await _known(headers, reply)))
    elif path.startswith(f"{MODELS}/"):
        _allow(method, "GET")
        reply.call.endpoint, reply.call.model = "models", path.removeprefix(f"{MODELS}/")
        await reply.json(model_card(await _known(headers, reply), reply.call.model))
    elif path == USAGE:
        _allow(method, "GET")
        reply.call.endpoint = "usage"
        await reply.json(await consumption(await _known(headers, reply)))
    elif (name := path.removeprefix(organization.PREFIX)) in organization.REPORTS:
        _allow(method, "GET")
        await reply.whole(200, await organization.report(name, headers, scope["query_string"]))
    elif path == OPENAPI:
        _allow(method, "GET")
        await reply.json(in_english())
    else:
        raise NotFound(f"There is nothing at {scope['path'][:200]}.", code="unknown_url")


async def answer_as(caller: Caller, path: str, headers: Mapping[bytes, bytes], receive: Receive, reply: Reply) -> None:
    """Answers one of ASKS for a caller who is known. Whoever calls it gives a GatewayError to `refuse`."""
    reply.call.caller, reply.call.endpoint = caller, ENDPOINTS[path]
    raw = await _read(headers, receive)
    ask = await _understood(raw, headers.get(b"content-type", b""), ASKS[path], reply.dialect)
    reply.call.model = ask.model
    name = headers.get(b"idempotency-key")
    if name is None:
        await _complete(caller, ask, receive, reply)
        return
    async with once(name, caller, path, raw, reply.call, told=lambda: reply.told):
        await _complete(caller, ask, receive, reply)


async def _known(headers: Mapping[bytes, bytes], reply: Reply) -> Caller:
    caller = await authenticate(headers)
    reply.call.caller = caller
    reply.dialect = DIALECTS[caller.dialect]
    return caller


def _allow(method: str, allowed: str) -> None:
    if method != allowed:
        raise MethodNotAllowed(allowed)


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


async def _understood(raw: bytes, content_type: bytes, parse: Parse, dialect: Dialect) -> Ask:
    """What the caller asks. A large body is read in a thread, so that others are answered meanwhile."""

    def understand() -> Ask:
        return parse(json_object(raw, content_type), dialect)

    return understand() if len(raw) <= LARGE else await asyncio.to_thread(understand)


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"The body is larger than {most} bytes.")


async def _complete(caller: Caller, ask: Ask, receive: Receive, reply: Reply) -> None:
    """Answers, and stops the engine as soon as the caller has left."""
    watcher = Watcher(receive)
    try:
        if ask.stream:
            await _stream(caller, ask, reply)
        else:
            await reply.answer(*await answer(caller, ask, reply.call))
    except asyncio.CancelledError:
        if not watcher.saw_leave:
            raise
    finally:
        watcher.stop()


async def _stream(caller: Caller, ask: Ask, reply: Reply) -> None:
    stop_beating = reply.keep_alive(settings.ENVIRONMENT.heartbeat_after)
    try:
        async with aclosing(stream(caller, ask, reply.call)) as parts:
            async for part in parts:
                await reply.part(part)
        await reply.done()
    finally:
        stop_beating()


class Watcher:
    """Waits for the caller to leave, and cancels the task that answers him: servers tell only those who listen."""

    def __init__(self, receive: Receive) -> None:
        self.saw_leave = False
        self._task, self._receive = asyncio.current_task(), receive
        # Begun at once, it listens before the engine is asked, and costs no round of the event loop.
        self._watch = asyncio.Task(self._look(), loop=asyncio.get_running_loop(), eager_start=True)

    def stop(self) -> None:
        self._watch.cancel()

    async def _look(self) -> None:
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            return  # a task that ends in an exception keeps its frames in a cycle, for the garbage collector to find
        self.saw_leave = True
        if self._task is not None:
            self._task.cancel()


PREFLIGHT: Headers = [
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"*, authorization"),
    (b"access-control-max-age", b"600"),
]


def _page(headers: Mapping[bytes, bytes]) -> bytes:
    """The origin of the page that calls, if pages from there may: see CORS_ORIGINS."""
    allowed: tuple[str, ...] = settings.ENVIRONMENT.cors_origins
    origin = headers.get(b"origin", b"")
    return origin if allowed and origin.decode("latin-1") in allowed else b""


def _label(given: bytes) -> str:
    """The caller's own name for the request, as far as a log can hold it."""
    return printable(given.decode("latin-1"))[:200]
