"""A line for each name, with the range from its middle value to its extreme one, on one axis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from billing.usage.plots.scales import Mark, percent, steps

ROW = 40  # px
LINE = 28  # px from a row's top to its range; the names stand above
NAME = 16
AXIS = 22


@dataclass(frozen=True, slots=True)
class Spread:
    """A name, its three values from the smallest to the largest, and what else is said of it at the right end."""

    name: str
    values: tuple[float, float, float]
    note: str
    title: str


@dataclass(frozen=True, slots=True)
class Range:
    name: str
    note: str
    title: str
    name_at: str
    line_at: str
    middle: str
    high: str
    extreme: str


@dataclass(frozen=True, slots=True)
class Ranges:
    height: int
    plot: int
    row: int
    axis_at: str
    grid: tuple[Mark, ...]
    ranges: tuple[Range, ...]


def ranges(spreads: Sequence[Spread], *, write: Callable[[float, bool], str]) -> Ranges:
    """In the order given, from the top. `write(number, last)` makes the words of the scale."""
    scale = steps(max((one.values[2] for one in spreads), default=0.0))
    highest, plot = scale[-1], ROW * len(spreads)
    return Ranges(
        height=plot + AXIS,
        plot=plot,
        row=ROW,
        axis_at=str(plot + 16),
        grid=tuple(
            Mark(percent(value / highest), _anchor(place, len(scale)), write(value, value == highest))
            for place, value in enumerate(scale)
        ),
        ranges=tuple(
            Range(
                one.name,
                one.note,
                one.title,
                str(place * ROW + NAME),
                str(place * ROW + LINE),
                *(percent(value / highest) for value in one.values),
            )
            for place, one in enumerate(spreads)
        ),
    )


def _anchor(place: int, count: int) -> str:
    """The first label begins at its line and the last one ends there; the others stand below the middle."""
    return "" if place == 0 else "end" if place == count - 1 else "mid"
