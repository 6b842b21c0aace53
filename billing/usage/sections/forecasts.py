"""What the days ahead may come to, as a range. No Django here.

The mean of the last seven whole days, times a weight for each weekday where there are two whole weeks or more to see
one in. How far the last days lay from what this would have said of them gives the range: eight in ten outcomes, if
days go on to differ as they did. It is never narrower than a twentieth to each side, for no forecast is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

WEEK = 7
LEAST_DAYS = 3  # whole days; of fewer nothing is foretold
SEEN = 28  # days in which weekdays are told apart
EIGHT_IN_TEN = 1.2816  # standard deviations to each side
NARROWEST = 0.05


@dataclass(frozen=True, slots=True)
class Expected:
    """What will have been used more by the end of a day, counted from now."""

    least: float
    likely: float
    most: float


@dataclass(frozen=True, slots=True)
class Day:
    """`weekday` 0 is Monday. `amount` is what it came to, or of a day ahead the part of it that is left, 0 to 1."""

    weekday: int
    amount: float


def forecast(whole_days: Sequence[Day], ahead: Sequence[Day]) -> tuple[Expected, ...]:
    """For each of the days ahead. Empty where too few whole days are known, or where they came to nothing."""
    recent = whole_days[-WEEK:]
    if len(recent) < LEAST_DAYS:
        return ()
    weights = weekday_weights(whole_days)
    # With fewer than seven days the weights are all 1, else each weekday is among them once.
    mean = sum(day.amount for day in recent) / sum(weights[day.weekday] for day in recent)
    if mean <= 0:
        return ()
    spread = _spread(recent, mean, weights)
    found, total, squares = [], 0.0, 0.0
    for day in ahead:
        weight = weights[day.weekday] * day.amount
        total, squares = total + weight, squares + weight**2
        # Days differ each by itself, and the mean may be off for all of them.
        either = EIGHT_IN_TEN * spread * mean * sqrt(squares + total**2 / len(recent))
        likely = mean * total
        either = max(either, NARROWEST * likely)
        found.append(Expected(max(likely - either, 0.0), likely, likely + either))
    return tuple(found)


def weekday_weights(whole_days: Sequence[Day]) -> tuple[float, ...]:
    """Seven, of mean 1, from as many whole weeks as are known, four at most; all 1 where there are fewer than two."""
    weeks = min(len(whole_days), SEEN) // WEEK
    seen = whole_days[-weeks * WEEK :] if weeks >= 2 else ()
    whole = sum(day.amount for day in seen)
    if whole <= 0:
        return (1.0,) * WEEK
    return tuple(WEEK * sum(day.amount for day in seen if day.weekday == weekday) / whole for weekday in range(WEEK))


def reached(amounts: Sequence[float], limit: float) -> int | None:
    """The place of the first that is not below the limit."""
    return next((place for place, amount in enumerate(amounts) if amount >= limit), None)


def _spread(recent: Sequence[Day], mean: float, weights: Sequence[float]) -> float:
    """How far days lie from what is expected of them, as a share of it."""
    expected = [mean * weights[day.weekday] for day in recent]
    off = sum((day.amount - should) ** 2 for day, should in zip(recent, expected, strict=True))
    whole = sum(should**2 for should in expected)
    return sqrt(off / whole) if whole else 0.0
