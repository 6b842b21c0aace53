"""The monitor's socket. It only translates: what the watchers see into the cells that have changed.

A frame goes out when the page has taken the one before, so that nothing piles up for a slow one; what is sent is the
difference to what was sent last, so that nothing is lost either.
"""

import asyncio
import json
import logging
import time
from collections.abc import Coroutine
from typing import Any
from urllib.parse import parse_qs

from channels.consumer import get_handler_name
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from accounts.models import User
from accounts.sessions import Watch
from gateway.monitor.screen import Screen
from gateway.monitor.watching import Page, watchers

# As the chat's codes: pages come back after TOO_SLOW and FAILED.
SIGNED_OUT, NOT_YOURS, TOO_SLOW, NOT_OURS, FAILED, TOO_MANY = 4401, 4404, 4408, 4400, 4500, 4429
STUCK_SECONDS = 30.0  # that a page may take to say that it has a frame
FRAME_LIMIT = 200  # characters of what a page says

_log = logging.getLogger(__name__)


class MonitorConsumer(AsyncWebsocketConsumer):
    """One open page of an operator's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tasks: set[asyncio.Task[None]] = set()
        self._showing: asyncio.Task[None] | None = None
        self._closed = False
        self._page: Page | None = None
        self._sent_at: float | None = None  # of the frame that the page has not taken yet
        self._begin = True

    async def dispatch(self, message: dict[str, Any]) -> None:
        """As the parent's, without its thread hop a message."""
        await getattr(self, get_handler_name(message))(message)

    async def connect(self) -> None:
        """Accept first: a refused handshake looks like a lost connection, and pages would try again for ever."""
        await self.accept()
        user = self.scope.get("user")
        if not isinstance(user, User) or not user.is_active:
            await self._leave(SIGNED_OUT)
        elif not user.is_operator:
            await self._leave(NOT_YOURS)
        elif not watchers.has_room(user.pk):
            await self._leave(TOO_MANY)
        else:
            watch = Watch(self.scope["session"].session_key or "", user.pk)
            # Begun at once, so that the next one who asks for room finds it taken.
            loop = asyncio.get_running_loop()
            self._showing = asyncio.Task(self._show(watch), loop=loop, name="monitor page", eager_start=True)
            self._showing.add_done_callback(self._stopped_showing)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._closed or self._page is None:
            return
        match _said(text_data):
            case "ack":
                self._sent_at = None
            case "hold":  # what is on its way it drops, and is told everything when it goes on
                self._page.held, self._sent_at = True, None
            case "go":
                self._begin, self._sent_at = True, None
                watchers.goes_on(self._page)
            case _:
                await self._leave(NOT_OURS)

    async def disconnect(self, code: int) -> None:
        self._closed = True
        if self._showing is not None:
            self._showing.cancel()

    async def _show(self, watch: Watch) -> None:
        language = _language(self.scope.get("query_string", b""))
        screen = Screen(language)
        with watchers.watching(watch, leave=self._not_welcome, fail=self._failed) as page:
            self._page = page
            while not self._closed:
                await page.changed.wait()
                page.changed.clear()
                if self._sent_at is not None:
                    if time.monotonic() - self._sent_at > STUCK_SECONDS:
                        await self._leave(TOO_SLOW)
                elif not page.held:
                    screen = await self._send_news(screen, language)

    async def _send_news(self, screen: Screen, language: str) -> Screen:
        if self._begin:
            screen, self._begin = Screen(language), False
        seen = watchers.picture
        fragment = await asyncio.to_thread(screen.news, seen) if seen is not None else ""
        if fragment and not self._closed:
            self._sent_at = time.monotonic()
            await self.send(text_data=fragment)
        return screen

    def _not_welcome(self) -> None:
        self._keep(self._leave(SIGNED_OUT))

    def _failed(self) -> None:
        self._keep(self._leave(FAILED))

    def _stopped_showing(self, task: asyncio.Task[None]) -> None:
        """A page that is shown nothing any more must not look alive: closed, it comes back and starts afresh."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("The monitor could not be shown", exc_info=error)
            self._failed()

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _leave(self, code: int) -> None:
        if not self._closed:
            self._closed = True
            await self.close(code)
            if self._showing is not None and self._showing is not asyncio.current_task():
                self._showing.cancel()


def _said(text: str | None) -> str:
    """The type of what the page says; empty for what it cannot have said."""
    if text is None or len(text) > FRAME_LIMIT:
        return ""
    try:
        found = json.loads(text)
    except ValueError:
        return ""
    return str(found.get("type", "")) if isinstance(found, dict) else ""


def _language(query: bytes) -> str:
    wanted = parse_qs(query.decode("latin-1")).get("lang", [""])[0]
    return wanted if wanted in dict(settings.LANGUAGES) else settings.LANGUAGE_CODE
