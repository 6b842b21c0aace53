"""The calls that run in this process: what a drain waits for, and what a revocation cuts."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Event as Flag
from typing import NamedTuple

from accounts.callers import Caller
from billing.ids import RequestId, new_request
from billing.prices.pricing import UnitPrices, cost
from billing.records import NOTHING, Counts
from gateway.engines.clock import Clock
from gateway.engines.facts import EngineFacts
from gateway.meter import Meter

type Release = Callable[[Counts], None]


class Finished(NamedTuple):
    """What a call came to, as its row in the log will say. `price` None: the model had none."""

    counts: Counts
    outcome: str
    ttft_ms: int | None
    duration_ms: int
    price: UnitPrices | None = None

    @property
    def cost(self) -> Decimal | None:
        return cost(self.price, self.counts) if self.price else None


class Admission:
    """What a call holds from its admission to its end. `headers` go out with its answer, whatever that is.

    `most` is the tokens of the answer that are paid for, None where no budget or credit binds the call.
    """

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.most: int | None = None
        self._held: list[tuple[Release, Callable[[], None] | None]] = []

    def hold(self, release: Release, undo: Callable[[], None] | None = None) -> None:
        """`release` is told, once, what the call came to; or `undo`, in its place, that it was refused after all.

        Without an `undo`, such a call came to nothing. Neither may wait or raise.
        """
        self._held.append((release, undo))

    def release(self, counts: Counts) -> None:
        held, self._held = self._held, []
        for release, _undo in held:
            release(counts)

    def undo(self) -> None:
        held, self._held = self._held, []
        for release, undo in held:
            if undo is None:
                release(NOTHING)
            else:
                undo()


@dataclass(slots=True, eq=False)
class Call:
    """One request on its way. Whoever reads its stream may set `leaving`: the outcome to log when that reader goes.

    `finished` is there from the moment that the final record is written, also for a reader who left before the end.
    """

    request: RequestId = field(default_factory=new_request)
    client_request_id: str = ""
    leaving: str = "client_gone"
    caller: Caller | None = None  # once he is known
    endpoint: str = ""
    model: str = ""  # as it was asked for; its public id, once it is admitted
    admitted: bool = False  # its start is on disk
    clock: Clock | None = None
    price: UnitPrices | None = None
    finished: Finished | None = None
    admission: Admission | None = None  # what it holds from its admission on
    cut_as: str = ""  # the outcome that `cut` gave it
    engine: EngineFacts | None = None  # the last that it was given to
    meter: Meter | None = None  # of that engine's answer


drain_flag = Flag()  # set: new calls are refused

_calls: set[Call] = set()
_waiting: set[asyncio.Future[None]] = set()


def running() -> Collection[Call]:
    return frozenset(_calls)


def enter(call: Call) -> None:
    _calls.add(call)


def leave(call: Call) -> None:
    _calls.discard(call)
    if not _calls:
        for future in _waiting:
            if not future.done():
                future.set_result(None)


async def idle() -> None:
    """Returns when no call runs."""
    if not _calls:
        return
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    _waiting.add(future)
    try:
        await future
    finally:
        _waiting.discard(future)


def cut(predicate: Callable[[Call], bool], outcome: str) -> int:
    """Ends the calls that match, from the event loop; the engine's connection closes with them. Returns how many."""
    found = [call for call in _calls if not call.cut_as and predicate(call)]
    for call in found:
        call.cut_as = outcome
        if call.clock is not None:
            call.clock.cut()
    return len(found)
