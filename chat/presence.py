"""Whether the people behind open sockets are still signed in, active and in their team.

A socket's session is read when it opens. A sign-out, a deactivation and a lost membership are announced
(`accounts.departures`), and the person's sockets are looked at then. Each message asks too, and every so often one
query covers all open sockets of the process: what was not announced, such as a session that ran out, ends there.
"""

import asyncio
import contextlib
import enum
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import psycopg
from django.contrib.sessions.models import Session
from django.db import Error as DatabaseError
from django.db.models import Exists, OuterRef, QuerySet, TextField, Value
from django.db.models.functions import Cast
from django.utils import timezone

from accounts.database import in_database
from accounts.models import Membership, User
from accounts.sessions import opens
from chat.conversations import MAY_CHAT
from chat.models import Conversation

CHECK_EVERY = 20.0  # seconds
MOST_OF_A_PERSON = 50  # open sockets in this process: pages of one person
MOST = 10_000  # of everybody; each costs 50 to 100 KB

_log = logging.getLogger(__name__)


class Standing(enum.Enum):
    WELCOME = enum.auto()
    SIGNED_OUT = enum.auto()  # or deactivated
    OUTSIDE = enum.auto()  # signed in, and the conversation is no longer there for them


@dataclass(frozen=True, slots=True)
class Visit:
    """A socket: who opened it, under which session, on which conversation of theirs."""

    session_key: str
    user_id: int
    conversation_id: uuid.UUID


type Leave = Callable[[Standing], None]


def standing(visits: Collection[Visit]) -> dict[Visit, Standing]:
    """How each visitor stands now. One query, however many they are."""
    sessions = Session.objects.filter(
        session_key__in={visit.session_key for visit in visits}, expire_date__gt=timezone.now()
    )
    users = User.objects.filter(pk__in={visit.user_id for visit in visits}, is_active=True)
    found = sessions.values_list(Value("session"), "session_key", "session_data").union(
        users.values_list(Value("user"), Cast("pk", TextField()), "password"),
        _open_to_owner({visit.conversation_id for visit in visits}).values_list(
            Value("conversation"), Cast("pk", TextField()), Cast("user", TextField())
        ),
        all=True,
    )
    rows = {(kind, key): data for kind, key, data in found}
    return {visit: _standing(visit, rows) for visit in visits}


def _open_to_owner(conversation_ids: Collection[uuid.UUID]) -> QuerySet[Conversation]:
    member = Membership.objects.filter(user=OuterRef("user"), team=OuterRef("team"), role__in=MAY_CHAT)
    return Conversation.objects.filter(Exists(member), pk__in=conversation_ids, team__archived_at=None)


def _standing(visit: Visit, rows: dict[tuple[str, str], str]) -> Standing:
    session, password = rows.get(("session", visit.session_key)), rows.get(("user", str(visit.user_id)))
    if session is None or password is None or not opens(Session(session_data=session), visit.user_id, password):
        return Standing.SIGNED_OUT
    owner = rows.get(("conversation", str(visit.conversation_id)))
    return Standing.WELCOME if owner == str(visit.user_id) else Standing.OUTSIDE


class Presence:
    """The open sockets of this process, looked at together while there are any."""

    def __init__(self) -> None:
        self._leave: dict[object, tuple[Visit, Leave]] = {}
        self._of_a_person: Counter[int] = Counter()
        self._loop: asyncio.Task[None] | None = None
        self._looks: set[asyncio.Task[None]] = set()

    def has_room(self, user_id: int) -> bool:
        """Whether this person may open one more socket here."""
        return len(self._leave) < MOST and self._of_a_person[user_id] < MOST_OF_A_PERSON

    @contextlib.contextmanager
    def present(self, visit: Visit, leave: Leave) -> Iterator[None]:
        """`leave` is called when the visitor is no longer welcome."""
        token = object()
        self._leave[token] = (visit, leave)
        self._of_a_person[visit.user_id] += 1
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._look_for_ever(), name="chat presence")
        try:
            yield
        finally:
            del self._leave[token]
            self._of_a_person[visit.user_id] -= 1
            if not self._of_a_person[visit.user_id]:
                del self._of_a_person[visit.user_id]
            if not self._leave and self._loop is not None:
                self._loop.cancel()
                self._loop = None

    def departed(self, user_id: int) -> None:
        """Look at this person's sockets now."""
        if any(visit.user_id == user_id for visit, _ in self._leave.values()):
            look = asyncio.get_running_loop().create_task(self._look(user_id))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY)
            await self._look()

    async def _look(self, user_id: int | None = None) -> None:
        asked = {visit for visit, _ in self._leave.values() if user_id in {None, visit.user_id}}
        try:
            found = await in_database(standing, asked)
        except (DatabaseError, psycopg.Error):
            _log.warning("Open sockets wait for the database to be checked")
            return
        for visit, leave in list(self._leave.values()):
            if found.get(visit, Standing.WELCOME) is not Standing.WELCOME:
                leave(found[visit])


presence = Presence()
