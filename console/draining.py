"""A drain under a server that stops by rules of its own, such as uvicorn.

Such a server lets its requests end and then tells lifespan; it knows nothing of the chat's answers, which no request
holds, and what takes too long it cancels without a word. So we hear its signals too: from the first on nothing new
begins, and what still runs after DRAIN_SECONDS is told so, as `console.serving` does on daphne. The server's own limit
should be a few seconds longer (docs/deploy.md).
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from chat.generations import supervisor
from gateway import running

SIGNALS = (signal.SIGTERM, signal.SIGINT)
LAST_WORDS = 5.0  # seconds for what was cut to say so

logger = logging.getLogger(__name__)


class Drain:
    """Begins at the first signal. `over` returns when the chat's answers have come to their end, or to the drain's."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._cutting: asyncio.Task[None] | None = None

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hears the signals beside whoever handles them. Python lets none but the main thread do so."""
        before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in SIGNALS}
        with suppress(ValueError):
            for number, handler in before.items():
                signal.signal(number, self._beside(handler))
        try:
            yield
        finally:
            with suppress(ValueError):
                for number, handler in before.items():
                    signal.signal(number, handler)

    async def over(self) -> None:
        if self._cutting is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds + LAST_WORDS):
                await supervisor.idle()
        self._cutting.cancel()
        await asyncio.gather(self._cutting, return_exceptions=True)

    def _beside(self, handler: Any) -> Callable[[int, FrameType | None], None]:
        def hear(number: int, frame: FrameType | None) -> None:
            self._loop.call_soon_threadsafe(self._begin)
            if callable(handler):
                handler(number, frame)

        return hear

    def _begin(self) -> None:
        if self._cutting is None:
            running.drain_flag.set()
            supervisor.stop_claiming()
            self._cutting = asyncio.create_task(self._cut_when_over(), name="drain")

    async def _cut_when_over(self) -> None:
        await asyncio.sleep(self._seconds)
        logger.warning("The drain's time is over; what still runs is cut", extra={"calls": len(running.running())})
        running.cut(lambda call: True, "drained")
        await supervisor.stop_all("drained")
