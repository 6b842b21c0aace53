"""What tokens cost: prices by model and time, and the cost of one request. The only writer of prices.

A price holds from its moment on, until the next one of its model begins. One that has begun is history: calls were
counted by it, so it is neither changed nor removed, and none is put before it. Moments are whole milliseconds, as
those of requests.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit, revision
from accounts.models import User
from billing.errors import PriceMistake
from billing.models import PlatformDay, Price
from billing.records import Counts, UnitPrices

__all__ = [
    "PriceBook",
    "Rates",
    "UnitPrices",
    "add_price",
    "carry_prices",
    "change_price",
    "cost",
    "load_prices",
    "most_that_costs",
]

MILLION = Decimal(1_000_000)
SMALLEST = Decimal("1e-12")  # the log's column keeps twelve decimals
FINEST = Decimal("1e-8")  # and a price eight
MOST = MILLION  # of a million tokens: one of the currency for each. Sums of years must fit the roll-ups
LONGEST_NAME = 200  # characters of a model's id
FURTHEST = timedelta(days=3653)  # a price that begins later is a mistake of typing
USED_LATELY = timedelta(days=30)
NOTICE = timedelta(seconds=2)  # processes that hold a price may begin to count by it before they hear of a change
WRITERS_LOCK = 0x7E2790  # one writer of prices at a time: a check holds until what it allowed is written
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Rates:
    """What an operator says that a million tokens of each kind cost. None: cached as input, reasoning as output."""

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    reasoning: Decimal | None = None

    @classmethod
    def of(cls, price: Price) -> "Rates":
        return cls(price.input, price.output, price.cached_input, price.reasoning)

    def columns(self) -> dict[str, Decimal | None]:
        return {
            "input": self.input,
            "output": self.output,
            "cached_input": self.cached_input,
            "reasoning": self.reasoning,
        }

    def unit_prices(self) -> UnitPrices:
        return UnitPrices(
            input=self.input,
            cached_input=self.input if self.cached_input is None else self.cached_input,
            output=self.output,
            reasoning=self.output if self.reasoning is None else self.reasoning,
        )


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All prices: for each model the moments (milliseconds, ascending) from which they hold, and the prices."""

    _moments: Mapping[str, tuple[int, ...]]
    _prices: Mapping[str, tuple[UnitPrices, ...]]

    def at(self, model: str, at_ms: int) -> UnitPrices | None:
        """The prices in force for a request that began then; None if the model has none."""
        moments = self._moments.get(model)
        if not moments:
            return None
        place = bisect_right(moments, at_ms)
        return self._prices[model][place - 1] if place else None


def load_prices() -> PriceBook:
    moments: defaultdict[str, list[int]] = defaultdict(list)
    prices: defaultdict[str, list[UnitPrices]] = defaultdict(list)
    for row in Price.objects.order_by("model", "effective_from"):
        moments[row.model].append(milliseconds(row.effective_from))
        prices[row.model].append(Rates.of(row).unit_prices())
    return PriceBook(
        {model: tuple(values) for model, values in moments.items()},
        {model: tuple(values) for model, values in prices.items()},
    )


@dataclass(frozen=True, slots=True)
class PricesOfModel:
    """What it costs now, what it will, soonest first, and what it did, latest first."""

    model: str
    now: Price | None
    coming: tuple[Price, ...]
    past: tuple[Price, ...]


def price_list(now: datetime) -> list[PricesOfModel]:
    """Of every model that has ever had a price, by id."""
    by_model: defaultdict[str, list[Price]] = defaultdict(list)
    for price in Price.objects.order_by("model", "effective_from"):
        by_model[price.model].append(price)
    found = []
    for model, prices in by_model.items():
        begun = [price for price in prices if price.effective_from <= now]
        coming = tuple(price for price in prices if price.effective_from > now)
        found.append(PricesOfModel(model, begun[-1] if begun else None, coming, tuple(reversed(begun[:-1]))))
    return found


def used_without_price(now: datetime) -> list[tuple[str, int]]:
    """Models that were called in the last thirty days and have no price now, with their requests, most first."""
    used = PlatformDay.objects.filter(day__gte=now.astimezone(UTC).date() - USED_LATELY).values("model")
    priced = Price.objects.filter(effective_from__lte=now).values("model")
    rows = used.exclude(model__in=priced).annotate(calls=Sum("requests")).filter(calls__gt=0)
    return [(row["model"], row["calls"]) for row in rows.order_by("-calls", "model")]


def milliseconds(moment: datetime) -> int:
    """Since the epoch, in whole numbers: as a float, a price would begin a millisecond early now and then."""
    return (moment - EPOCH) // MILLISECOND


@transaction.atomic
def add_price(*, model: str, rates: Rates, since: datetime | None = None, by: User | None) -> Price:
    """`since` None: from now on. Raises PriceMistake.

    A moment that has passed is taken only for a model without a price until now: nothing was counted by another one
    then. What was used meanwhile stays without a cost; `ledger` never prices a row twice.
    """
    be_alone()
    model, now = model_id(model), now_whole()
    since = now if since is None else _whole(since)
    check_rates(rates)
    check_moment(since, now, has_begun=_has_begun(model, now))
    if Price.objects.filter(model=model, effective_from=since).exists():
        raise PriceMistake(_("This model has a price from this moment on already."), param="since")
    return write_price(model=model, rates=rates, since=since, by=by)


def write_price(*, model: str, rates: Rates, since: datetime, by: User | None) -> Price:
    """For callers who are alone and have checked, as `add_price` does."""
    price = Price.objects.create(model=model, effective_from=since, **rates.columns())
    audit.record("price.added", by=by, team=None, subject=price, **_told(since, rates))
    revision.bump()
    return price


@transaction.atomic
def change_price(*, price: Price, rates: Rates, since: datetime, by: User | None) -> None:
    """Of one that has not begun. Raises PriceMistake."""
    be_alone()
    price, now, since = _coming(price), now_whole(), _whole(since)
    check_rates(rates)
    check_moment(since, now, has_begun=True)
    if Price.objects.filter(model=price.model, effective_from=since).exclude(pk=price.pk).exists():
        raise PriceMistake(_("This model has a price from this moment on already."), param="since")
    before, after = _told(price.effective_from, Rates.of(price)), _told(since, rates)
    if before == after:
        return
    price.effective_from = since
    for name, value in rates.columns().items():
        setattr(price, name, value)
    price.save(update_fields=["effective_from", *rates.columns()])
    changed = {name: f"{before.get(name, '–')} → {after.get(name, '–')}" for name in before | after}
    audit.record("price.changed", by=by, team=None, subject=price, **changed)
    revision.bump()


@transaction.atomic
def remove_price(*, price: Price, by: User | None) -> None:
    """Of one that has not begun. Raises PriceMistake."""
    be_alone()
    price = _coming(price)
    audit.record("price.removed", by=by, team=None, subject=price, **_told(price.effective_from, Rates.of(price)))
    price.delete()
    revision.bump()


def may_change(price: Price, now: datetime) -> bool:
    return price.effective_from > now + NOTICE


def carry_prices(*, old: str, new: str) -> None:
    """A model that gets a new id goes on costing what it cost. A model that has prices under that id keeps those.

    Call it inside the transaction that renames. The old id keeps its prices: another engine may still serve it.
    """
    if Price.objects.filter(model=new).exists():
        return
    rows = list(Price.objects.filter(model=old))
    for row in rows:
        row.pk, row.model = None, new
    Price.objects.bulk_create(rows)


def cost(prices: UnitPrices, counts: Counts) -> Decimal:
    """Exact to twelve decimals of the currency. Parts never exceed their whole, whatever an engine reported."""
    cached = min(counts.cached_tokens or 0, counts.prompt_tokens)
    reasoning = min(counts.reasoning_tokens or 0, counts.completion_tokens)
    total = (
        (counts.prompt_tokens - cached) * prices.input
        + cached * prices.cached_input
        + (counts.completion_tokens - reasoning) * prices.output
        + reasoning * prices.reasoning
    )
    return (total / MILLION).quantize(SMALLEST)


@dataclass(frozen=True, slots=True)
class CostLine:
    """What the tokens of a kind, which are no other kind's, come to at their price for a million."""

    tokens: int
    price: Decimal
    amount: Decimal


def cost_lines(prices: UnitPrices, counts: Counts) -> tuple[CostLine, CostLine, CostLine, CostLine]:
    """How `cost` comes about: input, cached input, output, reasoning. Their sum is the cost, but for its rounding."""
    cached = min(counts.cached_tokens or 0, counts.prompt_tokens)
    reasoning = min(counts.reasoning_tokens or 0, counts.completion_tokens)

    def line(tokens: int, price: Decimal) -> CostLine:
        return CostLine(tokens, price, tokens * price / MILLION)

    return (
        line(counts.prompt_tokens - cached, prices.input),
        line(cached, prices.cached_input),
        line(counts.completion_tokens - reasoning, prices.output),
        line(reasoning, prices.reasoning),
    )


def price_in_force(model: str, at: datetime, prices: UnitPrices) -> datetime | None:
    """Since when the prices that a request of that moment bore were in force. None: the list no longer has them so."""
    price = Price.objects.filter(model=model, effective_from__lte=at).order_by("-effective_from").first()
    if price is None or Rates.of(price).unit_prices() != prices:
        return None
    return price.effective_from


def model_id(given: str) -> str:
    """Any text that callers can name, spaces, “:” and “/” too. Raises PriceMistake."""
    name = given.strip()
    if not name:
        raise PriceMistake(_("A price is for a model: give its id."), param="model")
    if len(name) > LONGEST_NAME or not name.isprintable():
        said = _("A model's id has at most %(most)s characters, and none that cannot be seen.")
        raise PriceMistake(said % {"most": LONGEST_NAME}, param="model")
    return name


def check_rates(rates: Rates) -> None:
    """Raises PriceMistake."""
    for name, value in rates.columns().items():
        if value is None:
            continue
        if not value.is_finite() or not 0 <= value <= MOST:
            raise PriceMistake(_("A price is between 0 and 1000000 for a million tokens."), param=name)
        if value != value.quantize(FINEST):
            raise PriceMistake(_("A price has at most eight decimals."), param=name)


def check_moment(since: datetime, now: datetime, *, has_begun: bool) -> None:
    """Raises PriceMistake. `has_begun`: another price of the model is in force."""
    if since < now and has_begun:
        said = _("This moment has passed, and calls were counted by the price in force then. Begin now or later.")
        raise PriceMistake(said, param="since")
    if not now - 10 * FURTHEST < since < now + FURTHEST:
        raise PriceMistake(_("This is too far away to be meant."), param="since")


def _has_begun(model: str, now: datetime) -> bool:
    return Price.objects.filter(model=model, effective_from__lte=now).exists()


def _coming(price: Price) -> Price:
    found = Price.objects.filter(pk=price.pk).first()
    if found is None:
        raise PriceMistake(_("Somebody has removed this price meanwhile."))
    if not may_change(found, timezone.now()):
        raise PriceMistake(_("This price has begun: calls were counted by it. Add a new one that follows it."))
    return found


def be_alone() -> None:
    """Until the transaction ends, nobody else writes prices."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [WRITERS_LOCK])


def now_whole() -> datetime:
    return _whole(timezone.now())


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _told(since: datetime, rates: Rates) -> dict[str, Any]:
    said = {name: f"{value.normalize():f}" for name, value in rates.columns().items() if value is not None}
    return {"since": since.astimezone(UTC).isoformat(timespec="milliseconds"), **said}


def most_that_costs(prices: UnitPrices, *, prompt: int, completion: int) -> Decimal:
    """What so many tokens cost if each is of the dearer kind."""
    total = prompt * max(prices.input, prices.cached_input) + completion * max(prices.output, prices.reasoning)
    return (total / MILLION).quantize(SMALLEST)
