"""Generations: an answer is written by a task of this process, which no socket owns. Sockets only watch.

The supervisor claims the pending generations, in whichever process is quickest, and each becomes a `Run`: it reads
`gateway.completions.stream`, keeps the growing answer in memory for watchers, and saves it to the database every half
second, so that a crash costs at most that much. A run ends with the answer, at "stop" from any tab or process, when
its owner may no longer chat, or with the server; never because nobody watches.
"""

import asyncio
import contextlib
import datetime as dt
import logging
import os
import secrets
import socket
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
from django.db import Error as DjangoDatabaseError
from django.db import transaction
from django.utils import timezone

from accounts.access import chat_caller
from accounts.callers import Caller
from accounts.database import in_database
from accounts.errors import AccountsError
from billing.errors import BillingError
from billing.ids import new_request
from chat.conversations import ChatMessage, announce, history, still_allowed
from chat.markdown import Growing
from chat.models import Generation, Message
from gateway.completions import Ask, Call, Event, Finished, Head, stream
from gateway.errors import GatewayError

SAVE_EVERY = 0.5  # seconds
HEARTBEAT_EVERY = 10.0
DEAD_AFTER = dt.timedelta(seconds=30)
LOOK_EVERY = 1.0  # for pending generations whose notification was lost
CLAIMED_AT_ONCE = 20
DATABASE_TROUBLE = (DjangoDatabaseError, psycopg.Error)  # the pool raises its own
ESTIMATES = frozenset({"estimated", "counted", "upstream_partial"})

_HOST = socket.gethostname()[:30]
PROCESS = f"{_HOST}:{os.getpid()}:{secrets.token_hex(4)}"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Answer:
    """An answer as far as it has come. Its sequence number counts the characters of reasoning and text."""

    text: Growing = field(default_factory=Growing)
    reasoning: str = ""
    deltas: int = 0  # those that brought text or reasoning: a live estimate of the tokens

    @property
    def seq(self) -> int:
        return len(self.text.text) + len(self.reasoning)

    def add(self, *, text: str = "", reasoning: str = "") -> None:
        self.deltas += 1
        self.reasoning += reasoning
        if text:
            self.text.add(text)


class Watchers:
    """The events of those who watch a conversation in this process."""

    def __init__(self) -> None:
        self._events: defaultdict[uuid.UUID, set[asyncio.Event]] = defaultdict(set)

    @contextlib.contextmanager
    def watching(self, conversation_id: uuid.UUID) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._events[conversation_id].add(event)
        try:
            yield event
        finally:
            self._events[conversation_id].discard(event)
            if not self._events[conversation_id]:
                del self._events[conversation_id]

    def wake(self, conversation_id: uuid.UUID) -> None:
        for event in self._events.get(conversation_id, ()):
            event.set()


watchers = Watchers()


class Characters:
    """Text that pages and PostgreSQL can hold: no NUL, no half of a surrogate pair, also when pieces cut one in two."""

    def __init__(self) -> None:
        self._held = ""

    def whole(self, piece: str) -> str:
        if piece.isascii() and not self._held:
            return piece.replace("\x00", "\ufffd")
        piece = self._held + piece
        self._held = piece[-1] if piece and "\ud800" <= piece[-1] <= "\udbff" else ""
        if self._held:
            piece = piece[:-1]
        joined = piece.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return joined.replace("\x00", "\ufffd")


@dataclass(frozen=True, slots=True)
class Task:
    """What a claimed generation needs to run."""

    generation_id: uuid.UUID
    conversation_id: uuid.UUID
    message_id: int
    model: str
    caller: Caller
    messages: list[ChatMessage]


@dataclass(frozen=True, slots=True)
class End:
    """How a generation ended. `error` is a stable code; the sentence is made where it is shown."""

    state: Generation.State
    error: str = ""


# What the gateway cuts, by the outcome that it logs.
ENDED_BY_OTHERS = {
    "drained": End(Generation.State.INTERRUPTED, "drained"),
    "revoked": End(Generation.State.STOPPED, "not_allowed"),
}


class Run:
    """One generation in this process."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.answer = Answer()
        self.began = time.monotonic()
        self.ttft_ms: int | None = None
        self._finished: Finished | None = None
        self._call = Call(request=new_request(), client_request_id="", leaving="stopped")
        self._characters = Characters()
        self._thoughts = Characters()
        self._reader: asyncio.Task[None] | None = None
        self._left: End | None = None
        self._saved = (0, 0.0)

    def stop(self, outcome: str = "stopped", end: End | None = None) -> None:
        """End it: the engine's connection closes at once, and what came so far is kept and accounted for."""
        if self._left is None:
            self._left = end or End(Generation.State.STOPPED)
            self._call.leaving = outcome
        if self._reader is not None:
            self._reader.cancel()

    async def carry_out(self) -> None:
        """Read the answer to its end, saving on the way; then save how it ended."""
        self._reader = asyncio.create_task(self._read(), name=f"reader {self.task.generation_id}")
        if self._left is not None:
            self._reader.cancel()
        while not (await asyncio.wait({self._reader}, timeout=SAVE_EVERY))[0]:
            await self._save()
        await self._finish(self._ending())

    async def _read(self) -> None:
        ask = Ask(
            endpoint="chat.completions",
            model=self.task.model,
            body={"messages": self.task.messages},
            stream=True,
            wants_usage=False,
        )
        async with contextlib.aclosing(stream(self.task.caller, ask, self._call)) as happenings:
            async for happening in happenings:
                match happening:
                    case Head():
                        self.ttft_ms = round((time.monotonic() - self.began) * 1000)
                    case Event():
                        self._take(happening)
                    case Finished():
                        self._finished = happening
                    case _:
                        pass

    def _take(self, event: Event) -> None:
        text, reasoning = self._characters.whole(event.text), self._thoughts.whole(event.reasoning)
        if text or reasoning:
            self.answer.add(text=text, reasoning=reasoning)
            watchers.wake(self.task.conversation_id)

    def _ending(self) -> End:
        reader = self._reader
        if self._call.cut_as:
            return ENDED_BY_OTHERS.get(self._call.cut_as, End(Generation.State.INTERRUPTED, "interrupted"))
        if reader is None or reader.cancelled():
            return self._left or End(Generation.State.INTERRUPTED, "interrupted")
        match reader.exception():
            case None:
                return End(Generation.State.DONE)
            case GatewayError() as error:
                return End(Generation.State.FAILED, (error.error_code or "internal_error")[:64])
            case BillingError():
                return End(Generation.State.FAILED, "accounts_unavailable")
            case error:
                _log.error("A generation failed", exc_info=error)
                return End(Generation.State.FAILED, "internal_error")

    async def _save(self) -> None:
        seq, at = self._saved
        if self.answer.seq == seq and time.monotonic() - at < HEARTBEAT_EVERY:
            return
        self._saved = (self.answer.seq, time.monotonic())
        try:
            wanted = await in_database(save, self.task, self.answer.text.text, self.answer.reasoning, self.answer.seq)
        except DATABASE_TROUBLE:
            self._saved = (seq, at)  # the next round tries again
            return
        if not wanted:
            self.stop()

    async def _finish(self, end: End) -> None:
        while True:
            try:
                await in_database(finish, self.task, self._last_words(end))
                return
            except DATABASE_TROUBLE:
                _log.warning("An answer waits for the database")
                await asyncio.sleep(1)

    def _last_words(self, end: End) -> dict[str, object]:
        counts = self._finished.counts if self._finished else None
        return {
            "text": self.answer.text.text,
            "reasoning": self.answer.reasoning,
            "seq": self.answer.seq,
            "state": end.state,
            "error": end.error,
            "request_id": self._call.request.id,
            "prompt_tokens": counts.prompt_tokens if counts else None,
            "completion_tokens": counts.completion_tokens if counts else self.answer.deltas or None,
            "estimated": counts is None or bool(ESTIMATES & {counts.prompt_source, counts.completion_source}),
            "ttft_ms": self._finished.ttft_ms if self._finished else self.ttft_ms,
            "duration_ms": (
                self._finished.duration_ms if self._finished else round((time.monotonic() - self.began) * 1000)
            ),
        }


def save(task: Task, text: str, reasoning: str, seq: int) -> bool:
    """Keep what came so far and say that this process lives. False: it is to stop, or was deleted."""
    with transaction.atomic():
        mine = Generation.objects.filter(pk=task.generation_id, process=PROCESS, state=Generation.State.RUNNING)
        if not mine.update(seq=seq, heartbeat_at=timezone.now()):
            return False
        Message.objects.filter(pk=task.message_id).update(text=text, reasoning=reasoning)
        return mine.filter(stop_requested_at=None).exists()


def finish(task: Task, words: dict[str, object]) -> None:
    """Keep the whole answer and how it ended. Only the process that claimed the generation may, and once."""
    text, reasoning = words.pop("text"), words.pop("reasoning")
    with transaction.atomic():
        mine = Generation.objects.filter(pk=task.generation_id, process=PROCESS, state=Generation.State.RUNNING)
        if mine.update(**words, finished_at=timezone.now()):
            Message.objects.filter(pk=task.message_id).update(text=text, reasoning=reasoning)
            announce("changed", task.conversation_id)


@transaction.atomic
def claim(limit: int = CLAIMED_AT_ONCE) -> list[Task]:
    """Make pending generations this process's own. What cannot run is finished here, with the reason."""
    pending = Generation.objects.select_for_update(skip_locked=True, of=("self",)).filter(
        state=Generation.State.PENDING
    )
    claimed = pending.select_related("message", "conversation__user", "conversation__team").order_by("created_at")
    return [task for generation in claimed[:limit] if (task := _claim_one(generation)) is not None]


def _claim_one(generation: Generation) -> Task | None:
    conversation = generation.conversation
    if generation.stop_requested_at:
        _close(generation, End(Generation.State.STOPPED))
        return None
    try:
        caller = chat_caller(conversation.user, conversation.team)
    except AccountsError:
        _close(generation, End(Generation.State.FAILED, "not_allowed"))
        return None
    generation.state, generation.process = Generation.State.RUNNING, PROCESS
    generation.heartbeat_at = timezone.now()
    generation.save(update_fields=["state", "process", "heartbeat_at"])
    return Task(
        generation_id=generation.pk,
        conversation_id=conversation.pk,
        message_id=generation.message_id,
        model=generation.model,
        caller=caller,
        messages=history(generation),
    )


def _close(generation: Generation, end: End) -> None:
    generation.state, generation.error, generation.finished_at = end.state, end.error, timezone.now()
    generation.save(update_fields=["state", "error", "finished_at"])
    announce("changed", generation.conversation_id)


def mark_interrupted() -> int:
    """Mark what dead processes left running: those without a heartbeat, and at once those that died on this machine."""
    running = Generation.objects.filter(state=Generation.State.RUNNING)
    silent = running.filter(heartbeat_at__lt=timezone.now() - DEAD_AFTER).values_list("process", flat=True)
    here = running.filter(process__startswith=f"{_HOST}:").values_list("process", flat=True)
    dead = {*silent, *(process for process in here.distinct() if _is_dead(process))}
    with transaction.atomic():
        left = list(running.select_for_update(skip_locked=True).filter(process__in=dead))
        for generation in left:
            _close(generation, End(Generation.State.INTERRUPTED, "interrupted"))
    return len(left)


def _is_dead(process: str) -> bool:
    """A process of this machine is dead when its pid is free, or is ours and we are another one.

    Two containers that share a host name but not their pids would misjudge one another; Docker and Kubernetes name
    each of them differently.
    """
    pid = int(process.split(":")[1])
    if process == PROCESS:
        return False
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


class Supervisor:
    """The generations of this process: claims, runs, stops and, when the server ends, winds up."""

    def __init__(self) -> None:
        self._runs: dict[uuid.UUID, Run] = {}  # by conversation: one answer at a time
        self._tasks: set[asyncio.Task[None]] = set()
        self._look = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._claims = True

    def run_of(self, conversation_id: uuid.UUID) -> Run | None:
        return self._runs.get(conversation_id)

    async def start(self) -> None:
        """Begin to claim. What a dead process of this machine left running is marked first."""
        self._claims, self._look = True, asyncio.Event()
        self._loops = [
            asyncio.create_task(self._claim_for_ever(), name="chat claims"),
            asyncio.create_task(self._sweep_for_ever(), name="chat sweep"),
        ]

    async def stop(self) -> None:
        """End what still runs as `drained`, and end the supervisor."""
        self._claims = False
        await self.stop_all("drained")
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops = []

    def stop_claiming(self) -> None:
        """From now on pending generations are left to other processes, or to the next start."""
        self._claims = False

    async def stop_all(self, outcome: str) -> None:
        for run in list(self._runs.values()):
            run.stop(outcome, End(Generation.State.INTERRUPTED, outcome))
        await self.idle()

    async def idle(self) -> None:
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def notified(self, payload: str) -> None:
        """A notification from any process: `asked`, `stop` or `changed`, and the conversation."""
        what, _, pk = payload.partition(" ")
        conversation_id = uuid.UUID(pk)
        if what == "asked":
            self._look.set()
        elif what == "stop" and (run := self.run_of(conversation_id)):
            run.stop()
        watchers.wake(conversation_id)

    async def _claim_for_ever(self) -> None:
        while True:
            try:
                if self._claims:
                    for task in await in_database(claim):
                        self._begin(task)
            except DATABASE_TROUBLE:
                _log.warning("Pending answers wait for the database")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._look.wait()
            self._look.clear()

    def _begin(self, task: Task) -> None:
        run = self._runs[task.conversation_id] = Run(task)
        running = asyncio.create_task(self._carry_out(run), name=f"generation {task.generation_id}")
        self._tasks.add(running)
        running.add_done_callback(self._tasks.discard)
        watchers.wake(task.conversation_id)

    async def _carry_out(self, run: Run) -> None:
        try:
            await run.carry_out()
        finally:
            if self._runs.get(run.task.conversation_id) is run:
                del self._runs[run.task.conversation_id]
            watchers.wake(run.task.conversation_id)

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await in_database(mark_interrupted)
                await self._end_those_not_allowed()
            except DATABASE_TROUBLE:
                _log.warning("The sweep of answers waits for the database")
            await asyncio.sleep(HEARTBEAT_EVERY)

    async def _end_those_not_allowed(self) -> None:
        """Their owner was deactivated or left the team, or the team was archived."""
        if not self._runs:
            return
        running = dict(self._runs)
        allowed = await in_database(still_allowed, list(running))
        for conversation_id in running.keys() - allowed:
            running[conversation_id].stop("revoked", End(Generation.State.STOPPED, "not_allowed"))


supervisor = Supervisor()


async def stop_all(outcome: str) -> None:
    await supervisor.stop_all(outcome)
