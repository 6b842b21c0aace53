"""The chat's socket. It only translates: messages of the page into verbs, and what a watcher says into frames."""

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from channels.consumer import get_handler_name
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.template.loader import render_to_string
from django.utils import translation

from accounts.database import in_database
from accounts.errors import AccountsError
from accounts.models import User
from chat import conversations
from chat.errors import ChatError
from chat.generations import DATABASE_TROUBLE, wait, watchers
from chat.messages import FRAME_LIMIT, Ack, Again, Cursor, PageMessage, Stop, Unreadable, parse
from chat.models import Conversation
from chat.presence import Presence, Standing, Visit, presence, standing
from chat.show import sentence
from chat.watching import Watcher

# Servers let applications send codes from 4000 on. Pages come back after TOO_SLOW and FAILED, and after ASLEEP once
# somebody looks at them.
SIGNED_OUT, NOT_YOURS, TOO_SLOW, NOT_OURS, FAILED, ASLEEP, TOO_MANY = 4401, 4404, 4408, 4400, 4500, 4410, 4429
FAREWELL = {Standing.SIGNED_OUT: SIGNED_OUT, Standing.OUTSIDE: NOT_YOURS}
UNACKED_LIMIT = 256 * 1024  # bytes on their way; beyond it the page is sent nothing until it catches up
UNACKED_SECONDS = 30.0
LOOK_AT_ACKS = 5.0
SILENT_SECONDS = 60.0  # a page says at once where it stands; who has not by then is none
IDLE_SECONDS = 8 * 3600.0  # with nothing said and nothing shown
QUICKEST, SLOWEST = 0.05, 1.0  # seconds between two frames


_log = logging.getLogger(__name__)


class Unacked:
    """Frames that the page has not acknowledged. Servers buffer without limit, so we must not send without limit."""

    def __init__(self) -> None:
        self.frame = 0
        self._frames: deque[tuple[int, int, float]] = deque()
        self._bytes = 0

    def sent(self, size: int) -> None:
        self._frames.append((self.frame, size, time.monotonic()))
        self._bytes += size

    def acknowledged(self, frame: int) -> None:
        while self._frames and self._frames[0][0] <= frame:
            self._bytes -= self._frames.popleft()[1]

    @property
    def any(self) -> bool:
        return bool(self._frames)

    @property
    def full(self) -> bool:
        return self._bytes > UNACKED_LIMIT

    @property
    def stuck(self) -> bool:
        return bool(self._frames) and time.monotonic() - self._frames[0][2] > UNACKED_SECONDS


class ChatConsumer(AsyncWebsocketConsumer):
    """One page on one conversation."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watching: asyncio.Task[None] | None = None
        self._cursor: asyncio.Future[int | None] | None = None
        self._unacked = Unacked()
        self._wake = asyncio.Event()
        self._closed = False
        self._alive_at = time.monotonic()  # when anything was last said or shown

    async def dispatch(self, message: dict[str, Any]) -> None:
        """As the parent's, without its thread hop a message: the database is reached by `in_database` alone."""
        await getattr(self, get_handler_name(message))(message)

    async def connect(self) -> None:
        """Accept first: a refused handshake looks like a lost connection, and pages would try again for ever."""
        await self.accept()
        user = self.scope.get("user")
        if not isinstance(user, User) or not user.is_active:
            await self._leave(SIGNED_OUT)
            return
        conversation = await in_database(_find, user, self.scope["url_route"]["kwargs"]["pk"])
        if conversation is None:
            await self._leave(NOT_YOURS)
            return
        if not presence.has_room(user.pk):
            await self._leave(TOO_MANY)
            return
        self._user, self._conversation = user, conversation
        self._visit = Visit(self.scope["session"].session_key or "", user.pk, conversation.pk)
        self._language = _language(self.scope.get("query_string", b""))
        # Begun at once, so that the next one who asks for room finds it taken.
        watch, name = self._watch(presence), f"watch {conversation.pk}"
        self._watching = asyncio.Task(watch, loop=asyncio.get_running_loop(), name=name, eager_start=True)
        self._watching.add_done_callback(self._stopped_watching)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._closed or self._watching is None:
            return
        if text_data is None or len(text_data) > FRAME_LIMIT:
            await self._leave(NOT_OURS)
            return
        self._alive_at = time.monotonic()
        try:
            message = parse(text_data)
        except Unreadable:
            return
        match message:
            case Ack(frame):
                self._unacked.acknowledged(frame)
                self._wake.set()
            case Cursor(newest):
                self._restart(newest)
            case _:
                await self._act(message)

    async def disconnect(self, code: int) -> None:
        self._closed = True
        if self._watching is not None:
            self._watching.cancel()

    async def _act(self, message: PageMessage) -> None:
        """Do what the page asks, for a person who is asked each time whether they still may."""
        try:
            found = await in_database(standing, [self._visit])
            if found[self._visit] in FAREWELL:
                await self._leave(FAREWELL[found[self._visit]])
                return
            await in_database(self._verb(message))
        except ChatError as error:
            await self._say(error.code)
        except AccountsError:
            await self._leave(NOT_YOURS)
        except DATABASE_TROUBLE:
            await self._say("internal_error")

    def _verb(self, message: PageMessage) -> Callable[[], object]:
        user, conversation = self._user, self._conversation
        match message:
            case Stop():
                return lambda: conversations.stop(user=user, conversation=conversation)
            case Again(model):
                return lambda: conversations.ask_again(user=user, conversation=conversation, model=model)
            case conversations.Question():
                return lambda: conversations.ask(user=user, conversation=conversation, question=message)
            case _:
                raise Unreadable

    async def _say(self, code: str) -> None:
        with translation.override(self._language):
            fragment = render_to_string("chat/conversation.html#problem", {"problem": sentence(code)})
        await self._send(fragment)

    def _restart(self, newest: int | None) -> None:
        """The page says where it stands; show it everything from there."""
        self._newest, self._begin = newest, True
        self._wake.set()

    _newest: int | None = None
    _begin = False

    async def _watch(self, present: Presence) -> None:
        """Send what the conversation gains, for as long as the socket is open."""
        watcher = Watcher(self._conversation.pk, self._language)
        with present.present(self._visit, self._farewell), watchers.watching(self._conversation.pk) as self._wake:
            while not self._closed:
                if (code := self._over(watcher)) is not None:
                    await self._leave(code)
                    return
                await self._send(await self._news(watcher))
                lag = await _rest(QUICKEST)
                await _rest(min(lag * 4, SLOWEST))
                await wait(self._wake, min(watcher.patience, LOOK_AT_ACKS) if self._unacked.any else watcher.patience)

    def _over(self, watcher: Watcher) -> int | None:
        """Why the socket should be closed, if it should."""
        silence = time.monotonic() - self._alive_at
        if self._unacked.stuck:
            return TOO_SLOW
        if silence > SILENT_SECONDS and not (watcher.began or self._begin):
            return NOT_OURS
        return ASLEEP if silence > IDLE_SECONDS else None

    async def _news(self, watcher: Watcher) -> str:
        try:
            if self._begin:
                self._begin = False
                return await watcher.begin(self._newest)
            if watcher.began and not self._unacked.full:
                return await watcher.advance()
        except DATABASE_TROUBLE:
            self._begin = self._begin or not watcher.began
        return ""

    async def _send(self, fragment: str) -> None:
        if not fragment or self._closed:
            return
        self._alive_at = time.monotonic()
        self._unacked.frame += 1
        framed = f'{fragment}<data id="frame" value="{self._unacked.frame}" hx-swap-oob="true"></data>'
        self._unacked.sent(len(framed.encode()))
        await self.send(text_data=framed)

    def _farewell(self, found: Standing) -> None:
        self._leaving = asyncio.create_task(self._leave(FAREWELL[found]))

    def _stopped_watching(self, task: asyncio.Task[None]) -> None:
        """A watcher that failed must not leave a page that looks alive: closed, it comes back and starts afresh."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("A socket could not be served", exc_info=error)
            self._leaving = asyncio.create_task(self._leave(FAILED))

    async def _leave(self, code: int) -> None:
        if not self._closed:
            self._closed = True
            self._wake.set()
            await self.close(code)


async def _rest(seconds: float) -> float:
    """Sleep, and say how much longer than asked it took: the loop's lag."""
    before = time.monotonic()
    await asyncio.sleep(seconds)
    return max(0.0, time.monotonic() - before - seconds)


def _find(user: User, pk: uuid.UUID) -> Conversation | None:
    return conversations.visible_to(user).filter(pk=pk).first()


def _language(query: bytes) -> str:
    wanted = parse_qs(query.decode("latin-1")).get("lang", [""])[0]
    return wanted if wanted in dict(settings.LANGUAGES) else settings.LANGUAGE_CODE
