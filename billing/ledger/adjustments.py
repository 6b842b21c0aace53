"""Corrections of what a request was counted as: rows of their own, never a change of a row.

An adjustment holds the difference, so that sums over the log come out right, and is booked where the request is, so
that a month's report is corrected and not another's. It counts as no request.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import Team, User
from billing.errors import AdjustmentMistake
from billing.ids import at_of, moment, new_request
from billing.ledger import log as ledger
from billing.ledger.rows import SHAPE, Row, text
from billing.models import UsageRecord
from billing.prices.pricing import SMALLEST, cost
from billing.records import Counts, UnitPrices

MOST_TOKENS = 10_000_000  # as the gateway believes of an engine
MOST_COST = Decimal(1_000_000_000)
LONGEST_REASON = 300  # characters


@dataclass(frozen=True, slots=True)
class Totals:
    """What a request comes to. None: not reported, or without a price."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None
    reasoning_tokens: int | None
    cost: Decimal | None


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it was logged, what was corrected since, oldest first, and what it comes to now."""

    row: UsageRecord
    adjustments: tuple[UsageRecord, ...]
    totals: Totals


def find_request(request_id: UUID) -> Request | None:
    """None for an id that no request has; an adjustment's leads to none."""
    row = _rows(request_id).filter(corrects=None).select_related("team").first()
    if row is None:
        return None
    adjustments = tuple(UsageRecord.objects.filter(corrects=row.id).order_by("at", "id"))
    return Request(row, adjustments, _totals(row, adjustments))


@transaction.atomic
def adjust(
    *,
    request_id: UUID,
    reason: str,
    by: User | None,
    prompt_tokens: int | None = None,
    completion_tokens: int | None = None,
    cached_tokens: int | None = None,
    reasoning_tokens: int | None = None,
    money: Decimal | None = None,
) -> UsageRecord:
    """Writes the difference to these totals; what is None stays as it is. Raises AdjustmentMistake.

    The cost follows from the tokens by the prices of the request's own time, unless `money` says what it comes to.
    """
    _rows(request_id).select_for_update().first()  # of two at once, both would see the same totals
    request = find_request(request_id)
    if request is None:
        raise AdjustmentMistake(_("There is no such request in the log."), param="request_id")
    before, row = request.totals, request.row
    after = Totals(
        _either(prompt_tokens, before.prompt_tokens),
        _either(completion_tokens, before.completion_tokens),
        before.cached_tokens if cached_tokens is None else cached_tokens,
        before.reasoning_tokens if reasoning_tokens is None else reasoning_tokens,
        before.cost,
    )
    _check(after, row, money, reason)
    after = _priced(after, before, row, money)
    if after == before:
        raise AdjustmentMistake(_("It comes to that already: there is nothing to correct."))
    adjustment = _difference(row, before, after, text(reason.strip(), LONGEST_REASON), by)
    ledger.book([adjustment])
    audit.record(
        "usage.adjusted",
        by=by,
        team=row.team,
        subject=row.team,
        request=str(row.id),
        before=_said(before),
        after=_said(after),
        reason=reason.strip()[:LONGEST_REASON],
    )
    return UsageRecord.objects.get(team=row.team, corrects=row.id, id=adjustment[0])


def booked_at(row: UsageRecord) -> datetime:
    """The moment that an adjustment of the row is booked on: the row's own, in whose month its report is corrected."""
    return row.booked_at


def _rows(request_id: UUID) -> QuerySet[UsageRecord]:
    """Of any team: the key of the log begins with the team, so all of them are named for it to be used."""
    try:
        at = at_of(request_id)
    except (OverflowError, ValueError):
        return UsageRecord.objects.none()
    return UsageRecord.objects.filter(team__in=Team.objects.all(), at=at, id=request_id)


def logged_totals(row: UsageRecord) -> Totals:
    """What the request came to as it was logged."""
    return _totals(row, ())


def _totals(row: UsageRecord, adjustments: tuple[UsageRecord, ...]) -> Totals:
    rows = (row, *adjustments)

    def summed(name: str) -> int | None:
        known = [value for one in rows if (value := getattr(one, name)) is not None]
        return sum(known) if known else None

    return Totals(
        sum(one.prompt_tokens for one in rows),
        sum(one.completion_tokens for one in rows),
        summed("cached_tokens"),
        summed("reasoning_tokens"),
        None if row.cost is None else sum((one.cost for one in rows if one.cost is not None), Decimal(0)),
    )


def _check(after: Totals, row: UsageRecord, money: Decimal | None, reason: str) -> None:
    if not reason.strip() or "\0" in reason:
        raise AdjustmentMistake(_("Say why: the reason stands beside the correction for good."), param="reason")
    counts = {
        "prompt_tokens": after.prompt_tokens,
        "completion_tokens": after.completion_tokens,
        "cached_tokens": after.cached_tokens or 0,
        "reasoning_tokens": after.reasoning_tokens or 0,
    }
    for name, count in counts.items():
        if not 0 <= count <= MOST_TOKENS:
            raise AdjustmentMistake(_("A request has between 0 and 10000000 tokens of a kind."), param=name)
    if counts["cached_tokens"] > after.prompt_tokens:
        said = _("Cached tokens are part of the input: there cannot be more of them.")
        raise AdjustmentMistake(said, param="cached_tokens")
    if counts["reasoning_tokens"] > after.completion_tokens:
        said = _("Reasoning is part of the output: there cannot be more of it.")
        raise AdjustmentMistake(said, param="reasoning_tokens")
    if money is None:
        return
    if row.cost is None:
        said = _("The model had no price when the request was made, so it has no cost to correct.")
        raise AdjustmentMistake(said, param="money")
    if not money.is_finite() or not 0 <= money <= MOST_COST or money != money.quantize(SMALLEST):
        raise AdjustmentMistake(_("A cost is not negative and has at most twelve decimals."), param="money")


def _priced(after: Totals, before: Totals, row: UsageRecord, money: Decimal | None) -> Totals:
    """With the cost that follows: given, or by the request's own prices where a count changes."""
    prices = prices_of(row)
    if money is not None:
        total: Decimal | None = money
    elif prices is None or after == before:
        total = before.cost
    else:
        total = cost(prices, counts_of(after, row))
    return Totals(after.prompt_tokens, after.completion_tokens, after.cached_tokens, after.reasoning_tokens, total)


def _difference(row: UsageRecord, before: Totals, after: Totals, reason: str, by: User | None) -> Row:
    """The log's columns of the adjustment. What it does not change, it has as the request has it."""
    own = new_request()
    values = {name: getattr(row, name) for name in SHAPE} | {
        "id": own.id,
        "at": moment(own.at_ms),
        "booked_at": booked_at(row),
        "prompt_tokens": after.prompt_tokens - before.prompt_tokens,
        "completion_tokens": after.completion_tokens - before.completion_tokens,
        "cached_tokens": _change(before.cached_tokens, after.cached_tokens),
        "reasoning_tokens": _change(before.reasoning_tokens, after.reasoning_tokens),
        "anomaly": "",
        "ttft_ms": None,
        "duration_ms": 0,
        "cost": None if after.cost is None else after.cost - (before.cost or Decimal(0)),
        "corrects": row.id,
        "reason": reason,
        "adjusted_by": str(by)[:254] if by else "",
    }
    return tuple(values[name] for name in SHAPE)


def _either(given: int | None, known: int) -> int:
    return known if given is None else given


def _change(before: int | None, after: int | None) -> int | None:
    return None if after is None else after - (before or 0)


def counts_of(totals: Totals, row: UsageRecord) -> Counts:
    return Counts(
        totals.prompt_tokens,
        totals.completion_tokens,
        row.prompt_source,
        row.completion_source,
        totals.reasoning_tokens,
        totals.cached_tokens,
    )


def prices_of(row: UsageRecord) -> UnitPrices | None:
    """The unit prices that the request bore; None where none was in force."""
    if row.price_input is None or row.price_output is None:
        return None
    return UnitPrices(
        row.price_input,
        row.price_input if row.price_cached_input is None else row.price_cached_input,
        row.price_output,
        row.price_output if row.price_reasoning is None else row.price_reasoning,
    )


def _said(totals: Totals) -> str:
    parts = [f"{totals.prompt_tokens}+{totals.completion_tokens} tokens"]
    if totals.cached_tokens is not None:
        parts.append(f"{totals.cached_tokens} cached")
    if totals.reasoning_tokens is not None:
        parts.append(f"{totals.reasoning_tokens} reasoning")
    if totals.cost is not None:
        parts.append(f"cost {totals.cost.normalize():f}")
    return ", ".join(parts)
