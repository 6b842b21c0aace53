"""How engines are reached: the HTTP client they share, and the words for what goes wrong on the wire.

One aiohttp session per event loop, asked directly: httpx around it, whose part here was to shape requests and answers
that are shaped again, took a quarter of a bare relay's time (`bench.gateway`). No cookies are kept from one caller to
the next, no redirect is followed, no proxy is taken from the environment.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from functools import lru_cache
from weakref import WeakKeyDictionary

import aiohttp
import orjson
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

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

# ValueError: an address that is none, a host that has no name in DNS, a key that cannot stand in a header.
WIRE = (aiohttp.ClientError, OSError, ValueError)


_as_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_as_escapes = json.JSONEncoder(separators=(",", ":")).encode


def written(value: object) -> bytes:
    """JSON as UTF-8. Lone surrogates, which UTF-8 cannot hold, make it fall back to escapes."""
    try:
        return orjson.dumps(value)
    except TypeError:  # also for numbers past 64 bits, and for what is nested deeply
        pass
    try:
        return _as_text(value).encode()
    except UnicodeEncodeError:
        return _as_escapes(value).encode()


def parsed_object(data: bytes) -> Json | None:
    """The JSON object in these bytes; None if they hold anything else."""
    try:
        found = orjson.loads(data)
    except ValueError:  # also for lone surrogates, NaN and broken UTF-8, which engines do send
        found = _parsed_leniently(data)
    return found if isinstance(found, dict) else None


def _parsed_leniently(data: bytes) -> object:
    try:
        return json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()


def session() -> aiohttp.ClientSession:
    """The running loop's session, made on first use."""
    loop = asyncio.get_running_loop()
    found = _sessions.get(loop)
    if found is None:
        found = _sessions[loop] = _session()
    return found


def connected() -> bool:
    """Whether the running loop has asked engines before."""
    return asyncio.get_running_loop() in _sessions


async def close_http() -> None:
    """To be called once in each loop that asked engines, at its end."""
    found = _sessions.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.close()


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    )


class Reading:
    """An engine's answer while it is read."""

    def __init__(self, response: aiohttp.ClientResponse, clock: Clock) -> None:
        self.status = response.status
        self.kind = response.headers.get("content-type", "").lower()
        self.encoding = response.headers.get("content-encoding", "")
        self._response, self._content = response, response.content
        self.headers = response.headers
        self._clock = clock

    async def piece(self) -> bytes:
        """What came next, as it came; empty at the end. Raises Cut when the call was cut."""
        self._clock.check()
        content = self._content
        try:
            if here := content.read_nowait():  # without the price of a wait
                return here
            return b"" if content.at_eof() else await self._clock.wait(content.readany())
        except WIRE as error:
            raise wire_error(error) from error

    def close(self) -> None:
        """Ends the connection; of an answer that was read to its end, it has been given back already."""
        self._response.close()

    def header(self, name: str) -> str:
        """Empty without it."""
        return self.headers.get(name, "")

    async def refused(self) -> bytes:
        """The beginning of a body that says why."""
        body = b""
        with suppress(EngineFailed, EngineTimeout):
            while len(body) <= MAX_REFUSAL and (piece := await self.piece()):
                body += piece
            return body
        return b""


async def asked(engine: EngineFacts, clock: Clock, path: str, payload: Json | None) -> Reading:
    """The engine's answer, its body still to come; to be closed. Its refusals are raised."""
    reading = Reading(await _response(engine, clock, path, payload), clock)
    clock.answered()
    if reading.status != 200 or reading.encoding not in {"", "identity"}:
        with closing(reading):
            raise await _trouble(engine, reading)
    return reading


async def _trouble(engine: EngineFacts, reading: Reading) -> GatewayError:
    if reading.status != 200:
        return refusal(engine.secret, reading.status, reading.headers, await reading.refused())
    return UnreadableAnswer("The engine sent a compressed answer that nobody asked for.")


@asynccontextmanager
async def streamed(
    engine: EngineFacts, clock: Clock, path: str, payload: Json, content_type: str
) -> AsyncIterator[Reading]:
    """A streamed answer. One of another content type is read as an error."""
    with closing(await asked(engine, clock, path, payload)) as reading:
        if not reading.kind.startswith(content_type):
            body = parsed_object(await reading.refused())
            if body and body.get("error"):
                raise EngineFailed("The engine answered with an error.")
            raise UnreadableAnswer("The engine did not answer with a stream.")
        yield reading


async def read_answer(engine: EngineFacts, clock: Clock, path: str, payload: Json | None) -> bytes:
    """A whole body, of any kind. Raises UnreadableAnswer for one without end."""
    pieces, size = [], 0
    with closing(await asked(engine, clock, path, payload)) as reading:
        while piece := await reading.piece():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_ANSWER:
                raise UnreadableAnswer("The engine's answer is too long.")
    return b"".join(pieces)


async def read_page(engine: EngineFacts, clock: Clock, path: str, most: int) -> tuple[Reading, bytes]:
    """A page that no caller asked for, whatever its status. Raises UnreadableAnswer above so many bytes."""
    response = await _response(engine, clock, path, None)
    reading, pieces, size = Reading(response, clock), [], 0
    try:
        while piece := await reading.piece():
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise UnreadableAnswer("The engine's answer is too long.")
        return reading, b"".join(pieces)
    finally:
        response.close()


async def read_json(engine: EngineFacts, clock: Clock, path: str, payload: Json | None) -> Json:
    """A whole JSON object. Raises UnreadableAnswer for anything else, EngineFailed for an error in its place."""
    found = parsed_object(await read_answer(engine, clock, path, payload))
    if found is None:
        raise UnreadableAnswer("The engine's answer is not JSON.")
    if found.get("error"):
        raise EngineFailed("The engine answered with an error.")
    return found


async def _response(engine: EngineFacts, clock: Clock, path: str, payload: Json | None) -> aiohttp.ClientResponse:
    """Its head has come."""
    if engine.secret_lost:
        raise Unavailable("The engine's key cannot be read any more. An operator has to enter it again.")
    try:
        return await clock.wait(
            session().request(
                "GET" if payload is None else "POST",
                _address(engine.url, path),
                data=None if payload is None else written(payload),
                headers=_headers(engine.secret),
                allow_redirects=False,
                timeout=_timeout(clock.deadlines.connect),
            )
        )
    except WIRE as error:
        raise wire_error(error) from error


def wire_error(error: Exception) -> GatewayError:
    """What the library raises, in this room's words."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | ValueError):
        return Unavailable("The engine cannot be reached.", retry_after=RETRY_AFTER)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return EngineFailed("The engine closed the connection without an answer.")
    return BrokenOff("The engine's answer broke off.")


@lru_cache(maxsize=256)
def _address(url: str, path: str) -> URL:
    return URL(url.rstrip("/") + path, encoded=True)


@lru_cache(maxsize=256)
def _headers(secret: str) -> CIMultiDictProxy[str]:
    headers = {"accept-encoding": "identity", "user-agent": "tertulia", "content-type": "application/json"}
    return CIMultiDictProxy(CIMultiDict(headers | ({"authorization": f"Bearer {secret}"} if secret else {})))


@lru_cache(maxsize=8)
def _timeout(connect: float) -> aiohttp.ClientTimeout:
    """Of the connection alone; the clock of the call keeps the rest."""
    return aiohttp.ClientTimeout(total=None, sock_connect=connect)
