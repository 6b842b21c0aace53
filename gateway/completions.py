"""The middle: from a caller and what he asks to an engine's answer, accounted for however it ends.

The API and the chat read the same generator. The start of a call is kept before the engine is asked, its end before the
last of the answer is handed out (`gateway.keeping`).
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple

from django.conf import settings

from accounts.callers import Caller
from billing.errors import SpoolUnavailable
from billing.records import NOTHING, Start
from gateway import health, lanes, routing, running
from gateway.account import Account, Head
from gateway.admission import admit
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
from gateway.keeping import keep_start
from gateway.meter import estimate_prompt
from gateway.running import Call
from gateway.schemas import Ask
from gateway.snapshot import holder

__all__ = ["Ask", "Call", "Events", "Head", "answer", "stream"]

LEFT = 499  # the log's status of a call whose caller left before the answer began

ELSEWHERE = (Unavailable, EngineFailed, EngineTimeout, TooMany)  # another engine may do better


class Events(NamedTuple):
    """JSON of events that came together. `gateway.answers.said` tells what one adds."""

    data: list[bytes]


async def answer(caller: Caller, ask: Ask, call: Call) -> tuple[Head, bytes]:
    """The answer in one piece. Raises GatewayError, with the record already written.

    Cancelling it ends the call, with `call.leaving` as its outcome.
    """
    account, routes = await _admit(caller, ask, call)
    async with _Accounted(account):
        left = routing.in_order(routes)
        while left:
            route, question = await _turn(account, left)
            try:
                item = await CLIENTS[route.engine.type].answer(route, question, account.clock)
                body = account.take_whole(item)
                health.answered(route.engine)
                await account.end("ok", 200)
                return account.head(), body
            except ELSEWHERE as error:
                _failed(account, route, error, left)
            finally:
                lanes.leave(route)
        raise account.problem


async def stream(caller: Caller, ask: Ask, call: Call) -> AsyncGenerator[Head | Events]:
    """A Head, then Events. Raises GatewayError, with the record already written.

    Read it inside `aclosing`: a reader that goes away ends the call, with `call.leaving` as its outcome.
    """
    account, routes = await _admit(caller, ask, call)
    async with _Accounted(account):
        left = routing.in_order(routes)
        while left:
            route, question = await _turn(account, left)
            try:
                async with aclosing(CLIENTS[route.engine.type].stream(route, question, account.clock)) as batches:
                    try:
                        events = await _first(account, batches)
                    except ELSEWHERE as error:
                        _failed(account, route, error, left)
                        continue
                    health.answered(route.engine)
                    yield account.head()
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
                await account.end("ok", 200)
                if events := account.last_events():
                    yield Events(events)
                return
            finally:
                lanes.leave(route)
        raise account.problem


class _Accounted:
    """Around a call that was admitted: however it ends, that is written down, once."""

    def __init__(self, account: Account) -> None:
        self._account = account

    async def __aenter__(self) -> None:
        running.enter(self._account.call)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        account, call = self._account, self._account.call
        try:
            match error:
                case None:
                    return
                case GatewayError():
                    await account.fail(error)
                case Cut():
                    refusal = _cut_error(call)
                    await account.end(call.cut_as, refusal.status)
                    raise refusal from error
                case asyncio.CancelledError() | GeneratorExit():
                    await account.end(call.cut_as or call.leaving, 200 if account.begun else LEFT)
                case _:
                    await account.end("internal_error", 500)
        finally:
            account.clock.close()
            running.leave(call)
            if call.admission is not None:
                call.admission.release(call.finished.counts if call.finished else NOTHING)


async def _admit(caller: Caller, ask: Ask, call: Call) -> tuple[Account, tuple[Route, ...]]:
    """Refuses, or writes the start of the call."""
    call.caller, call.endpoint, call.model = caller, ask.endpoint, ask.model
    if running.drain_flag.is_set():
        raise Unavailable("The server is stopping. Try again in a moment.", retry_after=1)
    snapshot = holder.current()
    model = routing.public_id(snapshot, caller, ask.model)
    routes = snapshot.routes[model]
    _check_context(ask, routes)
    estimate = estimate_prompt(ask.body)
    call.admission = await admit(
        caller=caller, ask=ask, request=call.request, model=model, prompt_estimate=estimate, snapshot=snapshot
    )
    if call.admission.most is not None:
        caller = replace(caller, hard_budget=True)
    call.caller, call.model, call.clock = caller, model, (clock := Clock(_deadlines()))
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
        prompt_estimate=estimate,
        price=snapshot.prices.at(model, call.request.at_ms),
    )
    try:
        keep_start(start)
    except SpoolUnavailable as error:
        call.admission.undo()
        raise Unavailable("The server cannot keep its accounts. Try again later.", retry_after=5) from error
    call.price, call.admitted = start.price, True
    return Account(ask, caller, call, clock, start), routes


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


async def _turn(account: Account, left: list[Route]) -> tuple[Route, Question]:
    """The first of these ways whose engine has a place for the call, which is then its own."""
    account.clock.begin()  # the deadline of an engine tried before says nothing about this wait
    route = await lanes.enter(left, account.caller.team_id, account.clock)
    return route, account.turn_to(route)


def _failed(account: Account, route: Route, error: GatewayError, left: list[Route]) -> None:
    """The engine failed before anything was sent: the next one may do better."""
    account.problem = error
    health.failed(route.engine, error, asked_at=account.clock.asked_at)
    left.remove(route)


async def _first(account: Account, batches: AsyncGenerator[list[Item]]) -> list[bytes]:
    """What goes out for the first events that can be read."""
    async for batch in batches:
        events = account.take(batch)
        if account.received:
            return events
    raise UnreadableAnswer("The engine's answer was empty.")
