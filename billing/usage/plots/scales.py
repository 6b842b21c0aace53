"""Round numbers for axes, and places as text, so that no locale can put a comma into an attribute."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10


@dataclass(frozen=True, slots=True)
class Mark:
    """A hairline of a grid, in px or per cent from its axis' begin, with its label."""

    at: str
    text_at: str
    label: str


def steps(highest: float, *, whole: bool = False) -> list[float]:
    """From 0 to a round number that is not below the highest, in two to four steps; `whole`: without fractions, in
    which one step may be enough.
    """
    if highest <= 0:
        return [0.0, 1.0]
    few = whole and highest <= 10
    size = 1 if few else 10.0 ** floor(log10(highest))
    step = next(step for step in ((1, 2, 5) if few else (0.25, 0.5, 1, 2.5, 5)) if highest / (step * size) <= 4) * size
    return [float(step * number) for number in range(int(-(-highest // step)) + 1)]


def percent(part: float) -> str:
    return f"{part * 100:.2f}%"


def px(number: float) -> str:
    return f"{number:.1f}"


def apart(places: Sequence[float], least: float) -> list[float]:
    """Labels at these heights, moved as little as can be so that none comes nearer to the next than `least`; their
    order is kept. Those that would touch stand around their common middle, as far apart as they must.
    """
    order = sorted(range(len(places)), key=lambda number: places[number])
    groups: list[tuple[float, int]] = []  # where the first of a group would stand, and how many it has
    for number, place in enumerate(order):
        begin, count = places[place] - number * least, 1
        while groups and groups[-1][0] > begin:
            before, size = groups.pop()
            begin, count = (before * size + begin * count) / (size + count), size + count
        groups.append((begin, count))
    begins = [begin for begin, count in groups for _ in range(count)]
    found = [0.0] * len(places)
    for number, (place, begin) in enumerate(zip(order, begins, strict=True)):
        found[place] = begin + number * least
    return found
