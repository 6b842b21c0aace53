"""How engines are reached: the HTTP client they share, and the words for what goes wrong on the wire.

One transport per event loop: httpx's on aiohttp, asked directly, without httpx.AsyncClient around it. What that would
add is unwanted here: cookies kept from one caller to the next, redirects, proxies from the environment; and it costs
as much again as the rest of a request (`bench.gateway`).
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from weakref import WeakKeyDictionary

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from gateway.engines.clock import Clock
from gateway.engines.facts import EngineFacts, Json
from gateway.engines.refusals import refusal
from gateway.errors import BrokenOff, EngineFailed, EngineTimeout, GatewayError, Unavailable, UnreadableAnswer

MAX_ANSWER = 32 << 20  # bytes of an answer that is not streamed
MAX_REFUSAL = 65_536  # bytes of a refusal: enough to know its reason
RETRY_AFTER = 5  # seconds; an engine that is down may be back soon
# Below the five seconds after which uvicorn, and with it vLLM, hangs up on an idle connection: a request that meets
# that moment would be lost.
KEEP_ALIVE = 4

# UnicodeError: of a host that has no name in DNS, and of a key that cannot stand in a header.
WIRE = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, UnicodeError)


_as_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_as_escapes = json.JSONEncoder(separators=(",", ":")).encode


def written(value: object) -> bytes:
    """JSON as UTF-8. Lone surrogates, which UTF-8 cannot hold, make it fall back to escapes."""
    try:
        return _as_text(value).encode()
    except UnicodeEncodeError:
        return _as_escapes(value).encode()


def parsed_object(data: bytes) -> Json | None:
    """The JSON object in these bytes; None if they hold anything else."""
    try:
        found = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


_transports: WeakKeyDictionary[asyncio.AbstractEventLoop, AiohttpTransport] = WeakKeyDictionary()


def transport() -> AiohttpTransport:
    """The running loop's transport, made on first use."""
    loop = asyncio.get_running_loop()
    found = _transports.get(loop)
    if found is None:
        found = _transports[loop] = AiohttpTransport(client=_session, trust_env=False)
    return found


def connected() -> bool:
    """Whether the running loop has asked engines before."""
    return asyncio.get_running_loop() in _transports


async def close_http() -> None:
    """To be called once in each loop that asked engines, at its end."""
    found = _transports.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.aclose()


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    )


class Reading:
    """An engine's answer while it is read."""

    def __init__(self, response: httpx.Response, clock: Clock) -> None:
        self.status = response.status_code
        self.kind = _header(response, b"content-type")
        self.encoding = _header(response, b"content-encoding")
        self._response = response
        self._pieces: AsyncGenerator[bytes] = aiter(response.stream)  # type: ignore[arg-type]
        self._clock = clock

    async def piece(self) -> bytes:
        """What came next, as it came; empty at the end."""
        try:
            return await self._clock.wait(anext(self._pieces))
        except StopAsyncIteration:
            return b""
        except WIRE as error:
            raise wire_error(error) from error

    def header(self, name: bytes) -> str:
        """By its lower-case name; "" without it."""
        return _header(self._response, name).decode("latin-1")

    async def close(self) -> None:
        await self._pieces.aclose()

    async def refused(self) -> bytes:
        """The beginning of a body that says why."""
        body = b""
        with suppress(EngineFailed, EngineTimeout):
            while len(body) <= MAX_REFUSAL and (piece := await self.piece()):
                body += piece
            return body
        return b""


@asynccontextmanager
async def asked(engine: EngineFacts, clock: Clock, path: str, payload: Json | None) -> AsyncGenerator[Reading]:
    """The engine's answer, its body still to come. Its refusals are raised; leaving closes the connection."""
    try:
        response = await clock.wait(transport().handle_async_request(_request(engine, path, payload, clock)))
    except WIRE as error:
        raise wire_error(error) from error
    clock.answered()
    reading = Reading(response, clock)
    try:
        if reading.status != 200:
            raise refusal(engine.secret, response, await reading.refused())
        if reading.encoding not in {b"", b"identity"}:
            raise UnreadableAnswer("The engine sent a compressed answer that nobody asked for.")
        yield reading
    finally:
        with suppress(*WIRE):  # it is being given up, or has been read
            await reading.close()
            await response.aclose()


@asynccontextmanager
async def streamed(
    engine: EngineFacts, clock: Clock, path: str, payload: Json, content_type: bytes
) -> AsyncIterator[Reading]:
    """A streamed answer. One of another content type is read as an error."""
    async with asked(engine, clock, path, payload) as reading:
        if not reading.kind.startswith(content_type):
            body = parsed_object(await reading.refused())
            if body and body.get("error"):
                raise EngineFailed("The engine answered with an error.")
            raise UnreadableAnswer("The engine did not answer with a stream.")
        yield reading


async def read_answer(engine: EngineFacts, clock: Clock, path: str, payload: Json | None) -> bytes:
    """A whole body, of any kind. Raises UnreadableAnswer for one without end."""
    pieces, size = [], 0
    async with asked(engine, clock, path, payload) as reading:
        while piece := await reading.piece():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_ANSWER:
                raise UnreadableAnswer("The engine's answer is too long.")
    return b"".join(pieces)


async def read_page(engine: EngineFacts, clock: Clock, path: str, most: int) -> tuple[Reading, bytes]:
    """A page that no caller asked for, whatever its status. Raises UnreadableAnswer above so many bytes."""
    try:
        response = await clock.wait(transport().handle_async_request(_request(engine, path, None, clock)))
    except WIRE as error:
        raise wire_error(error) from error
    reading, pieces, size = Reading(response, clock), [], 0
    try:
        while piece := await reading.piece():
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise UnreadableAnswer("The engine's answer is too long.")
        return reading, b"".join(pieces)
    finally:
        with suppress(*WIRE):
            await reading.close()
            await response.aclose()


async def read_json(engine: EngineFacts, clock: Clock, path: str, payload: Json | None) -> Json:
    """A whole JSON object. Raises UnreadableAnswer for anything else, EngineFailed for an error in its place."""
    found = parsed_object(await read_answer(engine, clock, path, payload))
    if found is None:
        raise UnreadableAnswer("The engine's answer is not JSON.")
    if found.get("error"):
        raise EngineFailed("The engine answered with an error.")
    return found


def _header(response: httpx.Response, name: bytes) -> bytes:
    """By hand: httpx first looks for the encoding of them all."""
    return next((value.strip() for found, value in response.headers.raw if found.lower() == name), b"")


def wire_error(error: Exception) -> GatewayError:
    """What the libraries raise, in this room's words. The names of httpx's errors lie here; their causes do not."""
    cause = error.__cause__ or error
    if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | UnicodeError):
        return Unavailable("The engine cannot be reached.", retry_after=RETRY_AFTER)
    if isinstance(cause, aiohttp.ServerDisconnectedError):
        return EngineFailed("The engine closed the connection without an answer.")
    return BrokenOff("The engine's answer broke off.")


def _request(engine: EngineFacts, path: str, payload: Json | None, clock: Clock) -> httpx.Request:
    """Given its body as a stream that is read at once, httpx leaves the headers to aiohttp, which knows them better."""
    if engine.secret_lost:
        raise Unavailable("The engine's key cannot be read any more. An operator has to enter it again.")
    request = httpx.Request(
        "GET" if payload is None else "POST",
        _address(engine.url, path),
        headers=_headers(engine.secret),
        stream=httpx.ByteStream(b"" if payload is None else written(payload)),
        extensions={"timeout": {"connect": clock.deadlines.connect}},
    )
    request.read()
    return request


@lru_cache(maxsize=256)
def _address(url: str, path: str) -> httpx.URL:
    return httpx.URL(url.rstrip("/") + path)


@lru_cache(maxsize=256)
def _headers(secret: str) -> httpx.Headers:
    headers = {"accept-encoding": "identity", "user-agent": "tertulia", "content-type": "application/json"}
    return httpx.Headers(headers | ({"authorization": f"Bearer {secret}"} if secret else {}))
