"""What /v1 must know to answer, held in memory: keys, models, engines, prices and limits of one
revision.

A warm call asks the database nothing. Every change raises the revision in its own transaction; each process sees
that within a second, by notification and by a look each second, and then loads everything anew.
"""

import asyncio
import logging
from dataclasses import dataclass
from time import monotonic
from typing import Any

import psycopg
from django.conf import settings
from django.db import Error as DatabaseError

from accounts import revision
from accounts.callers import Caller
from accounts.database import in_database
from accounts.errors import UnreadableSecret
from accounts.keys import load_callers
from accounts.secrets import decrypt
from billing.budgets.monthly import BudgetBook, load_budgets
from billing.limits.consumed import consumed
from billing.limits.limiter import limiter
from billing.limits.tiers import load_rules
from billing.limits.windows import NO_RULES, Consumed, Rules
from billing.prices.pricing import PriceBook, load_prices
from gateway import running
from gateway.engines.facts import EngineFacts, Route
from gateway.errors import Unavailable
from gateway.models import Engine, ServedModel

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
PATIENCE = 5.0  # seconds that a call waits for PostgreSQL, as long as Django's pool does
RETRY_AFTER = 5  # seconds


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Never changed after its making. `callers` by key digest, `routes` by public id, `aliases` by folded name."""

    revision: int
    callers: dict[bytes, Caller]
    routes: dict[str, tuple[Route, ...]]
    aliases: dict[str, str]
    prices: PriceBook
    budgets: BudgetBook
    limits: Rules = NO_RULES


class Holder:
    """The process's snapshot. It may be read while PostgreSQL is away, for AUTH_LEASE seconds."""

    def __init__(self) -> None:
        self.fresh = False  # whether the last look at PostgreSQL succeeded
        self._snapshot: Snapshot | None = None
        self._reached = 0.0
        self._begun = 0  # looks begun so far
        self._lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def current(self) -> Snapshot:
        """Raises Unavailable before the first load, and when PostgreSQL has been away longer than the lease."""
        if self._snapshot is None or monotonic() - self._reached > settings.ENVIRONMENT.auth_lease:
            raise Unavailable("The database cannot be reached. Try again later.", retry_after=RETRY_AFTER)
        return self._snapshot

    def engines(self) -> set[EngineFacts]:
        """Those that serve a model, as far as they are known."""
        ways = self._snapshot.routes.values() if self._snapshot else ()
        return {route.engine for routes in ways for route in routes}

    async def refresh(self) -> Snapshot:
        """Looks at the revision, in a look that begins after this call, and loads what has changed.

        Any number of callers share one look. Raises Unavailable when PostgreSQL is away.
        """
        wanted = self._begun + 1
        async with self._loop_lock():
            if self._begun < wanted:
                self._begun += 1
                await self._look()
        if not self.fresh:
            raise Unavailable("The database cannot be reached. Try again later.", retry_after=RETRY_AFTER)
        return self.current()

    async def refresh_soon(self) -> Snapshot:
        """As `refresh`, for a caller who waits: raises Unavailable when it takes longer than PATIENCE.

        The look goes on for those who come after: giving it up would leave its thread to a slow database all the same.
        """
        task = asyncio.get_running_loop().create_task(self.refresh())
        self._tasks.add(task)
        task.add_done_callback(self._done)
        await asyncio.wait({task}, timeout=PATIENCE)
        if not task.done():
            raise Unavailable("The database is slow to answer. Try again later.", retry_after=RETRY_AFTER)
        return task.result()

    async def poll(self) -> None:
        """Looks each second until cancelled."""
        while True:
            try:
                await self.refresh()
            except Unavailable:
                logger.debug("PostgreSQL is away; the last snapshot stays in use")
            await asyncio.sleep(POLL_SECONDS)

    def notified(self, payload: str = "") -> None:
        """Called in the event loop when a change was announced."""
        task = asyncio.get_running_loop().create_task(self._refresh_quietly())
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waited for it has heard of it

    async def _refresh_quietly(self) -> None:
        try:
            await self.refresh()
        except Unavailable:
            logger.debug("PostgreSQL is away; the last snapshot stays in use")

    async def _look(self) -> None:
        afresh = limiter.came_back
        try:
            loaded = await in_database(_load_if_moved, self._snapshot, afresh=afresh)
        except (DatabaseError, psycopg.Error):
            if self.fresh:
                logger.warning("PostgreSQL cannot be reached; keys and models already known stay in use")
            self.fresh = False
            return
        self.fresh, self._reached = True, monotonic()
        if loaded is not None:
            snapshot, used = loaded
            limiter.came_back = limiter.came_back and not afresh
            await limiter.take_up(used)  # before it binds anybody
            self._snapshot = snapshot
            _cut_revoked(snapshot)

    def _loop_lock(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if self._lock is None or self._lock[0] is not loop:
            self._lock = loop, asyncio.Lock()
        return self._lock[1]


holder = Holder()


def _load_if_moved(known: Snapshot | None, *, afresh: bool) -> tuple[Snapshot, list[Consumed]] | None:
    """The new snapshot, and what was used today by those who were not limited before; `afresh`: by all who are."""
    # The revision is read first: a change that commits meanwhile is loaded again, never missed.
    number = revision.current()
    if known is None or number != known.revision:
        snapshot = load(number)
    elif afresh:
        snapshot = known
    else:
        return None
    before = NO_RULES if known is None or afresh else known.limits
    return snapshot, consumed(snapshot.limits.without(before))


def load(number: int) -> Snapshot:
    routes = load_routes()
    aliases = {alias.casefold(): name for name, ways in routes.items() for way in ways for alias in way.aliases}
    aliases |= {name.casefold(): name for name in routes}
    return Snapshot(number, load_callers(), routes, aliases, load_prices(), load_budgets(), load_rules())


def load_routes() -> dict[str, tuple[Route, ...]]:
    """The ways to each model. The demo engine counts only while no other engine is enabled."""
    engines = list(Engine.objects.filter(enabled=True).order_by("pk"))
    offered = [engine for engine in engines if not engine.fallback] or engines
    facts = {engine.pk: engine_facts(engine) for engine in offered}
    found: dict[str, list[Route]] = {}
    for row in ServedModel.objects.filter(enabled=True, engine_id__in=facts).order_by("public_id", "pk"):
        route = Route(
            engine=facts[row.engine_id],
            public_id=row.public_id,
            engine_model=row.engine_model,
            context_length=row.context_length,
            aliases=tuple(row.aliases),
            created=int(row.created_at.timestamp()),
            retires_on=row.retires_on,
            successor=row.successor,
            defaults=row.defaults,
            default_reserve=row.default_reserve,
        )
        found.setdefault(row.public_id, []).append(route)
    return {name: tuple(ways) for name, ways in found.items()}


def engine_facts(engine: Engine) -> EngineFacts:
    secret, lost = "", False
    if engine.secret:
        try:
            secret = decrypt(engine.secret)
        except UnreadableSecret:
            lost = True
    return EngineFacts(
        id=engine.pk,
        name=engine.name,
        type=engine.type,
        url=engine.url,
        secret=secret,
        machine_name=engine.machine_name,
        secret_lost=lost,
        weight=engine.weight,
        max_concurrent=engine.max_concurrent,
        allowed=None if engine.allowed_fields is None else frozenset(engine.allowed_fields),
    )


def _cut_revoked(snapshot: Snapshot) -> None:
    live = {caller.key_id for caller in snapshot.callers.values()}
    running.cut(lambda call: _bears_dead_key(call.caller, live), "revoked")


def _bears_dead_key(caller: Caller | None, live: set[int | None]) -> bool:
    return caller is not None and caller.key_id is not None and caller.key_id not in live
