"""Tokens and their cost by type: input, cached input, output, reasoning, each without what is another's."""

from collections.abc import Sequence

from billing.usage.sums import ROUNDING, Costs, Sums

INPUT, CACHED, OUTPUT, REASONING = "input", "cached", "output", "reasoning"
UNTYPED = "untyped"  # what of a cost is of no type


def split(sums: Sums, costs: Costs) -> dict[str, Sums]:
    """Of each type the tokens and the cost, and nothing else. Together they are the whole."""
    return split_alike([(sums, costs)])[0]


def split_alike(wholes: Sequence[tuple[Sums, Costs]]) -> list[dict[str, Sums]]:
    """The same of several that are shown side by side: what is of no type is told of all of them or of none."""
    if any(abs(costs.beyond(sums)) >= ROUNDING for sums, costs in wholes):
        return [_types(sums, costs) | {UNTYPED: Sums(cost=costs.beyond(sums))} for sums, costs in wholes]
    # What rounding leaves is input's, as that of a request is.
    return [_types(one, costs._replace(input_cost=costs.input_cost + costs.beyond(one))) for one, costs in wholes]


def _types(sums: Sums, costs: Costs) -> dict[str, Sums]:
    return {
        INPUT: Sums(prompt_tokens=sums.prompt_tokens - sums.cached_tokens, cost=costs.input_cost),
        CACHED: Sums(prompt_tokens=sums.cached_tokens, cost=costs.cached_cost),
        OUTPUT: Sums(completion_tokens=sums.completion_tokens - sums.reasoning_tokens, cost=costs.output_cost),
        REASONING: Sums(completion_tokens=sums.reasoning_tokens, cost=costs.reasoning_cost),
    }


def reported(kind: str, total: Sums) -> bool:
    """Whether any engine told it; where none did, it is not known."""
    return bool({CACHED: total.cached_reported, REASONING: total.reasoning_reported}.get(kind, True))
