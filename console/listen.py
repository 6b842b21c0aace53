"""LISTEN: what one process writes, the others hear of within a moment.

The connection is this module's own, outside the pool and kept open; it needs a direct address, since LISTEN does not
work through PgBouncer. Its heartbeat is also how the process knows whether PostgreSQL answers.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import psycopg
from django.db import connection
from psycopg import sql

from accounts.background import Listener

EVERY = 1.0  # seconds between two heartbeats
PATIENCE = 5.0  # seconds for an answer
RETRY = 0.5
DJANGO_S_OWN = frozenset({"pool", "isolation_level", "assume_role", "server_side_binding"})  # the rest is libpq's

logger = logging.getLogger(__name__)


def direct_address() -> dict[str, Any]:
    """How psycopg reaches the database without Django's pool."""
    database = connection.settings_dict
    names = {"host": "HOST", "port": "PORT", "dbname": "NAME", "user": "USER", "password": "PASSWORD"}
    found = {ours: database[theirs] for ours, theirs in names.items() if database.get(theirs)}
    options = {key: value for key, value in database.get("OPTIONS", {}).items() if key not in DJANGO_S_OWN}
    return {**found, **options, "connect_timeout": 5, "autocommit": True}


def renew_pool() -> None:
    """Have Django connect anew. Connections in use are closed when they are given back."""
    connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's backend has one


class Listening:
    """The LISTEN connection of this process."""

    def __init__(self, listeners: Mapping[str, Listener]) -> None:
        self._listeners = listeners
        self._answered_at: float | None = None
        # Django's pool tries again ever more seldom while PostgreSQL is away, and who waits for it waits on: once the
        # database is back, a new pool is quicker than the old one's next try.
        self._was_away = False
        self._task: asyncio.Task[None] | None = None

    @property
    def database_answers(self) -> bool:
        return self._answered_at is not None and time.monotonic() - self._answered_at < EVERY + PATIENCE / 2

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="listen")

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except (psycopg.Error, TimeoutError, OSError):
                if self._answered_at is not None:
                    logger.warning("The database is away")
                self._answered_at, self._was_away = None, True
            await asyncio.sleep(RETRY)

    async def _listen(self) -> None:
        async with await psycopg.AsyncConnection.connect(**direct_address()) as own:
            for channel in self._listeners:
                await own.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            if self._was_away:
                await asyncio.to_thread(renew_pool)
                self._was_away = False
            while True:
                async with asyncio.timeout(PATIENCE):
                    await own.execute("SELECT 1")
                self._answered_at = time.monotonic()
                async for notification in own.notifies(timeout=EVERY):
                    self._hand_on(notification.channel, notification.payload)

    def _hand_on(self, channel: str, payload: str) -> None:
        try:
            self._listeners[channel](payload)
        except Exception:
            logger.exception("A listener failed", extra={"channel": channel})
