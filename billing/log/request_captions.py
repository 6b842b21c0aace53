"""One request of the log in words: how it went, how it was counted, what it cost and when it came here."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils.translation import gettext as _

from billing import moments, numbers
from billing.ledger.adjustments import Request, counts_of, logged_totals, prices_of
from billing.log.captions import span
from billing.models import ENDED_WELL, Outcome, Source, UsageRecord
from billing.prices import captions as price_captions
from billing.prices.pricing import cost_lines, price_in_force


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of tokens: as logged, where that number is from, its price, and what it comes to now."""

    name: str
    logged: str
    source: str
    price: str
    now: str


@dataclass(frozen=True, slots=True)
class CostRow:
    """So many tokens, at this price for a million, come to that."""

    name: str
    tokens: str
    price: str
    amount: str


@dataclass(frozen=True, slots=True)
class Correction:
    at: str
    by: str
    reason: str
    input: str
    output: str
    cost: str


@dataclass(frozen=True, slots=True)
class Timing:
    """The request's time as a bar: `first`, in per cent, until the first token, the rest until the end."""

    heading: str
    first: str
    rest: str
    first_label: str
    rest_label: str


def words(found: Request, *, zone: str) -> dict[str, Any]:
    """What the page shows, as the template names it. Times are of the zone."""
    row, totals = found.row, found.totals
    return {
        "row": row,
        "at": moments.moment_in_words(row.at, zone),
        "zone": moments.zone_in_words(row.at.astimezone(ZoneInfo(zone)), zone),
        "currency": settings.ENVIRONMENT.currency,
        "kinds": _kinds(found),
        "cost": _cost(row.cost),
        "cost_now": _cost(totals.cost),
        "cost_rows": _cost_rows(row),
        "price_said": _price_said(row, zone),
        "duration": span(row.duration_ms),
        "ttft": "" if row.ttft_ms is None else span(row.ttft_ms),
        "timing": timing(row.ttft_ms, row.duration_ms),
        "logged": _logged(row, zone),
        "booked": moments.moment_in_words(row.booked_at, zone) if row.booked_at > row.at else "",
        "state": "good" if row.outcome == Outcome.OK else "off" if row.outcome in ENDED_WELL else "bad",
        "provenance": _provenance(row),
        "corrections": [_correction(one, zone) for one in found.adjustments],
    }


def timing(ttft_ms: int | None, duration_ms: int) -> Timing | None:
    """None where there is nothing to draw: no token came, or all of it took no time."""
    if ttft_ms is None or not duration_ms:
        return None
    first = min(ttft_ms, duration_ms)
    part = 100 * first / duration_ms
    heading = _("First token after %(first)s, the whole answer after %(whole)s")
    return Timing(
        heading=heading % {"first": span(ttft_ms), "whole": span(duration_ms)},
        first=f"{part:.3f}%",
        rest=f"{100 - part:.3f}%",
        first_label=_("until the first token: %s") % span(first),
        rest_label=_("answering: %s") % span(duration_ms - first),
    )


def _kinds(found: Request) -> list[Kind]:
    row, now = found.row, found.totals
    kinds = [
        (_("Input"), row.prompt_tokens, row.get_prompt_source_display(), row.price_input, now.prompt_tokens),
        (_("of it from the cache"), row.cached_tokens, "", row.price_cached_input, now.cached_tokens),
        (
            _("Output"),
            row.completion_tokens,
            row.get_completion_source_display(),
            row.price_output,
            now.completion_tokens,
        ),
        (_("of it reasoning"), row.reasoning_tokens, "", row.price_reasoning, now.reasoning_tokens),
    ]
    return [
        Kind(name, _count(logged), source, "" if price is None else price_captions.price(price), _count(total))
        for name, logged, source, price, total in kinds
    ]


def _cost_rows(row: UsageRecord) -> list[CostRow]:
    """As it was logged, line by line; kinds of which there were no tokens are left out. Nothing without a price."""
    prices = prices_of(row)
    if prices is None:
        return []
    names = (_("Input"), _("Cached input"), _("Output"), _("Reasoning"))
    lines = zip(names, cost_lines(prices, counts_of(logged_totals(row), row)), strict=True)
    return [
        CostRow(name, numbers.whole(line.tokens), price_captions.price(line.price), numbers.exact_money(line.amount))
        for name, line in lines
        if line.tokens
    ]


def _price_said(row: UsageRecord, zone: str) -> str:
    prices = prices_of(row)
    if prices is None:
        return _("No price was in force for this model when the request began.")
    since = price_in_force(row.model, row.at, prices)
    if since is None:
        return _("At the price that was in force when the request began. The list of prices no longer has it so.")
    return _("At the price in force since %s.") % moments.moment_in_words(since, zone)


def _logged(row: UsageRecord, zone: str) -> str:
    """How long after its end the request came to the log."""
    if row.logged_at is None:
        return ""
    end = row.at + timedelta(milliseconds=row.duration_ms)
    lag = max(row.logged_at - end, timedelta(0)) // timedelta(milliseconds=1)
    said = {"moment": moments.moment_in_words(_to_second(row.logged_at), zone), "lag": span(lag)}
    return _("%(moment)s, %(lag)s after its end") % said


def _to_second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _provenance(row: UsageRecord) -> list[str]:
    """What the sources of its counts mean, each once."""
    told = {
        Source.UPSTREAM: _("The engine gave its own count at the end, and that is billed."),
        Source.UPSTREAM_PARTIAL: _("The answer broke off: the engine's last count before that is billed."),
        Source.COUNTED: _("The engine gave no count: the pieces of the answer that came from it were counted here."),
        Source.ESTIMATED: _("The engine gave no count: it was estimated from the bytes of the text."),
        Source.NONE: _("Nothing came from the engine, so nothing is billed for it."),
    }
    sources = dict.fromkeys((row.prompt_source, row.completion_source))
    if sources.keys() > {Source.NONE}:  # an embedding has no output, and that is no news
        sources.pop(Source.NONE, None)
    return [told[Source(source)] for source in sources]


def _correction(row: UsageRecord, zone: str) -> Correction:
    return Correction(
        at=moments.moment_in_words(row.at, zone),
        by=row.adjusted_by or _("command line"),
        reason=row.reason,
        input=_signed(numbers.whole(row.prompt_tokens), row.prompt_tokens),
        output=_signed(numbers.whole(row.completion_tokens), row.completion_tokens),
        cost="" if row.cost is None else _signed(_cost(row.cost), row.cost),
    )


def _signed(said: str, amount: int | Decimal) -> str:
    return f"+{said}" if amount > 0 else said


def _count(number: int | None) -> str:
    return "" if number is None else numbers.whole(number)


def _cost(amount: Decimal | None) -> str:
    return "" if amount is None else numbers.exact_money(amount)
