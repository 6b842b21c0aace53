"""A TCP relay that spoils what passes through it, on command and while it runs.

    with Relay(("127.0.0.1", 8190)) as relay:
        relay.port                      # connect here
        relay.toxic = Late(5)           # every piece that is sent takes five seconds longer
        relay.toxic = None              # from now on it passes again; what was held back arrives
        relay.reset()                   # the connections of this moment end with a TCP reset

A target is an address or the path of a Unix socket. What a toxic holds back is not lost: TCP would not lose it either.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PIECE = 65_536


@dataclass(frozen=True)
class Late:
    """What the caller sends arrives so many seconds late: for a database, each question takes longer by it."""

    seconds: float


@dataclass(frozen=True)
class Slow:
    """So many bytes a second in each direction."""

    rate: float


@dataclass(frozen=True)
class Blackhole:
    """Connections are taken, and nothing arrives in either direction."""


@dataclass(frozen=True)
class Refusing:
    """New connections are reset at once."""


type Toxic = Late | Slow | Blackhole | Refusing
type Target = tuple[str, int] | Path


class Relay:
    """Runs in a thread of its own. `toxic` may be set from any thread."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.port = 0
        self.accepted = 0
        self._toxic: Toxic | None = None
        self._links: set[_Link] = set()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="toxic", daemon=True)

    @property
    def toxic(self) -> Toxic | None:
        return self._toxic

    @toxic.setter
    def toxic(self, toxic: Toxic | None) -> None:
        self._toxic = toxic

    @property
    def open(self) -> int:
        """Connections through it, of this moment."""
        return len(self._links)

    def reset(self) -> None:
        """Ends every connection of this moment with a TCP reset on both sides."""
        self._in_loop(lambda: [link.reset() for link in set(self._links)])

    def half_close(self) -> None:
        """Tells every caller of this moment that nothing more will come, and goes on taking what they send."""
        self._in_loop(lambda: [link.half_close() for link in set(self._links)])

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)

    def _in_loop(self, work: object) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (work(), done.set()))  # type: ignore[operator]
        assert done.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._serve())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            links = set(self._links)
            for link in links:
                link.task.cancel()
            await asyncio.gather(*(link.task for link in links), return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(self, reader, writer)
        self._links.add(link)
        try:
            await link.carry()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            link.close()
            self._links.discard(link)


class _Link:
    """One caller's connection and the one to the target."""

    def __init__(self, relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self._relay = relay
        self._near = (reader, writer)
        self._far: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def carry(self) -> None:
        if isinstance(self._relay.toxic, Refusing):
            self.reset()
            return
        target = self._relay.target
        opened = (
            asyncio.open_unix_connection(str(target)) if isinstance(target, Path) else asyncio.open_connection(*target)
        )
        self._far = far = await opened
        async with asyncio.TaskGroup() as both:
            both.create_task(self._pump(self._near[0], far[1], outward=True))
            both.create_task(self._pump(far[0], self._near[1], outward=False))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, outward: bool) -> None:
        try:
            while piece := await source.read(PIECE):
                await self._delay(piece, outward=outward)
                sink.write(piece)
                await sink.drain()
        except ConnectionError:
            _abort(sink)
            return
        await self._delay(b"", outward=outward)
        with contextlib.suppress(OSError, RuntimeError):
            sink.write_eof()

    async def _delay(self, piece: bytes, *, outward: bool) -> None:
        match self._relay.toxic:
            case Late(seconds) if outward and piece:
                await asyncio.sleep(seconds)
            case Slow(rate):
                await asyncio.sleep(len(piece) / rate)
        while isinstance(self._relay.toxic, Blackhole):  # noqa: ASYNC110  it is set from other threads
            await asyncio.sleep(0.02)

    def half_close(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._near[1].write_eof()

    def reset(self) -> None:
        for _, writer in filter(None, (self._near, self._far)):
            _abort(writer)
        self.task.cancel()

    def close(self) -> None:
        for _, writer in filter(None, (self._near, self._far)):
            writer.close()


def _abort(writer: asyncio.StreamWriter) -> None:
    """Closes with a TCP reset."""
    sock: socket.socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
