"""The deadlines of one call to an engine, kept by one timer for all of its waits."""

import asyncio
from collections.abc import Awaitable
from typing import NamedTuple

from gateway.errors import EngineTimeout


class Deadlines(NamedTuple):
    """Seconds. `between` counts from event to event: comments and half events are no progress."""

    connect: float = 5
    first: float = 300
    between: float = 120
    total: float = 3600


class Cut(Exception):
    """The call was ended from our side: key revoked, or server stopping."""


class Clock:
    """Each wait for the engine goes through `wait`, and `cut` ends the one that runs.

    httpx's own time-outs cannot do this: its read time-out covers first byte and gaps alike, starts again with each
    byte, and never fires on a malformed chunk header. `asyncio.timeout` around each wait costs a timer an event; here
    a timer that rings too early looks at the deadline of the moment and sleeps on.
    """

    def __init__(self, deadlines: Deadlines) -> None:
        self.deadlines = deadlines
        self.was_cut = False
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._total_at = self._now() + deadlines.total
        self._waiting: asyncio.Task[object] | None = None  # the task inside `wait`
        self._timer: asyncio.TimerHandle | None = None
        self._rang = False  # the wait was ended from here
        self.begin()

    def begin(self) -> None:
        """An engine is about to be asked."""
        self.answered_ms = 0  # from here until the head of its answer
        self.asked_at = self._now()
        self._next_at = self.asked_at + self.deadlines.first
        self._begun = False

    def answered(self) -> None:
        """The head of the answer came."""
        self.answered_ms = round((self._now() - self.asked_at) * 1000)

    def progress(self) -> None:
        """An event came."""
        self._next_at = self._now() + self.deadlines.between
        self._begun = True

    def cut(self) -> None:
        self.was_cut = True
        self._ring()

    def close(self) -> None:
        """No more waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def check(self) -> None:
        """For what is here without a wait: an engine that is always ahead of its reader is never waited for.

        Raises Cut and EngineTimeout as `wait` does; only the call as a whole can be late.
        """
        if self.was_cut:
            raise Cut
        if self._now() >= self._total_at:
            raise EngineTimeout(self._lateness())

    async def wait[T](self, work: Awaitable[T]) -> T:
        """Raises EngineTimeout when a deadline passes, Cut when the call is cut."""
        task = self._waiting = asyncio.current_task()
        cancelled = task.cancelling() if task else 0
        self._arm()
        try:
            return await work
        except asyncio.CancelledError as error:
            # Whoever else cancelled this task meanwhile wins, as with asyncio.timeout.
            if not self._rang or task is None or task.uncancel() > cancelled:
                raise
            if self.was_cut:
                raise Cut from error
            raise EngineTimeout(self._lateness()) from error
        finally:
            self._waiting, self._rang = None, False

    def _due(self) -> float:
        return min(self._next_at, self._total_at)

    def _arm(self) -> None:
        if self.was_cut:
            self._loop.call_soon(self._ring)
        elif self._timer is None or self._timer.when() > self._due():
            self.close()
            self._timer = self._loop.call_at(self._due(), self._ring)

    def _ring(self) -> None:
        if not self.was_cut:
            self._timer = None
            if self._now() < self._due():
                if self._waiting is not None:
                    self._arm()
                return
        if self._waiting is not None and not self._rang:
            self._rang = True
            self._waiting.cancel()

    def _lateness(self) -> str:
        if self._now() >= self._total_at:
            return "The engine took too long over the whole answer."
        return "The engine stopped answering." if self._begun else "The engine did not begin to answer in time."
