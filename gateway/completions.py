"""The middle: from a caller and what he asks to an engine's answer, accounted for however it ends.

The API and the chat read the same generator. The start of a call is on disk before the engine is asked, its end
before the last of the answer is handed out.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic
from typing import Any
from uuid import UUID

from django.conf import settings

from accounts.callers import Caller
from billing.errors import SpoolUnavailable
from billing.spool import Final, Progress, Start, spool
from gateway import routing, running
from gateway.answers import Event, Shaped, Shaper, usage_of
from gateway.engines import CLIENTS
from gateway.engines.client import Chunk, Clock, Cut, Deadlines, EngineClient, Route, written
from gateway.errors import (
    BadRequest,
    EngineFailed,
    EngineTimeout,
    GatewayError,
    ServerError,
    TooMany,
    Unauthorized,
    Unavailable,
    UnreadableAnswer,
)
from gateway.meter import Meter, estimate_prompt
from gateway.running import Call, Finished
from gateway.snapshot import holder

__all__ = ["Answer", "Ask", "Call", "Event", "Finished", "Head", "stream"]

type JsonValue = Any

PROGRESS_TOKENS = 256
PROGRESS_SECONDS = 1.0
LEFT = 499  # the log's status of a call whose caller left before the answer began

ELSEWHERE = (Unavailable, EngineFailed, EngineTimeout, TooMany)  # another engine may do better


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller wants, validated. `body` goes to the engine but for model, stream and stream_options."""

    endpoint: str
    model: str
    body: Mapping[str, JsonValue]
    stream: bool
    wants_usage: bool
    end_user: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The engine has begun to answer. `ignored` names the request's fields that were kept from it."""

    request_id: UUID
    engine_type: str
    machine_name: str
    answer_id: str
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes


type Part = Head | Event | Answer | Finished


async def stream(caller: Caller, ask: Ask, call: Call) -> AsyncGenerator[Part]:
    """A Head, then Events or one Answer, then Finished. Raises GatewayError, with the record already written.

    Read it inside `aclosing`: a reader that goes away ends the call, with `call.leaving` as its outcome.
    """
    account, routes = _admit(caller, ask, call)
    with running.entered(call):
        try:
            parts = _streamed(account, routes) if ask.stream else _whole(account, routes)
            async with aclosing(parts):
                async for part in parts:
                    yield part
        except GatewayError as error:
            account.fail(error)
            raise
        except Cut as cut:
            refusal = _cut_error(call)
            account.end(call.cut_as, refusal.status)
            raise refusal from cut
        except (asyncio.CancelledError, GeneratorExit):
            account.end(call.cut_as or call.leaving, 200 if account.begun else LEFT)
            raise
        except BaseException:
            account.end("internal_error", 500)
            raise


def _admit(caller: Caller, ask: Ask, call: Call) -> "tuple[_Account, list[Route]]":
    """Refuses, or writes the start of the call."""
    if running.drain_flag.is_set():
        raise Unavailable("The server is stopping. Try again in a moment.", retry_after=1)
    snapshot = holder.current()
    model = routing.public_id(snapshot, caller, ask.model)
    routes = routing.in_order(snapshot.routes[model])
    _check_context(ask, routes)
    environment = settings.ENVIRONMENT
    call.caller = caller
    call.clock = Clock(
        Deadlines(
            connect=environment.connect_seconds,
            first=environment.first_byte_seconds,
            between=environment.between_bytes_seconds,
            total=environment.total_seconds,
        )
    )
    start = Start(
        id=call.request.id,
        at_ms=call.request.at_ms,
        team_id=caller.team_id,
        origin=caller.origin,
        endpoint=ask.endpoint,
        stream=ask.stream,
        key_id=caller.key_id,
        key_name=caller.key_name,
        member_id=caller.member_id,
        member_name=caller.member_name,
        end_user=ask.end_user,
        model=model,
        client_request_id=call.client_request_id,
        prompt_estimate=estimate_prompt(ask.body),
        price=snapshot.prices.at(model, call.request.at_ms),
    )
    try:
        spool().start(start)
    except SpoolUnavailable as error:
        raise Unavailable("The server cannot keep its accounts. Try again later.", retry_after=5) from error
    call.price = start.price
    return _Account(ask, call, call.clock, start.prompt_estimate, routes[0]), routes


def _check_context(ask: Ask, routes: list[Route]) -> None:
    wanted = (ask.body.get("options") or {}).get("num_ctx")
    limits = [route.context_length for route in routes if route.context_length]
    if wanted is not None and limits and wanted > max(limits):
        raise BadRequest(f"options.num_ctx must be between 1 and {max(limits)}.", param="options.num_ctx")


def _cut_error(call: Call) -> GatewayError:
    if call.cut_as == "revoked":
        return Unauthorized("This API key is no longer valid.")
    return Unavailable("The server is stopping. Try again in a moment.", retry_after=1)


async def _streamed(account: "_Account", routes: list[Route]) -> AsyncGenerator[Part]:
    problem: GatewayError = Unavailable("No engine serves this model at the moment.")
    for route in routes:
        client, body = account.ask_of(route)
        async with aclosing(client.stream(route, body, account.clock)) as chunks:
            try:
                first = await anext(chunks, None)
                if first is None:
                    raise UnreadableAnswer("The engine's answer was empty.")
            except ELSEWHERE as error:
                routing.failed(route.engine)
                problem = error
                continue
            routing.answered(route.engine)
            async with aclosing(_told(account, first, chunks)) as parts:
                async for part in parts:
                    yield part
            return
    raise problem


async def _told(account: "_Account", first: Chunk, chunks: AsyncGenerator[Chunk]) -> AsyncGenerator[Part]:
    """The stream from its first chunk on. What finishes it is held back until the account is closed."""
    held: list[Event] = []
    chunk: Chunk | None = first
    while chunk is not None:
        shaped = account.take(chunk)
        if chunk is first:
            yield account.head()
        if shaped.event is not None:
            if not shaped.finishes:
                for event in held:
                    yield event
                held.clear()
                yield shaped.event
            else:
                held.append(shaped.event)
        chunk = await anext(chunks, None)
    finished = account.end("ok", 200)
    for event in account.last_events(held):
        yield event
    yield finished


async def _whole(account: "_Account", routes: list[Route]) -> AsyncGenerator[Part]:
    problem: GatewayError = Unavailable("No engine serves this model at the moment.")
    for route in routes:
        client, body = account.ask_of(route)
        try:
            answer = await client.answer(route, body, account.clock)
            written_answer = account.take_whole(answer)
        except ELSEWHERE as error:
            routing.failed(route.engine)
            problem = error
            continue
        routing.answered(route.engine)
        finished = account.end("ok", 200)
        yield account.head()
        yield Answer(written_answer)
        yield finished
        return
    raise problem


class _Account:
    """One call's counts, and its records in the spool."""

    def __init__(self, ask: Ask, call: Call, clock: Clock, prompt_estimate: int, route: Route) -> None:
        self.ask, self.call, self.clock = ask, call, clock
        self.begun = False  # whether a Head was handed out
        self._prompt_estimate = prompt_estimate
        self._began_at = monotonic()
        self._ttft_ms: int | None = None
        self._ended: Finished | None = None
        self._next_progress_at = 0.0
        self._next_progress_tokens = 1
        self._turn_to(route)

    def ask_of(self, route: Route) -> tuple[EngineClient, dict[str, JsonValue]]:
        """The client for this route and the body it may see."""
        client = CLIENTS[route.engine.type]
        self._turn_to(route)
        self.clock.begin()
        return client, {name: value for name, value in self.ask.body.items() if name not in client.denied}

    def _turn_to(self, route: Route) -> None:
        denied = CLIENTS[route.engine.type].denied
        self._route = route
        self._ignored = tuple(name for name in self.ask.body if name in denied)
        self._meter = Meter(self._prompt_estimate)
        self._shaper = Shaper(route, self.ask.model, chat="messages" in self.ask.body)

    def head(self) -> Head:
        self.begun = True
        engine = self._route.engine
        return Head(self.call.request.id, engine.type, engine.machine_name, self._shaper.answer_id, self._ignored)

    def take(self, chunk: Chunk) -> Shaped:
        shaped = self._shaper.chunk(chunk)
        self._meter.event(counts=shaped.counts, usage=shaped.usage)
        if shaped.counts and self._ttft_ms is None:
            self._ttft_ms = self._elapsed_ms()
        if self._meter.deltas >= self._next_progress_tokens or (
            self._meter.deltas and monotonic() >= self._next_progress_at
        ):
            self._progress()
        return shaped

    def take_whole(self, answer: dict[str, JsonValue]) -> bytes:
        usage = answer.pop("usage", None)
        text = self._shaper.whole(answer)
        self._meter.whole(text, usage)
        counts = self._meter.counts(complete=True)
        answer["usage"] = usage_of(counts, self._meter.usage)
        answer["backend"] = self._shaper.backend
        return written(answer)

    def last_events(self, held: list[Event]) -> list[Event]:
        """What is left to hand out once the account is closed."""
        events = held if self._shaper.finished else [*held, self._shaper.closing()]
        if self.ask.wants_usage:
            counts = self._meter.counts(complete=True)
            events = [*events, self._shaper.usage(counts, self._meter.usage)]
        return events

    def fail(self, error: GatewayError) -> None:
        # A refusal that an engine sent on is the engine's, whoever is to blame.
        self.end("upstream_error" if isinstance(error, BadRequest) else error.outcome, error.status)

    def end(self, outcome: str, status: int) -> Finished:
        """Writes the call's one final record, the first time it is called."""
        if self._ended is None:
            counts = self._meter.counts(complete=outcome == "ok")
            finished = Finished(counts, outcome, self._ttft_ms, self._elapsed_ms(), self.call.price)
            engine, engine_type, machine, answer_id = self._where()
            final = Final(
                self.call.request.id, engine, engine_type, machine, answer_id,
                counts, outcome, status, finished.ttft_ms, finished.duration_ms,
            )  # fmt: skip
            try:
                spool().final(final)
            except SpoolUnavailable as error:
                raise ServerError("The server cannot keep its accounts.") from error
            self._ended = self.call.finished = finished
        return self._ended

    def _progress(self) -> None:
        self._next_progress_tokens = self._meter.deltas + PROGRESS_TOKENS
        self._next_progress_at = monotonic() + PROGRESS_SECONDS
        counts = self._meter.counts(complete=False)
        spool().progress(Progress(self.call.request.id, *self._where(), counts, self._ttft_ms))

    def _where(self) -> tuple[str, str, str, str]:
        engine = self._route.engine
        return engine.name, engine.type, engine.machine_name, self._shaper.answer_id

    def _elapsed_ms(self) -> int:
        return int((monotonic() - self._began_at) * 1000)
