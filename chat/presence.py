"""Whether the people behind open sockets are still signed in, active and in their team.

A socket's session is read when it opens; afterwards nothing tells it about a sign-out, a changed password or a lost
membership. So each message asks, and every so often one question covers all open sockets of the process.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import psycopg
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import Error as DatabaseError
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from accounts.database import in_database
from accounts.models import User
from chat.conversations import still_allowed

CHECK_EVERY = 20.0  # seconds

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Visit:
    """A socket: who opened it, under which session, on which conversation."""

    session_key: str
    user_id: int
    conversation_id: uuid.UUID


def still_welcome(visits: Iterable[Visit]) -> set[Visit]:
    """Those whose session still belongs to the active user who opened it, and who may still chat there."""
    asked = list(visits)
    sessions = Session.objects.filter(session_key__in={visit.session_key for visit in asked})
    data = {row.session_key: row.get_decoded() for row in sessions.filter(expire_date__gt=timezone.now())}
    users = User.objects.filter(is_active=True).in_bulk({visit.user_id for visit in asked})
    allowed = still_allowed([visit.conversation_id for visit in asked])
    return {
        visit
        for visit in asked
        if visit.conversation_id in allowed
        and visit.user_id in users
        and _opens(data.get(visit.session_key, {}), users[visit.user_id])
    }


def _opens(session: dict[str, object], user: User) -> bool:
    digest = str(session.get(HASH_SESSION_KEY, ""))
    return session.get(SESSION_KEY) == str(user.pk) and constant_time_compare(digest, user.get_session_auth_hash())


class Presence:
    """The open sockets of this process, looked at together while there are any."""

    def __init__(self) -> None:
        self._leave: dict[object, tuple[Visit, Callable[[], None]]] = {}
        self._loop: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def present(self, visit: Visit, leave: Callable[[], None]) -> Iterator[None]:
        token = object()
        self._leave[token] = (visit, leave)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._check_for_ever(), name="chat presence")
        try:
            yield
        finally:
            del self._leave[token]
            if not self._leave and self._loop is not None:
                self._loop.cancel()
                self._loop = None

    async def _check_for_ever(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY)
            try:
                welcome = await in_database(still_welcome, [visit for visit, _ in self._leave.values()])
            except (DatabaseError, psycopg.Error):
                _log.warning("Open sockets wait for the database to be checked")
                continue
            for visit, leave in list(self._leave.values()):
                if visit not in welcome:
                    leave()


presence = Presence()
