"""The middle: from a caller and what he asks to an engine's answer, accounted for however it ends.

The API and the chat read the same generator. The start of a call is on disk before the engine is asked, its end
before the last of the answer is handed out.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from accounts.callers import Caller
from billing.errors import SpoolUnavailable
from billing.spool import Start, spool
from gateway import health, lanes, routing, running
from gateway.account import Account
from gateway.engines import CLIENTS
from gateway.engines.clock import Clock, Cut, Deadlines
from gateway.engines.facts import Item, Question, Route
from gateway.errors import (
    BadRequest,
    BrokenOff,
    EngineFailed,
    EngineTimeout,
    GatewayError,
    TooMany,
    Unauthorized,
    Unavailable,
    UnreadableAnswer,
)
from gateway.meter import estimate_prompt
from gateway.running import Call, Finished
from gateway.schemas import Ask
from gateway.snapshot import holder

__all__ = ["Answer", "Ask", "Call", "Events", "Finished", "Head", "stream"]

LEFT = 499  # the log's status of a call whose caller left before the answer began

ELSEWHERE = (Unavailable, EngineFailed, EngineTimeout, TooMany)  # another engine may do better


@dataclass(frozen=True, slots=True)
class Head:
    """The engine has begun to answer. `ignored` names the request's fields that were kept from it.

    `queue_ms` and `connect_ms`: what the call waited for its turn, and then for the head of the engine's answer.
    """

    request_id: UUID
    engine_type: str
    machine_name: str
    answer_id: str
    ignored: tuple[str, ...] = ()
    queue_ms: int = 0
    connect_ms: int = 0


@dataclass(frozen=True, slots=True)
class Events:
    """JSON of events that came together. `gateway.answers.said` tells what one adds."""

    data: list[bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes


type Part = Head | Events | Answer | Finished


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
        finally:
            account.clock.close()


def _admit(caller: Caller, ask: Ask, call: Call) -> tuple[Account, tuple[Route, ...]]:
    """Refuses, or writes the start of the call."""
    if running.drain_flag.is_set():
        raise Unavailable("The server is stopping. Try again in a moment.", retry_after=1)
    snapshot = holder.current()
    model = routing.public_id(snapshot, caller, ask.model)
    routes = snapshot.routes[model]
    _check_context(ask, routes)
    call.caller, call.clock = caller, (clock := Clock(_deadlines()))
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
    return Account(ask, caller, call, clock, start.prompt_estimate, routes[0]), routes


def _deadlines() -> Deadlines:
    environment = settings.ENVIRONMENT
    return Deadlines(
        connect=environment.connect_seconds,
        first=environment.first_byte_seconds,
        between=environment.between_bytes_seconds,
        total=environment.total_seconds,
    )


def _check_context(ask: Ask, routes: tuple[Route, ...]) -> None:
    wanted = (ask.body.get("options") or {}).get("num_ctx")
    limits = [route.context_length for route in routes if route.context_length]
    if wanted is not None and limits and wanted > max(limits):
        raise BadRequest(f"options.num_ctx must be between 1 and {max(limits)}.", param="options.num_ctx")


def _cut_error(call: Call) -> GatewayError:
    if call.cut_as == "revoked":
        return Unauthorized("This API key is no longer valid.")
    return Unavailable("The server is stopping. Try again in a moment.", retry_after=1)


async def _streamed(account: Account, routes: tuple[Route, ...]) -> AsyncGenerator[Part]:
    async with aclosing(_tries(account, routes)) as tries:
        async for route, question in tries:
            batches = CLIENTS[route.engine.type].stream(route, question, account.clock)
            async with aclosing(batches):
                try:
                    events = await _first(account, batches)
                except ELSEWHERE as error:
                    account.problem = error
                    continue
                health.answered(route.engine)
                yield _head(account, route)
                if events:
                    yield Events(events)
                try:
                    account.check()
                    async for batch in batches:
                        if events := account.take(batch):
                            yield Events(events)
                            account.check()
                except BrokenOff:
                    if not account.finished:  # it hung up without saying so, after the answer's end
                        raise
            finished = account.end("ok", 200)
            if events := account.last_events():
                yield Events(events)
            yield finished
            return
    raise account.problem


async def _first(account: Account, batches: AsyncGenerator[list[Item]]) -> list[bytes]:
    """What goes out for the first events that can be read."""
    async for batch in batches:
        events = account.take(batch)
        if account.received:
            return events
    raise UnreadableAnswer("The engine's answer was empty.")


async def _whole(account: Account, routes: tuple[Route, ...]) -> AsyncGenerator[Part]:
    async with aclosing(_tries(account, routes)) as tries:
        async for route, question in tries:
            try:
                item = await CLIENTS[route.engine.type].answer(route, question, account.clock)
                body = account.take_whole(item)
            except ELSEWHERE as error:
                account.problem = error
                continue
            health.answered(route.engine)
            finished = account.end("ok", 200)
            yield _head(account, route)
            yield Answer(body)
            yield finished
            return
    raise account.problem


async def _tries(account: Account, routes: tuple[Route, ...]) -> AsyncGenerator[tuple[Route, Question]]:
    """The ways to the model, one after the other, each while its engine has a place for the call.

    Whoever asks for the next way has met `account.problem` on the last one.
    """
    left = routing.in_order(routes)
    while left:
        account.clock.begin()  # the deadline of an engine tried before says nothing about this wait
        route = await lanes.enter(left, account.caller.team_id, account.clock)
        try:
            yield route, account.turn_to(route)
        finally:
            lanes.leave(route)
        health.failed(route.engine, account.problem)
        left.remove(route)


def _head(account: Account, route: Route) -> Head:
    account.begun = True
    return Head(
        request_id=account.call.request.id,
        engine_type=route.engine.type,
        machine_name=route.engine.machine_name,
        answer_id=account.answer_id,
        ignored=account.ignored,
        queue_ms=account.queue_ms,
        connect_ms=account.connect_ms,
    )
