"""A call and the money for it: reserved before an engine is asked, given back as far as it was not needed.

Only callers whom a hard budget or credit binds ask PostgreSQL. While it is away they get 503: nobody can say then what
is left.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
from django.conf import settings
from django.db import Error as DatabaseError

from accounts.callers import Caller
from accounts.database import in_database
from billing.budgets import settling
from billing.budgets.monthly import next_month
from billing.budgets.settling import Wanted
from billing.errors import NoPrice, OverBudget, SpoolUnavailable
from billing.ids import RequestId, moment
from billing.prices.pricing import cost, most_that_costs
from billing.records import Counts, UnitPrices
from billing.spool.writer import spool
from billing.usage.periods import midnight
from gateway.engines.facts import Kind, Route
from gateway.errors import OverQuota, Unavailable
from gateway.running import Admission
from gateway.schemas import Ask
from gateway.snapshot import PATIENCE, RETRY_AFTER, Snapshot, holder

logger = logging.getLogger(__name__)

AWAY = (DatabaseError, psycopg.Error)
SLACK = timedelta(minutes=10)  # a reservation outlasts TOTAL by so much: the wait for a place, and the final record
SHORTEST = 16  # tokens that an answer gets room for, however long the question
LENGTHS = frozenset({"max_tokens", "max_completion_tokens"})
# What engines call the length of an answer by names of their own, beside the one that is reserved for.
OTHER_LENGTHS = frozenset({"n_predict", "num_predict", "max_new_tokens"})


@dataclass(frozen=True, slots=True)
class Worst:
    """The most that a call may come to, in tokens. `answer` is that of all its answers together."""

    prompt: int
    answer: int

    @property
    def total(self) -> int:
        return self.prompt + self.answer


async def reserve(
    admission: Admission,
    *,
    caller: Caller,
    ask: Ask,
    request: RequestId,
    model: str,
    prompt_estimate: int,
    snapshot: Snapshot,
) -> None:
    """Raises OverQuota, and Unavailable while PostgreSQL is away. Callers without a hard budget pass at once."""
    if not snapshot.budgets.binds(team_id=caller.team_id, key_id=caller.key_id, member_id=caller.member_id):
        return
    if not holder.fresh:  # a try would hold a thread of the database's until the pool gives up
        raise _away()
    price = snapshot.prices.at(model, request.at_ms)
    worst = worst_case(ask, snapshot.routes[model], prompt_estimate)
    wanted = Wanted(
        team_id=caller.team_id,
        key_id=caller.key_id,
        member_id=caller.member_id,
        at=moment(request.at_ms),
        tokens=worst.total,
        money=None if price is None else most_that_costs(price, prompt=worst.prompt, completion=worst.answer),
    )
    try:
        holds = await _reserved(wanted, request.id)
    except OverBudget as error:
        hint = "" if LENGTHS & ask.body.keys() or not worst.answer else " Send 'max_tokens' for a shorter answer."
        raise OverQuota(told(error) + hint) from error
    except NoPrice as error:
        message = f"The model '{model}' has no price, so that no budget or credit in money can pay for it."
        raise OverQuota(f"{message} Ask the operator for one.", param="model", code="model_without_price") from error
    if holds:
        admission.most = worst.answer
        admission.hold(lambda counts: came_to(request.id, counts, price))


def worst_case(ask: Ask, routes: Sequence[Route], prompt_estimate: int) -> Worst:
    """Over all ways to the model, since any may be taken. Each answer is at most as long as the model's context."""
    lengths = [route.context_length for route in routes]
    context = None if None in lengths else max((length for length in lengths if length), default=None)
    if ask.kind is Kind.EMBEDDING:
        return Worst(prompt_estimate, 0)  # several texts, each with the context to itself
    prompt = prompt_estimate if context is None else min(prompt_estimate, _prompts(ask) * context)
    longest = max(_longest(ask.body, route, prompt_estimate) for route in routes)
    return Worst(prompt, _answers(ask) * (longest if context is None else min(longest, context)))


def unsaid_length(route: Route, prompt_estimate: int) -> int:
    """`max_tokens` for who is bound by a budget and says none: the model's reserve, as far as its context has room.

    An eighth of the room is left over, as the prompt's length is an estimate, and engines refuse what does not fit.
    """
    if route.context_length is None:
        return route.default_reserve
    room = (route.context_length - prompt_estimate) * 7 // 8
    return max(SHORTEST, min(route.default_reserve, room))


def within_context(body: Mapping[str, Any], route: Route) -> dict[str, Any]:
    """What is sent for a caller whom a budget binds. No answer is longer than the context, unless the engine shifts
    that as it writes, beyond what was reserved.
    """
    context = route.context_length
    return {name: min(value, context) if context and name in LENGTHS else value for name, value in body.items()}


def came_to(request_id: UUID, counts: Counts, price: UnitPrices | None) -> None:
    """The call has ended. Its reservation shrinks to what it used before the log says so, seconds later: whoever asks
    again at once is not refused for what nobody needed.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # a stream that nobody read to its end, swept up when its loop has ended
        return
    _ended.append((request_id, counts.total, cost(price, counts) if price else Decimal(0)))
    if not _giving_back:
        task = loop.create_task(_give_back(), name="reservations")
        _giving_back.add(task)
        task.add_done_callback(_giving_back.discard)  # of one that is cancelled before it begins


_ended: list[tuple[UUID, int, Decimal]] = []
_giving_back: set[asyncio.Task[None]] = set()


async def _give_back() -> None:
    """All that has ended by now in one step. If it fails, the log's rows do the same."""
    try:
        while _ended and holder.fresh:
            batch = list(_ended)
            _ended.clear()
            try:
                await in_database(settling.come_to, batch)
            except AWAY:
                logger.warning("reservations wait for the log", extra={"calls": len(batch)})
        _ended.clear()
    finally:
        _giving_back.clear()  # in the same step, so that what ends from here on begins another


async def _reserved(wanted: Wanted, request_id: UUID) -> bool:
    try:
        process = spool().process
    except SpoolUnavailable as error:
        raise Unavailable("The server cannot keep its accounts. Try again later.", retry_after=5) from error
    lease = timedelta(seconds=settings.ENVIRONMENT.total_seconds) + SLACK
    work = asyncio.ensure_future(
        in_database(settling.reserve, wanted, request_id=request_id, process=process, lease=lease)
    )
    in_time = False
    try:
        await asyncio.wait({work}, timeout=PATIENCE)
        in_time = work.done()
    finally:
        if not in_time:  # nobody waits any more, also if it is done by now: what the thread gets must go back
            work.add_done_callback(lambda done: _let_go(done, request_id))
    if not in_time:
        raise Unavailable("The database is slow to answer. Try again later.", retry_after=RETRY_AFTER)
    try:
        return work.result()
    except AWAY as error:
        raise _away() from error


def _let_go(done: "asyncio.Future[bool]", request_id: UUID) -> None:
    if not done.cancelled() and not done.exception():
        came_to(request_id, Counts(0, 0, "none", "none"), None)


def told(refused: OverBudget) -> str:
    """Which budget, what it has left, and when it begins anew."""
    whose = {"team": "team's", "key": "key's", "member": "member's"}[refused.whose]
    held = f" ({_amount(refused.reserved, refused)} are held by running requests)" if refused.reserved else ""
    if refused.credit:
        return (
            f"The {whose} credit does not cover this request, which may cost up to {_amount(refused.wanted, refused)}:"
            f" {_amount(refused.left, refused)} are left{held}."
        )
    renews = midnight(next_month(refused.month), ZoneInfo(refused.time_zone)).astimezone(ZoneInfo(refused.time_zone))
    return (
        f"The {whose} monthly budget of {_amount(refused.amount, refused)} does not cover this request, which may use"
        f" up to {_amount(refused.wanted, refused)}: {_amount(refused.left, refused)} are left{held}."
        f" It renews at {renews.isoformat()}."
    )


def _amount(amount: Decimal, refused: OverBudget) -> str:
    if not refused.money:
        return f"{amount:.0f} tokens"
    return f"{amount.quantize(Decimal('0.000001')).normalize():f} {settings.ENVIRONMENT.currency}"


def _longest(body: Mapping[str, Any], route: Route, prompt_estimate: int) -> int:
    """Tokens of one answer on this way."""
    for given in (body, route.defaults):
        if said := LENGTHS & given.keys():
            return max(int(given[name]) for name in said)
    return unsaid_length(route, prompt_estimate)


def _answers(ask: Ask) -> int:
    """How many answers the engine writes: for each prompt those that are wanted, or those that the best is of."""
    each: int = max(ask.body.get("n", 1), ask.body.get("best_of", 1))
    return _prompts(ask) * each


def _prompts(ask: Ask) -> int:
    """Each of them has the context to itself."""
    prompt = ask.body.get("prompt")
    return len(prompt) if isinstance(prompt, list) and prompt and isinstance(prompt[0], str) else 1


def _away() -> Unavailable:
    return Unavailable("The database cannot be reached. Try again later.", retry_after=RETRY_AFTER)
