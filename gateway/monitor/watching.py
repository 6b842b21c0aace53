"""Those who watch the monitor in this process: they share one look a second, and are asked whether they still may."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic

import psycopg
from django.db import Error as DatabaseError

from accounts.database import in_database
from accounts.sessions import Watch, operators_among
from gateway.models import Engine
from gateway.monitor.board import Picture, look_now, picture
from gateway.monitor.pulse import WATCHED, WATCHED_FOR, heart, say_watched

MOST_OF_A_PERSON = 20  # open pages in this process

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Page:
    """An open page. `leave` is called when its person may no longer see it, `fail` when nobody looks any more."""

    watch: Watch
    leave: Callable[[], None]
    fail: Callable[[], None]
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    held: bool = False  # nobody looks at it: it stands still, or lies behind others


class Watchers:
    """Looks while there are any."""

    picture: Picture | None = None

    def __init__(self) -> None:
        self._pages: set[Page] = set()
        self._of_a_person: Counter[int] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._said_at = float("-inf")

    def goes_on(self, page: Page) -> None:
        """Somebody looks at the page again, and must not wait for the next look."""
        page.held = False
        self._woken.set()

    def has_room(self, user_id: int) -> bool:
        return self._of_a_person[user_id] < MOST_OF_A_PERSON

    @contextlib.contextmanager
    def watching(self, watch: Watch, *, leave: Callable[[], None], fail: Callable[[], None]) -> Iterator[Page]:
        page = Page(watch, leave, fail)
        self._pages.add(page)
        self._of_a_person[watch.user_id] += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look_for_ever(), name="monitor")
            self._task.add_done_callback(self._stopped)
        try:
            yield page
        finally:
            self._pages.discard(page)
            self._of_a_person[watch.user_id] -= 1
            if not self._pages and self._task is not None:
                self._task.cancel()
                self._task, self.picture = None, None

    def _stopped(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("The monitor could not look", exc_info=error)
            for page in list(self._pages):
                page.fail()

    async def _look_for_ever(self) -> None:
        self._said_at, self._woken = float("-inf"), asyncio.Event()
        while True:
            self._woken.clear()
            began, idle = monotonic(), all(page.held for page in self._pages)
            await (self._look_at_people() if idle else self._look())
            for page in list(self._pages):
                page.changed.set()
            pause = WATCHED_FOR / 3 if idle else max(WATCHED / 2, WATCHED - (monotonic() - began))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            # However often pages go on, PostgreSQL is asked no more often than this.
            await asyncio.sleep(max(0.0, WATCHED / 2 - (monotonic() - began)))

    async def _look(self) -> None:
        watches = {page.watch for page in self._pages}
        say, now = monotonic() - self._said_at > WATCHED_FOR / 3, monotonic()
        try:
            self.picture, welcome = await in_database(_look, watches, say=say)
        except (DatabaseError, psycopg.Error):
            self.picture = self._alone()
            return
        self._said_at = now if say else self._said_at
        self._part_with(watches - welcome)

    async def _look_at_people(self) -> None:
        """While every page stands still."""
        watches = {page.watch for page in self._pages}
        with contextlib.suppress(DatabaseError, psycopg.Error):
            self._part_with(watches - await in_database(operators_among, watches))

    def _part_with(self, unwelcome: set[Watch]) -> None:
        for page in list(self._pages):
            if page.watch in unwelcome:
                page.leave()

    def _alone(self) -> Picture:
        """What this process knows without PostgreSQL."""
        last = self.picture
        engines: list[Engine] = [one.engine for one in last.engines] if last else []
        served = [one.model for one in last.models if one.served] if last else []
        return picture([heart.told()], engines, served, dead_letters=0, database_ms=None)


watchers = Watchers()


def _look(watches: set[Watch], *, say: bool) -> tuple[Picture, set[Watch]]:
    if say:
        say_watched()
    return look_now(), operators_among(watches)
