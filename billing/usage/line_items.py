"""Costs as OpenAI's line items: a model and a type of its tokens, as in "llama3.3:70b, cached input".

What of a cost is of no type is an item too, the model alone.
"""

from collections.abc import Iterator

from billing.usage.sums import Costs, Sums
from billing.usage.token_types import CACHED, INPUT, OUTPUT, REASONING, UNTYPED, split

_SUFFIXES = {
    INPUT: ", input",
    CACHED: ", cached input",
    OUTPUT: ", output",
    REASONING: ", reasoning output",  # OpenAI has none, and who reads its items finds output in the name
    UNTYPED: "",
}


def line_items(model: str, sums: Sums, costs: Costs) -> Iterator[tuple[str, Sums]]:
    """Those that have something, each with its tokens, its cost, and how many requests of the model had a price."""
    for kind, part in split(sums, costs).items():
        if part.tokens or part.cost:
            yield (
                model + _SUFFIXES[kind],
                part._replace(priced_requests=sums.priced_requests if sums.prices(part) else 0),
            )


def models_of(items: tuple[str, ...]) -> tuple[str, ...]:
    """All that may have such items: a model's id can end like one."""
    return tuple({item.removesuffix(suffix): None for item in items for suffix in _SUFFIXES.values()})
