"""How engines are reached: the HTTP client they share, its clocks, and the words for what goes wrong on the wire.

No Django here. One client per event loop, on aiohttp's transport; it keeps no cookies, follows no redirects and
reads no proxy from the environment, so that what one caller's request brought back never colours another's.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from gateway.engines.refusals import refusal
from gateway.errors import EngineFailed, EngineTimeout, Unavailable, UnreadableAnswer

type Json = dict[str, Any]

MAX_ANSWER = 32 << 20  # bytes of an answer that is not streamed
RETRY_AFTER = 5  # seconds; an engine that is down may be back soon


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """An engine as the hot path knows it. `url` has no /v1; `machine_name` is a label for callers to see."""

    id: int
    name: str
    type: str
    url: str
    secret: str = field(repr=False)
    machine_name: str
    secret_lost: bool = False  # stored with another SECRET_KEY


@dataclass(frozen=True, slots=True)
class Route:
    """One way to a model: the engine that serves it and the name it has there."""

    engine: EngineFacts
    public_id: str
    engine_model: str
    context_length: int | None = None
    aliases: tuple[str, ...] = ()
    created: int = 0  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model that an engine says it serves."""

    name: str
    context_length: int | None = None


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds. `between` counts from event to event: comments and half events are no progress."""

    connect: float = 5
    first: float = 300
    between: float = 120
    total: float = 3600


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of a stream in OpenAI's form: its bytes as they came, and what they say."""

    data: bytes
    parsed: Json


class Cut(Exception):
    """The call was ended from our side: key revoked, or server stopping."""


class Clock:
    """The deadlines of one call. Each wait for the engine goes through `wait`, and `cut` ends the one that runs.

    httpx's own time-outs cannot do this: its read time-out covers first byte and gaps alike, starts again with each
    byte, and never fires on a malformed chunk header.
    """

    def __init__(self, deadlines: Deadlines) -> None:
        self.deadlines = deadlines
        self.was_cut = False
        self._now = asyncio.get_running_loop().time
        self._total_at = self._now() + deadlines.total
        self._scope: asyncio.Timeout | None = None
        self.begin()

    def begin(self) -> None:
        """An engine is about to be asked."""
        self._next_at = self._now() + self.deadlines.first
        self._begun = False

    def progress(self) -> None:
        """An event came."""
        self._next_at = self._now() + self.deadlines.between
        self._begun = True

    def cut(self) -> None:
        self.was_cut = True
        if self._scope is not None:
            self._scope.reschedule(self._now())

    async def wait[T](self, work: Awaitable[T]) -> T:
        """Raises EngineTimeout when a deadline passes, Cut when the call is cut."""
        try:
            async with asyncio.timeout_at(min(self._next_at, self._total_at)) as scope:
                self._scope = scope
                if self.was_cut:
                    scope.reschedule(self._now())
                return await work
        except TimeoutError as error:
            if self.was_cut:
                raise Cut from error
            raise EngineTimeout(self._lateness()) from error
        finally:
            self._scope = None

    def _lateness(self) -> str:
        if self._now() >= self._total_at:
            return "The engine took too long over the whole answer."
        return "The engine stopped answering." if self._begun else "The engine did not begin to answer in time."


class EngineClient(Protocol):
    """What each type of engine offers. Bodies and answers are in OpenAI's form, whatever the engine speaks.

    `body` has neither `model` nor `stream`; one with `messages` asks for a chat completion, else a text completion.
    `denied` names the request fields that must not reach the engine.
    """

    denied: frozenset[str]

    async def models(self, engine: EngineFacts, clock: Clock) -> list[FoundModel]: ...

    def stream(self, route: Route, body: Mapping[str, Any], clock: Clock) -> AsyncGenerator[Chunk]: ...

    async def answer(self, route: Route, body: Mapping[str, Any], clock: Clock) -> Json: ...


def written(value: object) -> bytes:
    """JSON as UTF-8. Lone surrogates, which UTF-8 cannot hold, make it fall back to escapes."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def parsed_object(data: bytes) -> Json | None:
    """The JSON object in these bytes; None if they hold anything else."""
    try:
        found = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()


def http() -> httpx.AsyncClient:
    """The running loop's client, made on first use."""
    loop = asyncio.get_running_loop()
    client = _clients.get(loop)
    if client is None:
        client = _clients[loop] = httpx.AsyncClient(
            transport=AiohttpTransport(client=_session, trust_env=False),
            trust_env=False,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=httpx.Timeout(None),
        )
    return client


async def close_http() -> None:
    """To be called once in each loop that used `http`, at its end."""
    client = _clients.pop(asyncio.get_running_loop(), None)
    if client is not None:
        await client.aclose()


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    )


@contextmanager
def wire_errors() -> Iterator[None]:
    """What the libraries raise, in this room's words. The names of httpx's errors lie here; their causes do not."""
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            raise Unavailable("The engine cannot be reached.", retry_after=RETRY_AFTER) from error
        if isinstance(cause, aiohttp.ServerDisconnectedError):
            raise EngineFailed("The engine closed the connection without an answer.") from error
        raise EngineFailed("The engine's answer broke off.") from error


def _request(engine: EngineFacts, method: str, path: str, payload: Json | None, connect: float) -> httpx.Request:
    if engine.secret_lost:
        raise Unavailable("The engine's key cannot be read any more. An operator has to enter it again.")
    headers = {"accept-encoding": "identity", "user-agent": "tertulia"}
    if engine.secret:
        headers["authorization"] = f"Bearer {engine.secret}"
    content = None
    if payload is not None:
        headers["content-type"] = "application/json"
        content = written(payload)
    timeout = httpx.Timeout(None, connect=connect).as_dict()
    url = engine.url.rstrip("/") + path
    return httpx.Request(method, url, headers=headers, content=content, extensions={"timeout": timeout})


@asynccontextmanager
async def _answered(
    engine: EngineFacts, clock: Clock, path: str, payload: Json | None
) -> AsyncGenerator[httpx.Response]:
    """The engine's response, its body still to come. Its refusals are raised; leaving closes the connection."""
    with wire_errors():
        request = _request(engine, "GET" if payload is None else "POST", path, payload, clock.deadlines.connect)
        response = await clock.wait(http().send(request, stream=True))
    try:
        if response.status_code != 200:
            raise refusal(engine.secret, response, await _refused_body(response, clock))
        if response.headers.get("content-encoding", "identity") != "identity":
            raise UnreadableAnswer("The engine sent a compressed answer that nobody asked for.")
        yield response
    finally:
        with suppress(httpx.HTTPError, aiohttp.ClientError, OSError):  # it is being given up, or has been read
            await response.aclose()


async def _refused_body(response: httpx.Response, clock: Clock) -> bytes:
    """Enough of a refusal to know its reason."""
    body = b""
    try:
        async with aclosing(_pieces(response, clock)) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > 65_536:
                    break
    except (EngineFailed, EngineTimeout):
        return b""
    return body


async def _pieces(response: httpx.Response, clock: Clock) -> AsyncGenerator[bytes]:
    async with aclosing(response.aiter_raw()) as raw:  # type: ignore[type-var]  # an async generator in fact
        while True:
            try:
                with wire_errors():
                    piece = await clock.wait(anext(raw))
            except StopAsyncIteration:
                return
            yield piece


async def read_stream(
    engine: EngineFacts, clock: Clock, path: str, payload: Json, content_type: str
) -> AsyncGenerator[bytes]:
    """The bytes of a streamed answer as they come. An answer of another content type is read as an error."""
    async with _answered(engine, clock, path, payload) as response:
        if not response.headers.get("content-type", "").startswith(content_type):
            body = parsed_object(await _refused_body(response, clock))
            if body and body.get("error"):
                raise EngineFailed("The engine answered with an error.")
            raise UnreadableAnswer("The engine did not answer with a stream.")
        async with aclosing(_pieces(response, clock)) as pieces:
            async for piece in pieces:
                yield piece


async def read_json(engine: EngineFacts, clock: Clock, path: str, payload: Json | None) -> Json:
    """A whole JSON object. Raises UnreadableAnswer for anything else, EngineFailed for an error in its place."""
    async with _answered(engine, clock, path, payload) as response:
        body = bytearray()
        async with aclosing(_pieces(response, clock)) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > MAX_ANSWER:
                    raise UnreadableAnswer("The engine's answer is too long.")
    found = parsed_object(bytes(body))
    if found is None:
        raise UnreadableAnswer("The engine's answer is not JSON.")
    if found.get("error"):
        raise EngineFailed("The engine answered with an error.")
    return found
