"""A request to /v1 from within, for a caller who is known already: what the reference page tries out.

It is the same code as for a request over the network, and it is accounted for in the same way.
"""

import asyncio
import json
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from time import perf_counter
from typing import Any

from asgiref.sync import async_to_sync

from accounts.callers import Caller
from gateway.api import answer_as, refuse
from gateway.dialects import DIALECTS
from gateway.engines.client import close_http, connected
from gateway.errors import GatewayError, Unavailable
from gateway.reply import Message, Reply
from gateway.running import Call

HEADERS = {b"content-type": b"application/json"}
MOST_BYTES = 256 * 1024  # of an answer that are kept; the call ends there
MOST_SECONDS = 120.0  # that a page may wait for one
MOST_AT_ONCE = 4  # in this process: each holds a thread of the pages' for as long as its call takes

_places = BoundedSemaphore(MOST_AT_ONCE)


@dataclass(frozen=True, slots=True)
class Tried:
    """`status` is 0 when nothing came in time; `cut`: the answer went on, and was stopped here."""

    status: int
    headers: dict[str, str]
    body: bytes
    took_ms: int
    cut: bool


def tried(caller: Caller, path: str, body: bytes) -> Tried:
    """POSTs the JSON to one of the API's ASKS. In a server this runs in the server's own loop, which holds its
    connections to the engines.
    """
    if not _places.acquire(blocking=False):
        busy = Unavailable("Others are trying calls just now. Try again in a moment.", code="overloaded")
        return Tried(busy.status, {}, json.dumps({"error": busy.told()}).encode(), 0, cut=False)
    try:
        return async_to_sync(_tried)(caller, path, body)
    finally:
        _places.release()


async def _tried(caller: Caller, path: str, body: bytes) -> Tried:
    began, lasting = perf_counter(), connected()
    exchange = _Exchange(body)
    patience = asyncio.get_running_loop().call_later(MOST_SECONDS, exchange.leave)
    try:
        # In a task of its own: a call that is left ends by cancelling its task.
        await asyncio.create_task(_answered(caller, path, exchange))
    finally:
        patience.cancel()
        if not lasting:  # a loop of this call's own, as under a test's client; a server's goes on with its connections
            await close_http()
    took = round((perf_counter() - began) * 1000)
    return Tried(exchange.status, exchange.headers, bytes(exchange.body), took, exchange.left)


async def _answered(caller: Caller, path: str, exchange: "_Exchange") -> None:
    reply = Reply(Call(), exchange.send)
    reply.dialect = DIALECTS[caller.dialect]
    try:
        await answer_as(caller, path, HEADERS, exchange.receive, reply)
    except GatewayError as error:
        await refuse(reply, error)


@dataclass(slots=True)
class _Exchange:
    """A caller's side of one request, in memory."""

    asked: bytes
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    left: bool = False
    _gone: asyncio.Event = field(default_factory=asyncio.Event)
    _read: bool = False

    def leave(self) -> None:
        self.left = True
        self._gone.set()

    async def receive(self) -> Message:
        if not self._read:
            self._read = True
            return {"type": "http.request", "body": self.asked, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
            return
        self._keep(message.get("body", b""))

    def _keep(self, piece: Any) -> None:
        room = MOST_BYTES - len(self.body)
        self.body += piece[:room]
        if len(piece) > room:
            self.leave()
