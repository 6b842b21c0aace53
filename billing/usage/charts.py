"""The geometry of charts: numbers in, places in per cent and px out. No words are made here, and no Django.

Bars, text and strokes keep their size at any width, because nothing is scaled: widths are per cent of what there is,
heights are px. All places are text, ready for an attribute, so that no locale can put a comma into them.
What a chart has hundreds of is a named tuple, made in a third of a dataclass's time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from billing.usage.marks import OTHERS, told_apart
from billing.usage.plots.scales import steps

HEIGHT = 200  # px of the plot
TOP = 16  # px above it, for the uppermost label
SHOWN = 7  # series with a mark of their own
GAP = 0.09  # of a column, on each side of its bar


class Bar(NamedTuple):
    x: str
    y: str
    width: str
    height: str
    title: str

    @property
    def box(self) -> str:
        """Its place as attributes, which are numbers alone: markup as it stands, quicker than one by one."""
        return f'x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}"'


@dataclass(frozen=True, slots=True)
class Stack:
    """One series: its name, its mark (`url(#qN)`) and its bars."""

    name: str
    mark: int
    bars: tuple[Bar, ...]

    @property
    def drawn(self) -> str:
        """Its bars as markup, of numbers alone: a chart has hundreds, and a template takes ten times as long."""
        return "".join([f'<rect class="bar" {bar.box}/>' for bar in self.bars])

    @property
    def titled(self) -> str:
        """The same where each bar says itself what it is, for charts without hits; the words are escaped."""
        return "".join([
            f'<rect class="bar" {bar.box}><title>{escape(bar.title)}</title></rect>' for bar in self.bars
        ])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """A hairline of the grid with its label, which stands at the right end."""

    y: str
    text_y: str
    label: str


@dataclass(frozen=True, slots=True)
class Tick:
    x: str
    label: str
    minor: bool


class Hit(NamedTuple):
    """A whole column to point at and to press: what it holds in words, and where it leads."""

    x: str
    width: str
    title: str
    href: str

    @property
    def drawn(self) -> str:
        """As markup, its words escaped: see `Stack.drawn`."""
        title = f"<title>{escape(self.title)}</title>"
        box = f'<rect class="hit" x="{self.x}" width="{self.width}" height="100%">{title}</rect>'
        return f'<a href="{escape(self.href)}" tabindex="-1">{box}</a>' if self.href else box


@dataclass(frozen=True, slots=True)
class Chart:
    height: int  # px in all
    top: int
    plot: int
    base: str  # y of the baseline
    lines: tuple[Line, ...]
    stacks: tuple[Stack, ...]
    ticks: tuple[Tick, ...]
    veil: Bar | None  # hatches the bucket that is not over yet
    count: int = 0  # of the columns: the width of the box in which `outline` is drawn
    outline: str = ""  # a path along the tops of what it is compared with; empty: with nothing
    hits: tuple[Hit, ...] = ()

    @property
    def pointed(self) -> str:
        """Its hits as markup."""
        return "".join([hit.drawn for hit in self.hits])


class Column(NamedTuple):
    """One bucket: its words for the axis (empty: none) and for the one who points at it, and where it leads."""

    label: str
    title: str
    minor: bool = False
    reading: str = ""  # lines, one for each of its series
    href: str = ""


@dataclass(frozen=True, slots=True)
class Values:
    """One series: what it is called, what it is known by (nothing: it is the rest), and a number for each column.

    `turn` decides its mark, as `billing.usage.marks` says.
    """

    name: str
    key: str
    numbers: tuple[float, ...]
    turn: int = 0


def stacked(
    columns: Sequence[Column],
    series: Sequence[Values],
    *,
    running: int | None,
    write: Callable[[float, bool], str],
    other: str,
    whole: bool = True,
    before: Sequence[float] = (),
) -> Chart:
    """Stacked bars. `write(number, top)` words a label of the scale; `running` is the column that is not over.

    `whole`: the numbers are counts, and the scale has no fractions. `before`: what each column is compared with.
    """
    shown = merged(series, other)
    # What is below 0, as a correction of one series alone, has no bar: the others stand as high as they are.
    sums = [sum(max(0, one.numbers[place]) for one in shown) for place in range(len(columns))]
    scale = steps(max([*sums, *before], default=0), whole=whole)
    highest = scale[-1]
    places = [_percent((place + GAP) / len(columns)) for place in range(len(columns))]
    full, width = (_percent(part / max(len(columns), 1)) for part in (1, 1 - 2 * GAP))
    stacks, below = [], [0.0] * len(columns)
    for one, mark in zip(shown, _marks(shown), strict=True):
        bars = []
        for place, number in enumerate(one.numbers):
            if number > 0:
                title = f"{columns[place].title} · {one.name}"
                bars.append(_bar(places[place], width, below[place], number, highest, title))
                below[place] += number
        stacks.append(Stack(one.name, mark, tuple(bars)))
    return Chart(
        height=TOP + HEIGHT + 24,
        top=TOP,
        plot=HEIGHT,
        base=str(TOP + HEIGHT),
        lines=tuple(_line(value, highest, write(value, value == highest)) for value in scale[1:]),
        stacks=tuple(stacks),
        ticks=tuple(
            Tick(_percent((place + 0.5) / len(columns)), column.label, column.minor)
            for place, column in enumerate(columns)
            if column.label
        ),
        veil=_bar(places[running], width, 0, sums[running], highest, "")
        if running is not None and sums[running]
        else None,
        count=len(columns),
        outline=_outline(before, highest) if any(before) else "",
        hits=tuple(
            Hit(_percent(place / len(columns)), full, column.reading or column.title, column.href)
            for place, column in enumerate(columns)
        ),
    )


def merged(series: Sequence[Values], other: str) -> list[Values]:
    """At most seven series and the rest as one, under an empty key. What has none is the rest already."""
    if len(series) <= SHOWN or (len(series) == SHOWN + 1 and not series[-1].key):
        return list(series)
    rest = series[SHOWN:]
    together = tuple(map(sum, zip(*(one.numbers for one in rest), strict=True)))
    return [*series[:SHOWN], Values(other, "", together)]


def _marks(series: Sequence[Values]) -> list[int]:
    found = told_apart({one.key: one.turn for one in series if one.key})
    return [found.get(one.key, OTHERS) for one in series]


def _outline(numbers: Sequence[float], highest: float) -> str:
    """Steps along the tops, in a box as wide as there are columns and as high as the plot."""
    steps = (f"V{HEIGHT * (1 - number / highest):.1f}H{place + 1}" for place, number in enumerate(numbers))
    return "M0 " + "".join(steps)[1:]


@dataclass(frozen=True, slots=True)
class Spark:
    """A line in a box of 100 by 24, and its last point; `flat` when there is nothing to see."""

    path: str
    last: str
    flat: bool


def spark(numbers: Sequence[float]) -> Spark:
    highest = max(numbers, default=0)
    if not highest or len(numbers) < 2:
        return Spark("M0 22L100 22", "M100 22h0", flat=True)
    points = [
        f"{100 * place / (len(numbers) - 1):.1f} {22 - 20 * number / highest:.1f}"
        for place, number in enumerate(numbers)
    ]
    return Spark(f"M{'L'.join(points)}", f"M{points[-1]}h0", flat=False)


def _line(value: float, highest: float, label: str) -> Line:
    y = TOP + HEIGHT * (1 - value / highest)
    return Line(f"{y:.0f}", f"{y + 4:.0f}", label)


def _bar(x: str, width: str, below: float, number: float, highest: float, title: str) -> Bar:
    height = HEIGHT * number / highest
    y = HEIGHT - HEIGHT * below / highest - height
    return Bar(x, f"{y:.1f}", width, f"{height:.1f}", title)


def _percent(part: float) -> str:
    return f"{part * 100:.2f}%"
