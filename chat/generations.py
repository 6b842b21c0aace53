"""Generations: an answer is written by a task of this process, which no socket owns. Sockets only watch.

The supervisor claims the pending generations, in whichever process is quickest, and each becomes a `Run`: it reads
`gateway.completions.stream`, keeps the growing answer in memory for watchers, and saves it to the database every half
second, so that a crash costs at most that much. A run ends with the answer, at "stop" from any tab or process, when
its owner may no longer chat, or with the server; never because nobody watches.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
from django.db import Error as DjangoDatabaseError

from accounts.database import in_database
from billing.errors import BillingError
from chat.claims import End, Task, claim, finish, mark_interrupted, save
from chat.conversations import still_allowed
from chat.markdown import Growing
from chat.models import Generation
from gateway.answers import said
from gateway.completions import Ask, Call, Events, Head, stream
from gateway.engines.facts import Kind
from gateway.errors import GatewayError, OverLimit
from gateway.refused import note

SAVE_EVERY = 0.5  # seconds
HEARTBEAT_EVERY = 10.0
LOOK_EVERY = 1.0  # for pending generations whose notification was lost
DATABASE_TROUBLE = (DjangoDatabaseError, psycopg.Error)  # the pool raises its own
ESTIMATES = frozenset({"estimated", "counted", "upstream_partial"})

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


async def wait(event: asyncio.Event, at_most: float) -> None:
    """Until the event is set or the seconds are over; it is clear afterwards."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(at_most):
            await event.wait()
    event.clear()


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
        self._call = Call(request=task.request, leaving="stopped")
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
            kind=Kind.CHAT,
            model=self.task.model,
            body={"messages": self.task.messages},
            stream=True,
        )
        async with contextlib.aclosing(stream(self.task.caller, ask, self._call)) as happenings:
            async for happening in happenings:
                match happening:
                    case Head():
                        self.ttft_ms = round((time.monotonic() - self.began) * 1000)
                    case Events(data=events):
                        for event in events:
                            self._take(*said(event))

    def _take(self, text: str, reasoning: str) -> None:
        text, reasoning = self._characters.whole(text), self._thoughts.whole(reasoning)
        if text or reasoning:
            self.answer.add(text=text, reasoning=reasoning)
            watchers.wake(self.task.conversation_id)

    def _ending(self) -> End:
        reader = self._reader
        if self._call.cut_as:
            return ENDED_BY_OTHERS.get(self._call.cut_as, End(Generation.State.INTERRUPTED, "interrupted"))
        if reader is None or reader.cancelled():
            return self._left or End(Generation.State.INTERRUPTED, "interrupted")
        refusal = reader.exception()
        if isinstance(refusal, GatewayError):
            note(self._call, refusal, status=refusal.status)
        match refusal:
            case None:
                return End(Generation.State.DONE)
            case OverLimit() as error:
                return End(Generation.State.FAILED, f"{error.error_code}:{error.limit}"[:64])
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
        finished = self._call.finished
        if finished is None:  # refused before it began, or failed where the gateway cannot see it
            counts: dict[str, object] = {"completion_tokens": self.answer.deltas or None, "estimated": True}
        else:
            counts = {
                "prompt_tokens": finished.counts.prompt_tokens,
                "completion_tokens": finished.counts.completion_tokens,
                "estimated": bool(ESTIMATES & {finished.counts.prompt_source, finished.counts.completion_source}),
                "cost": finished.cost,
                "ttft_ms": finished.ttft_ms,
                "duration_ms": finished.duration_ms,
            }
        return {
            "text": self.answer.text.text,
            "reasoning": self.answer.reasoning,
            "seq": self.answer.seq,
            "state": end.state,
            "error": end.error,
            **counts,
        }


class Supervisor:
    """The generations of this process: claims, runs, stops and, when the server ends, winds up."""

    def __init__(self) -> None:
        self._runs: dict[uuid.UUID, Run] = {}  # by conversation: one answer at a time
        self._tasks: set[asyncio.Task[None]] = set()
        self._look, self._sweep = asyncio.Event(), asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._claims = True

    def run_of(self, conversation_id: uuid.UUID) -> Run | None:
        return self._runs.get(conversation_id)

    async def start(self) -> None:
        """Begin to claim. What a dead process of this machine left running is marked first."""
        self._claims, self._look, self._sweep = True, asyncio.Event(), asyncio.Event()
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

    def departed(self) -> None:
        """Somebody lost a right: look at once who may no longer have an answer written."""
        self._sweep.set()

    async def _claim_for_ever(self) -> None:
        while True:
            try:
                if self._claims:
                    for task in await in_database(claim):
                        self._begin(task)
            except DATABASE_TROUBLE:
                _log.warning("Pending answers wait for the database")
            await wait(self._look, LOOK_EVERY)

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
            await wait(self._sweep, HEARTBEAT_EVERY)

    async def _end_those_not_allowed(self) -> None:
        """Their owner was deactivated or left the team, or the team was archived."""
        if not self._runs:
            return
        running = dict(self._runs)
        allowed = await in_database(still_allowed, list(running))
        for conversation_id in running.keys() - allowed:
            running[conversation_id].stop("revoked", End(Generation.State.STOPPED, "not_allowed"))


supervisor = Supervisor()
