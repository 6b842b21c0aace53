"""What tokens cost: prices by model and time, and the cost of one request."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from billing.models import Price
from billing.records import Counts, UnitPrices

__all__ = ["PriceBook", "UnitPrices", "carry_prices", "cost", "load_prices", "most_that_costs"]

MILLION = Decimal(1_000_000)
SMALLEST = Decimal("1e-12")  # the log's column keeps twelve decimals


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
        moments[row.model].append(int(row.effective_from.timestamp() * 1000))
        prices[row.model].append(
            UnitPrices(
                input=row.input,
                cached_input=row.input if row.cached_input is None else row.cached_input,
                output=row.output,
                reasoning=row.output if row.reasoning is None else row.reasoning,
            )
        )
    return PriceBook(
        {model: tuple(values) for model, values in moments.items()},
        {model: tuple(values) for model, values in prices.items()},
    )


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


def most_that_costs(prices: UnitPrices, *, prompt: int, completion: int) -> Decimal:
    """What so many tokens cost if each is of the dearer kind."""
    total = prompt * max(prices.input, prices.cached_input) + completion * max(prices.output, prices.reasoning)
    return (total / MILLION).quantize(SMALLEST)
