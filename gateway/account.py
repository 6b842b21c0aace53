"""One call's account while it runs: what its answer brings, what of it goes out, and its records in the spool."""

import asyncio
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple

from accounts.callers import Caller
from billing.errors import SpoolUnavailable
from billing.records import NOTHING, Final, Progress, Start
from billing.spool.writer import spool
from gateway import embeddings, measures
from gateway.answers import Shaper, is_error, usage_of
from gateway.answers import timed as usage_of_timings
from gateway.budgets import LENGTHS, OTHER_LENGTHS, unsaid_length, within_context
from gateway.dialects import DIALECTS
from gateway.engines import CLIENTS
from gateway.engines.client import parsed_object, written
from gateway.engines.clock import Clock
from gateway.engines.facts import EngineFacts, Item, Json, Kind, Question, Route
from gateway.errors import (
    BadRequest,
    EngineFailed,
    GatewayError,
    OverQuota,
    ServerError,
    Unavailable,
    UnreadableAnswer,
)
from gateway.keeping import keep_end
from gateway.meter import OF_ONE_CHOICE, Meter
from gateway.running import Call, Finished
from gateway.schemas import DOCUMENTED, OURS, Ask

PROGRESS_TOKENS = 256
PROGRESS_SECONDS = 1.0


class Head(NamedTuple):
    """The engine has begun to answer. `ignored` names the request's fields that were kept from it.

    `queue_ms` and `connect_ms`: what the call waited for its turn, and then for the head of the engine's answer.
    """

    ignored: tuple[str, ...]
    queue_ms: int
    connect_ms: int


class Account:
    """`problem` is what the last engine came to that was tried; `begun`, whether a Head was handed out."""

    _meter: Meter
    _shaper: Shaper

    def __init__(self, ask: Ask, caller: Caller, call: Call, clock: Clock, start: Start) -> None:
        self.ask, self.caller, self.call, self.clock = ask, caller, call, clock
        self.problem: GatewayError = Unavailable("No engine serves this model at the moment.")
        self.begun = False
        self._ignored: tuple[str, ...] = ()
        self._queue_ms = 0
        self._dialect = DIALECTS[caller.dialect]
        self._start, self._prompt_estimate = start, start.prompt_estimate
        self._began_at = monotonic()
        self._ttft_ms: int | None = None
        self._ended = False
        self._next_progress_at = self._began_at + PROGRESS_SECONDS
        self._next_progress_tokens = 1  # what the caller has seen of an answer is never without a count
        self._trouble: GatewayError | None = None
        self._held: list[bytes] = []
        self._engine: EngineFacts | None = None  # that answers, or was asked last
        self._most = call.admission.most if call.admission else None  # tokens of the answer that are paid for

    def turn_to(self, route: Route) -> Question:
        """What this way's engine may see of the request. The counts of an engine tried before are forgotten."""
        self._engine = self.call.engine = route.engine
        self._held = []
        several = self.ask.body.get("n", 1) > 1
        self._meter = Meter(self._prompt_estimate, of_one=several and route.engine.type in OF_ONE_CHOICE)
        self.call.meter = self._meter
        self._shaper = Shaper(route, self.ask.model, self.ask.kind, self._dialect)
        body = self._with_defaults(route)
        client, allowed = CLIENTS[route.engine.type], route.engine.allowed
        denied = client.denied
        kept = {name: value for name, value in body.items() if name not in denied and not _is_disguised(name, denied)}
        if allowed is not None:
            kept = {name: value for name, value in kept.items() if name in DOCUMENTED or name in allowed}
        if client.taken is not None:
            kept = {name: value for name, value in kept.items() if name in client.taken}
        if self._most is not None:
            kept = within_context({name: value for name, value in kept.items() if name not in OTHER_LENGTHS}, route)
        self._ignored = tuple(name for name in self.ask.body if name not in kept)
        self._queue_ms = self._elapsed_ms()
        self.clock.begin()
        return Question(self.ask.kind, kept, exact=self.caller.hard_budget)

    def _with_defaults(self, route: Route) -> Mapping[str, Any]:
        """A caller who pays from a budget gets an answer of a length that was reserved, if he asks for none."""
        if self.ask.kind is Kind.EMBEDDING or not (route.defaults or self._most is not None):
            return self.ask.body
        unsaid = dict(route.defaults)
        if self._most is not None and not LENGTHS & unsaid.keys():
            unsaid["max_tokens"] = unsaid_length(route, self._prompt_estimate)
        if LENGTHS & self.ask.body.keys():
            unsaid = {name: value for name, value in unsaid.items() if name not in LENGTHS}
        return {**unsaid, **self.ask.body}

    @property
    def received(self) -> bool:
        """Whether anything came that could be read."""
        return self._meter.events > 0

    @property
    def finished(self) -> bool:
        """Whether the answer has said why it ends."""
        return self._shaper.finished

    def head(self) -> Head:
        self.begun = True
        return Head(self._ignored, self._queue_ms, self.clock.answered_ms)

    def take(self, batch: Sequence[Item]) -> list[bytes]:
        """The events that go out for these. What finishes the answer is held back until the account is closed."""
        out: list[bytes] = []
        meter, press = self._meter, self._shaper.stencils.press
        before, place = meter.events, 0
        try:
            while place < len(batch):
                begin = len(out)
                after, texts = press(batch, place, out)
                if after > place:
                    out[begin:begin] = self._let_go()
                    meter.events += after - place
                    meter.deltas += texts
                    place = after
                else:
                    self._take(batch[place], out)
                    place += 1
        except GatewayError as error:
            if not out:
                raise
            self._trouble = error  # what came before it goes out first
        if meter.events > before:
            self.clock.progress()
            self._note(meter.deltas)
            if self._most is not None and meter.completion > self._most and not self.finished:
                self._trouble = self._trouble or OverQuota("The answer has gone beyond what was reserved for it.")
        return out

    def check(self) -> None:
        """Raises what was wrong with the last events that were taken, once those before them are out."""
        if self._trouble is not None:
            raise self._trouble

    def _take(self, item: Item, out: list[bytes]) -> None:
        shaped = self._shaper.event(item)
        if shaped is None:
            return
        self._meter.event(counts=shaped.counts, usage=shaped.usage)
        if shaped.data is None:
            return
        if shaped.finishes:
            self._held.append(shaped.data)
            return
        out += self._let_go()
        out.append(shaped.data)

    def _let_go(self) -> list[bytes]:
        """What seemed to finish the answer, and did not: more came."""
        held = self._held
        if held:
            self._held = []
        return held

    def take_whole(self, item: Item) -> bytes:
        """The answer in one piece that goes out for this one. Raises UnreadableAnswer and EngineFailed."""
        if self.ask.kind is Kind.EMBEDDING:
            return self._embeddings(item)
        answer = parsed_object(item) if isinstance(item, bytes) else item
        if answer is None:
            raise UnreadableAnswer("The engine's answer is not JSON.")
        if is_error(answer):
            raise EngineFailed("The engine answered with an error.")
        usage = answer.pop("usage", None) or usage_of_timings(answer.get("timings"))
        self._meter.whole(self._shaper.whole(answer), usage)
        answer["usage"] = usage_of(self._meter.counts(complete=True), self._meter.usage)
        answer["backend"] = self._shaper.backend
        return written(answer)

    def _embeddings(self, item: Item) -> bytes:
        found = embeddings.read(item)
        encoding = self.ask.body.get("encoding_format", "float")
        vectors = embeddings.vectors(item, found, encoding=encoding)  # before it is billed: it may be none
        self._meter.whole((), found.get("usage"))
        counts = self._meter.counts(complete=True)
        usage = {"prompt_tokens": counts.prompt_tokens, "total_tokens": counts.prompt_tokens}
        more: Json = {"model": self.ask.model, "usage": usage, "backend": self._shaper.backend}
        return embeddings.shaped(vectors, {**more, **self._dialect.answer})

    def last_events(self) -> list[bytes]:
        """What is left to hand out once the account is closed."""
        events = self._held if self.finished else [*self._held, self._shaper.closing()]
        if self.ask.wants_usage:
            counts = self._meter.counts(complete=True)
            events = [*events, self._shaper.usage(counts, self._meter.usage)]
        return events

    async def fail(self, error: GatewayError) -> None:
        # A refusal that an engine sent on is the engine's, whoever is to blame.
        outcome = "upstream_error" if isinstance(error, BadRequest) else error.outcome
        await self.end(outcome, self._dialect.status(error))

    async def end(self, outcome: str, status: int) -> None:
        """Keeps the call's one final record, the first time it is called. Waits only while the spool's disk is full.

        Raises ServerError when it can be kept nowhere.
        """
        if self._ended:
            return
        self._ended = True
        counts = self._meter.counts(complete=outcome == "ok") if self._engine else NOTHING
        finished = Finished(counts, outcome, self._ttft_ms, self._elapsed_ms(), self.call.price)
        where = self._where()
        final = Final(self.call.request.id, *where, counts, outcome, status, finished.ttft_ms, finished.duration_ms)
        try:
            await keep_end(self._start, final)
        except SpoolUnavailable as error:
            raise ServerError("The server cannot keep its accounts.") from error
        except asyncio.CancelledError:  # it is kept; the caller has left meanwhile
            self._finish(finished, status)
            raise
        self._finish(finished, status)

    def _finish(self, finished: Finished, status: int) -> None:
        self.call.finished = finished
        measures.ended(self.call.model, self._where()[0], status, finished)

    def _note(self, deltas: int) -> None:
        """The time of the first token, and, now and then, how far the answer has come."""
        if not deltas:
            return
        if self._ttft_ms is None:
            self._ttft_ms = self._elapsed_ms()
        now = monotonic()
        if deltas >= self._next_progress_tokens or now >= self._next_progress_at:
            self._next_progress_tokens = deltas + PROGRESS_TOKENS
            self._next_progress_at = now + PROGRESS_SECONDS
            counts = self._meter.counts(complete=False)
            spool().progress(Progress(self.call.request.id, *self._where(), counts, self._ttft_ms))

    def _where(self) -> tuple[str, str, str, str]:
        if (engine := self._engine) is None:  # none was asked
            return "", "", "", ""
        return engine.name, engine.type, engine.machine_name, self._shaper.answer_id

    def _elapsed_ms(self) -> int:
        return int((monotonic() - self._began_at) * 1000)


_KNOWN = DOCUMENTED | OTHER_LENGTHS | frozenset(OURS)


def _is_disguised(name: str, denied: frozenset[str]) -> bool:
    """Whether it is, but for its case, the name of a field that is checked or kept here: to engines written in Go it
    is the same.
    """
    plain = name.casefold()
    return plain != name and (plain in _KNOWN or plain in denied)
