"""Seven rows of twenty-four cells, each darker the more there is in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil

from billing.usage.plots.scales import percent

HOURS = 24
ROW = 22  # px; a cell's size stands in the style sheet (.cell)
LEVELS = 5  # and one for nothing
AXIS = 24
TICKED = 3  # hours from one label to the next; on narrow screens every second one


@dataclass(frozen=True, slots=True)
class Cell:
    x: str
    level: int
    title: str

    @property
    def markup(self) -> str:
        """The cell as it stands in the page, its title escaped: there are 168 of them."""
        return f'<rect class="cell h{self.level}" x="{self.x}"><title>{escape(self.title)}</title></rect>'


@dataclass(frozen=True, slots=True)
class Row:
    y: str
    text_at: str
    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Hour:
    x: str
    label: str
    minor: bool


@dataclass(frozen=True, slots=True)
class Heat:
    height: int
    plot: int
    rows: tuple[Row, ...]
    hours: tuple[Hour, ...]
    hours_at: str
    bounds: tuple[int, ...]  # the highest count of each level, from the first to the fifth


def heat(counts: Sequence[Sequence[int]], labels: Sequence[str], titles: Sequence[Sequence[str]]) -> Heat:
    """Rows in the order given; nothing has a level of its own, below the lightest."""
    most = max((count for row in counts for count in row), default=0)
    plot = ROW * len(counts)
    return Heat(
        height=plot + AXIS,
        plot=plot,
        rows=tuple(
            Row(
                str(place * ROW),
                str(place * ROW + 15),
                label,
                tuple(
                    Cell(percent(hour / HOURS), level(count, most), title)
                    for hour, (count, title) in enumerate(zip(row, said, strict=True))
                ),
            )
            for place, (row, label, said) in enumerate(zip(counts, labels, titles, strict=True))
        ),
        hours=tuple(
            Hour(percent((hour + 0.5) / HOURS), f"{hour:02}", minor=hour % (2 * TICKED) != 0)
            for hour in range(0, HOURS, TICKED)
        ),
        hours_at=str(plot + 16),
        bounds=tuple(most * number // LEVELS for number in range(1, LEVELS + 1)),
    )


def level(count: int, most: int) -> int:
    """1 to 5 by fifths of the most, 0 for nothing."""
    return ceil(LEVELS * count / most) if count > 0 else 0
