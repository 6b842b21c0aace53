"""Lines over columns, such as percentiles over days. A column without a value leaves a gap, never a zero."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from billing.usage.charts import Column, Tick
from billing.usage.plots.scales import Mark, apart, percent, px, steps

HEIGHT = 180  # px of the plot
TOP = 16  # px above it
AXIS = 24  # px below it
LABEL = 14  # px between two names at the right end


@dataclass(frozen=True, slots=True)
class Numbers:
    """One line: its name, its style (classes of the style sheet) and a number for each column, None where unknown."""

    name: str
    style: str
    numbers: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """`path` in columns and px; `points` those values that have no neighbour to be joined with."""

    name: str
    style: str
    path: str
    points: str
    label_at: str  # px from the chart's top


@dataclass(frozen=True, slots=True)
class Lines:
    height: int
    top: int
    plot: int
    base: str
    columns: int
    grid: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    curves: tuple[Curve, ...]


def lines(columns: Sequence[Column], curves: Sequence[Numbers], *, write: Callable[[float, bool], str]) -> Lines:
    """`write(number, top)` makes the words of the scale. A value stands in the middle of its column."""
    highest = max((number for one in curves for number in one.numbers if number is not None), default=0.0)
    scale = steps(highest)
    drawn = [one for one in curves if any(number is not None for number in one.numbers)]
    ends = apart([_height(_last(one), scale[-1]) for one in drawn], LABEL)
    return Lines(
        height=TOP + HEIGHT + AXIS,
        top=TOP,
        plot=HEIGHT,
        base=str(TOP + HEIGHT),
        columns=len(columns),
        grid=tuple(_mark(value, scale[-1], write) for value in scale[1:]),
        ticks=tuple(
            Tick(percent((place + 0.5) / len(columns)), column.label, column.minor)
            for place, column in enumerate(columns)
            if column.label
        ),
        curves=tuple(
            Curve(one.name, one.style, *_paths(one.numbers, scale[-1]), px(TOP + end + 4))
            for one, end in zip(drawn, ends, strict=True)
        ),
    )


def _paths(numbers: Sequence[float | None], highest: float) -> tuple[str, str]:
    runs: list[list[str]] = [[]]
    for place, number in enumerate(numbers):
        if number is None:
            runs.append([])
        else:
            runs[-1].append(f"{place + 0.5:g} {px(_height(number, highest))}")
    joined = "".join(f"M{'L'.join(run)}" for run in runs if len(run) > 1)
    return joined, "".join(f"M{run[0]}h0" for run in runs if len(run) == 1)


def _last(one: Numbers) -> float:
    return next(number for number in reversed(one.numbers) if number is not None)


def _height(number: float, highest: float) -> float:
    return HEIGHT * (1 - number / highest)


def _mark(value: float, highest: float, write: Callable[[float, bool], str]) -> Mark:
    y = TOP + _height(value, highest)
    return Mark(f"{y:.0f}", f"{y - 4:.0f}", write(value, value == highest))
