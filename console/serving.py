"""daphne, started by us: it has no lifespan, cuts what runs at SIGTERM, and waits for slow senders for ever.

At the first signal the process drains: new requests get 503, sockets are closed with 1012 so that pages come back,
and what runs may end within DRAIN_SECONDS. A second signal stops at once.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import daphne.server
from autobahn.websocket.protocol import WebSocketProtocol as WebSocket
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.server import Server, twisted_loop
from daphne.ws_protocol import WebSocketProtocol
from django.conf import settings
from twisted.internet import reactor as installed
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer  # type: ignore[import-untyped]  # it has no types

from chat.generations import supervisor
from console.asgi import application
from console.doors import Doors
from console.errors import CannotListen
from console.lifespan import DRAINS
from gateway import running

HEADER_SECONDS = 12  # a request's head must be there
BODY_SECONDS = 120  # and all of it
READER_SECONDS = 30  # a caller who has taken nothing for so long is cut
SERVICE_RESTART = 1012  # a close code that makes pages come back
LAST_WORDS = 5.0  # seconds for what was cut to say so, and for the spool to be shipped

reactor = cast("Any", installed)  # the module stands for the reactor that daphne installed
logger = logging.getLogger(__name__)


def serve(*, host: str, port: int, drain_seconds: int, ready: Callable[[int], None]) -> None:
    """Serve until a signal. `ready` is called with the port once requests are answered. Raises CannotListen."""
    daphne.server.HTTPFactory = Factory  # type: ignore[attr-defined]  # its only place for a request of ours
    server = DrainingServer(host, port, drain_seconds, ready)
    reactor.callWhenRunning(server.begin)
    server.run()
    if server.problem:
        raise CannotListen(server.problem)


class DrainingServer(Server):
    def __init__(self, host: str, port: int, drain_seconds: int, ready: Callable[[int], None]) -> None:
        address = host.replace(":", r"\:")
        super().__init__(
            self._when_alive,
            endpoints=[f"tcp:port={port}:interface={address}"],
            signal_handlers=False,
            http_timeout=None,
            websocket_timeout=-1,
            application_close_timeout=2,
            server_name="",
        )
        self.problem = ""
        self._ports: list[Any] = []
        self._drain_seconds = drain_seconds
        self._ready = ready
        self._alive = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_lifespan: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._from_lifespan: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """As the parent's, and then waits until the caller has taken what he was sent: daphne would keep it all."""
        if not isinstance(protocol, Request):
            await super().handle_reply(protocol, message)
            return
        if message["type"] == "http.response.body" and not message.get("more_body"):
            protocol.end_flow()
        await super().handle_reply(protocol, message)
        if message["type"] == "http.response.start":
            protocol.begin_flow()
        elif protocol.flow is not None:
            await self._taken(protocol, protocol.flow)

    async def _taken(self, protocol: "Request", flow: "Flow") -> None:
        while not flow.free.is_set():
            before = _unsent(protocol)
            try:
                async with asyncio.timeout(READER_SECONDS):
                    await flow.free.wait()
            except TimeoutError:
                if _unsent(protocol) >= before:
                    _abort(protocol)
                    return

    async def _when_alive(self, scope: Any, receive: Any, send: Any) -> None:
        await self._alive.wait()
        await application(scope, receive, send)

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        self._ports.append(port)

    def listen_error(self, failure: Any) -> None:
        self.problem = f"Tertulia cannot listen: {failure.getErrorMessage()} Set PORT to use another port."
        self.stop()

    def begin(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            twisted_loop.add_signal_handler(number, self._on_signal)
        self._keep(self._live())
        self._keep(self._watch_slow_senders())

    def _keep(self, work: Any) -> asyncio.Task[None]:
        task = twisted_loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _live(self) -> None:
        self._keep(
            application(
                {"type": "lifespan", "extensions": {DRAINS: {}}}, self._to_lifespan.get, self._from_lifespan.put
            )
        )
        if not await self._tell_lifespan("lifespan.startup"):
            self.stop()
            return
        self._alive.set()
        self._ready(self._ports[0].getHost().port)

    async def _tell_lifespan(self, what: str) -> bool:
        await self._to_lifespan.put({"type": what})
        reply = await self._from_lifespan.get()
        if reply["type"].endswith(".failed"):
            self.problem = reply.get("message", what)
            return False
        return True

    def _on_signal(self) -> None:
        if self._ending is None:
            self._ending = self._keep(self._drain())
        elif reactor.running:
            reactor.stop()

    async def _drain(self) -> None:
        try:
            running.drain_flag.set()
            supervisor.stop_claiming()
            self._close_sockets()
            if not await self._quiet(self._drain_seconds):
                logger.warning(
                    "The drain's time is over; what still runs is cut", extra={"calls": len(running.running())}
                )
                running.cut(lambda call: True, "drained")
                await supervisor.stop_all("drained")
                await self._quiet(LAST_WORDS)
            for port in self._ports:
                port.stopListening()
            await self._flush()
            await self._tell_lifespan("lifespan.shutdown")
        except Exception:
            logger.exception("The drain failed")
        finally:
            if reactor.running:
                reactor.stop()

    def _close_sockets(self) -> None:
        """A level below the application, which may not send this code."""
        for protocol in list(self.connections):
            if isinstance(protocol, WebSocketProtocol) and protocol.state == WebSocket.STATE_OPEN:
                protocol.sendCloseFrame(code=SERVICE_RESTART, isReply=False)

    async def _quiet(self, seconds: float) -> bool:
        """Whether requests and answers of the chat came to their end in time."""
        doors: Doors = application.application_mapping["http"]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await supervisor.idle()
                await running.idle()
                await doors.empty()
                return True
        return False

    async def _flush(self) -> None:
        """Answers that are complete, yet not all on the wire."""
        for _ in range(int(LAST_WORDS / 0.05)):
            if not any(map(_unsent, self.connections)):
                return
            await asyncio.sleep(0.05)

    async def _watch_slow_senders(self) -> None:
        """Closes connections whose request has not come whole in time, so that nobody can hold them all."""
        since: dict[Any, float] = {}  # daphne's own note of when is of a clock that may step
        while True:
            await asyncio.sleep(1)
            now = time.monotonic()
            late = [protocol for protocol in self.connections if _is_coming(protocol)]
            since = {protocol: since.get(protocol, now) for protocol in late}
            for protocol, began in since.items():
                limit = HEADER_SECONDS if protocol.content is None else BODY_SECONDS
                if now - began > limit:
                    _abort(protocol)


@implementer(IPushProducer)
class Flow:
    """Whether the caller's side takes more: twisted pauses us once it holds 64 KiB that are not sent."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()

    def pauseProducing(self) -> None:  # noqa: N802  twisted's names
        self.free.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self.free.set()

    def stopProducing(self) -> None:  # noqa: N802
        self.free.set()


class Request(WebRequest):
    """daphne's request, with an end to what it takes in and to what it keeps to be sent."""

    flow: Flow | None = None
    _taken_in = 0

    def __init__(self, *given: Any) -> None:
        # Forms and multipart are Django's to read, within its limits; twisted would read them too, and first.
        super().__init__(*given, parsePOSTFormSubmission=False)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802  twisted's name
        """One byte more than MAX_BODY tells the application enough. The rest is read, so that he hears of it."""
        room = settings.ENVIRONMENT.max_body + 1 - self._taken_in
        self._taken_in += len(data)
        if room > 0:
            super().handleContentChunk(data[:room])

    def begin_flow(self) -> None:
        if not self._disconnected and not self.finished and self.producer is None:
            self.flow = Flow()
            self.registerProducer(self.flow, streaming=True)

    def end_flow(self) -> None:
        if self.flow is not None:
            self.flow.free.set()
            self.flow = None
            self.unregisterProducer()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802  twisted's name
        self.end_flow()
        super().connectionLost(reason)
        self.application_queue = None

    def finish(self) -> None:
        """Lets go of what the application has not read: else a whole body stays until the collector comes round."""
        super().finish()
        self.application_queue = None


class Factory(HTTPFactory):
    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802  twisted's name
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = Request
        return protocol

    def log(self, request: Any) -> None:
        """twisted's own line for each request, which nobody reads here: its time goes to the requests."""


def _is_coming(protocol: Any) -> bool:
    """Whether it is a request that has not come whole yet."""
    return isinstance(protocol, WebRequest) and not hasattr(protocol, "request_start")


def _abort(request: Any) -> None:
    request.channel.transport.abortConnection()


def _unsent(protocol: Any) -> int:
    """Bytes that the caller's side has not taken yet."""
    transport = getattr(protocol, "transport", None)
    buffered = len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)
    return buffered + getattr(transport, "_tempDataLen", 0)
