"""What roll-ups are added up to: tokens, requests and cost, and how long answers took."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import add, sub
from typing import Any, NamedTuple

from django.db.models import Q, Sum

from billing.ledger.histograms import percentile
from billing.models import ENDED_WELL


class Sums(NamedTuple):
    """`…_reported`: requests whose engine told such tokens, if only zero. Where none did, none are known."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    reasoning_reported: int = 0
    cached_reported: int = 0
    estimated_tokens: int = 0
    priced_requests: int = 0
    cost: Decimal = Decimal(0)
    errors: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def reasoning(self) -> int | None:
        """Tokens; None where no engine reported any."""
        return self.reasoning_tokens if self.reasoning_reported else None

    @property
    def cached(self) -> int | None:
        return self.cached_tokens if self.cached_reported else None

    @property
    def error_share(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    @property
    def estimated_share(self) -> float:
        """Of the tokens, those that are no engine's own count."""
        return self.estimated_tokens / self.tokens if self.tokens else 0.0

    @property
    def priced(self) -> bool:
        """Whether a cost is known: where no price was in force there is none, which is not the same as 0."""
        return bool(self.priced_requests or self.cost)

    def prices(self, part: "Sums") -> bool:
        """Whether the cost of a type of tokens is known, which is a part of this. Nothing for some tokens may be what
        they cost; where some requests had no price it is rather that these are theirs.
        """
        return self.priced and bool(part.cost or not part.tokens or self.priced_requests >= self.requests)

    def __add__(self, other: "Sums") -> "Sums":  # type: ignore[override]  # sums are added up, not strung together
        return Sums(*map(add, self, other))

    def __sub__(self, other: "Sums") -> "Sums":
        return Sums(*map(sub, self, other))


NAMES = Sums._fields
SUMMED = NAMES[:-1]  # columns of the roll-ups; errors are told by the outcome
NONE = Sums()


class Costs(NamedTuple):
    """Of a cost, what is of a type of tokens: read apart from the rest, since hardly anybody asks for it."""

    input_cost: Decimal = Decimal(0)  # without what was cached
    cached_cost: Decimal = Decimal(0)
    output_cost: Decimal = Decimal(0)  # without reasoning
    reasoning_cost: Decimal = Decimal(0)

    def beyond(self, sums: Sums) -> Decimal:
        """What the whole cost has more, or less: of no type, but for what rounding leaves, less than `ROUNDING`."""
        return sums.cost - self.input_cost - self.cached_cost - self.output_cost - self.reasoning_cost


ROUNDING = Decimal("1e-9")  # of the currency: a thousand corrections, each of which is rounded twice to 1e-12
UNTOLD = Costs()
OF_TYPES = Costs._fields


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds, interpolated: off by less than a fifth (`billing.ledger.histograms`). None: nothing measured."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Latency(NamedTuple):
    """A histogram of the time until the first token, as `billing.ledger.histograms.counts` takes it."""

    ttft: int | str = 0

    @property
    def first_token_p95(self) -> float | None:
        """Milliseconds; None: nothing was measured."""
        return percentile(self.ttft, 0.95)


UNMEASURED = Latency()


# For `annotate` and `aggregate` over a level of roll-ups that tells outcomes; `sums_of` reads the row that comes of it.
ANNOTATIONS: dict[str, Any] = {f"sum_{name}": Sum(name) for name in SUMMED} | {
    "sum_errors": Sum("requests", filter=~Q(outcome__in=ENDED_WELL), default=0)
}


def sums_of(row: dict[str, Any]) -> Sums:
    sums: dict[str, Any] = {name: row[f"sum_{name}"] or 0 for name in NAMES}
    return Sums(**sums)


def added(sums: Sequence[Sums]) -> Sums:
    return sum(sums, NONE)
