"""Letting calls in: each counts for its team, its key and its member, and the first window that is full refuses it.

One process counts for itself (`billing.limits.counters`). A fleet counts together in Redis (`billing.limits.fleet`);
without it, or while it is lost, each process lets in its share of every limit, which is the limit divided by WORKERS.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum
from time import monotonic
from typing import Any

from billing.errors import FleetAway, LimitReached
from billing.limits.counters import Counters, Full
from billing.limits.fleet import LEASE, Fleet
from billing.limits.windows import Consumed, Standing, Subject
from billing.records import Counts

logger = logging.getLogger(__name__)

LOOK_AGAIN = 1.0  # seconds between two tries to reach Redis
RENEW_EVERY = LEASE / 4  # seconds


class Counting(Enum):
    """How this process counts at the moment."""

    ALONE = "alone"
    TOGETHER = "together"
    SHARES = "shares"  # a fleet without Redis
    LOST = "lost"  # a fleet whose Redis does not answer


@dataclass(slots=True)
class Taken:
    """A call that was let in. Tell it, once, what the call came to, or that it was refused after all."""

    subjects: Sequence[Subject]
    standings: list[Standing]
    limiter: "Limiter"
    call: str = ""  # its name in the fleet

    def settle(self, counts: Counts) -> None:
        self.limiter.settled(self, counts)

    def undo(self) -> None:
        self.limiter.undone(self)


class Limiter:
    """The process's own. Its event loop opens and closes it; before that it counts alone."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.workers = 1
        self._fleet: Fleet | None = None
        self._reached = False
        self.came_back = False  # Redis did, perhaps with nothing in it: see `gateway.snapshot`, which sets it back
        self._keeper: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, *, workers: int, redis_url: str) -> None:
        """Raises BadFleet for an address that is none, or without the client. An absent Redis is no error."""
        self.workers = max(1, workers)
        if not redis_url:
            if self.workers > 1:
                logger.warning("%s; set REDIS_URL to count them together", self._share())
            return
        fleet = Fleet(redis_url)
        await fleet.open()
        self._fleet = fleet
        try:
            await fleet.check()
            self._reached = True
        except FleetAway:
            logger.warning("Redis cannot be reached; %s until it can", self._share())
        self._keeper = asyncio.create_task(self._keep(fleet), name="limits")

    async def close(self) -> None:
        """What calls came to is told to the fleet first."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)
        if self._fleet is not None:
            await self._fleet.close()
        self._fleet, self._keeper, self._reached, self.workers = None, None, False, 1

    @property
    def counting(self) -> Counting:
        if self._fleet is not None:
            return Counting.TOGETHER if self._reached else Counting.LOST
        return Counting.SHARES if self.workers > 1 else Counting.ALONE

    async def take(self, subjects: Sequence[Subject]) -> Taken:
        """Counts a call in every window of all its subjects. Raises LimitReached, and then it counts in none.

        It waits for nothing but Redis: for the round trip that is on its way and its own, each with a deadline.
        """
        if self._reached and self._fleet is not None:
            call = self._fleet.name_of_call()
            try:
                standings, full = await self._fleet.take(call, subjects)
            except FleetAway as error:
                self._lost(error)
            except asyncio.CancelledError:  # the caller left, and Redis may count the call all the same
                self._tell(Taken(subjects, [], self, call), requests=-1)
                raise
            else:
                _refuse(full, standings)
                self.counters.count_in(subjects)  # so that this process knows its own when Redis is lost
                return Taken(subjects, standings, self, call)
        standings, full = self.counters.take(subjects, self.workers)
        _refuse(full, standings)
        return Taken(subjects, standings, self)

    async def take_up(self, found: Sequence[Consumed]) -> None:
        """What the log knows of subjects that were not counted before. It never lowers a count."""
        for one in found:
            self.counters.at_least(one, self.workers)
        if found and self._reached and self._fleet is not None:
            try:
                await self._fleet.at_least(found)
            except FleetAway as error:
                self._lost(error)

    def settled(self, taken: Taken, counts: Counts) -> None:
        self.counters.let_go(taken.subjects)
        self.counters.charge(taken.subjects, counts.total, counts.completion_tokens)
        if taken.call:
            self._tell(taken, tokens=counts.total, output=counts.completion_tokens)

    def undone(self, taken: Taken) -> None:
        self.counters.let_go(taken.subjects)
        self.counters.take_back(taken.subjects)
        if taken.call:
            self._tell(taken, requests=-1)

    def look(self, subjects: Sequence[Subject]) -> list[Standing]:
        """How things stand, for pages and reports: from any thread but the event loop's."""
        if not subjects:
            return []
        if self._reached and self._fleet is not None:
            try:
                return self._fleet.look(subjects)
            except FleetAway:
                logger.debug("Redis did not say how limits stand; this process's own counts are told")
        return self.counters.standings(subjects, self.workers)

    def _tell(self, taken: Taken, *, tokens: int = 0, output: int = 0, requests: int = 0) -> None:
        if self._fleet is None:
            return
        work = self._fleet.settle(taken.call, taken.subjects, tokens=tokens, output=output, requests=requests)
        task = asyncio.get_running_loop().create_task(self._quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _quietly(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except FleetAway as error:
            self._lost(error)

    async def _keep(self, fleet: Fleet) -> None:
        """Renews what runs here, and looks for a Redis that was lost."""
        renewed = monotonic()
        while True:
            await asyncio.sleep(LOOK_AGAIN)
            try:
                if self._reached:
                    if monotonic() - renewed >= RENEW_EVERY:
                        renewed = monotonic()
                        await fleet.renew()
                    continue
                await fleet.check()
            except FleetAway as error:
                if self._reached:
                    self._lost(error)
                continue
            self._reached = self.came_back = True
            logger.warning("Redis is back; limits are counted together again")

    def _lost(self, error: Exception) -> None:
        if self._reached:
            self._reached = False
            logger.warning("Redis is lost (%s); %s until it is back", error, self._share())

    def _share(self) -> str:
        if self.workers == 1:
            return "this process lets in the whole of each limit, as the only one (WORKERS=1)"
        return f"each process lets in its share of each limit, a {self.workers}th (WORKERS={self.workers})"


limiter = Limiter()


def _refuse(full: Full | None, standings: list[Standing]) -> None:
    if full is not None:
        raise LimitReached(full.standing, full.wait, standings)
