"""What is left of an amount, day by day: what was left, the steady pace, and a fan of what may be left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from billing.usage.charts import Column, Tick
from billing.usage.plots.scales import Mark, percent, px

TOP = 16  # px above the full amount
FULL = 170  # px from the full amount down to nothing
BELOW = 30  # px below nothing, for what would be used beyond it
AXIS = 24


@dataclass(frozen=True, slots=True)
class Fan:
    """What may be left at a moment, which is a number of days from the chart's begin."""

    at: float
    least: float
    likely: float
    most: float


@dataclass(frozen=True, slots=True)
class Words:
    """At the last known point and at the two lines; empty where there is none."""

    now: str = ""
    warning: str = ""
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Burndown:
    """Paths in days and px from `top`."""

    height: int
    top: int
    plot: int
    days: int
    grid: tuple[Mark, ...]
    base: str
    base_text_at: str
    axis_at: str
    ticks: tuple[Tick, ...]
    past: str
    now: str
    now_x: str
    now_y: str
    now_before: bool  # its words stand to its left, where there is no room to the right
    pace: str
    fan: str
    likely: str
    warning: str  # y of the line, empty without
    warning_text_at: str
    words: Words


def burndown(
    columns: Sequence[Column],
    *,
    full: float,
    past: Sequence[tuple[float, float]],
    fan: Sequence[Fan],
    paced: bool,
    warning: float | None,
    words: Words,
    write: Callable[[float, bool], str],
) -> Burndown:
    """A column for each day. `past` are moments, in days, and what was left then; `fan` goes on from its last point.

    What would fall further below nothing than there is room for is drawn at the foot.
    """
    days = len(columns)

    def y(left: float) -> float:
        return min(FULL * (1 - left / full), FULL + BELOW) if full > 0 else FULL

    def path(points: Sequence[tuple[float, float]]) -> str:
        return f"M{'L'.join(f'{x:.2f} {px(y(left))}' for x, left in points)}" if len(points) > 1 else ""

    last_x, last_left = past[-1] if past else (0.0, full)
    begin = [(last_x, last_left)]
    least = [*begin, *((one.at, one.least) for one in fan)]
    most = [*begin, *((one.at, one.most) for one in fan)]
    warning_y = TOP + y(warning) if warning is not None else None
    return Burndown(
        height=TOP + FULL + BELOW + AXIS,
        top=TOP,
        plot=FULL + BELOW,
        days=days,
        grid=tuple(
            _mark(part * full, TOP + y(part * full), write, top=part == 1)
            for part in ((1, 0.5, 0) if full > 0 else (0,))
        ),
        base=px(TOP + FULL),
        base_text_at=px(TOP + FULL - 5),
        axis_at=str(TOP + FULL + BELOW),
        ticks=tuple(
            Tick(percent((place + 0.5) / days), column.label, column.minor)
            for place, column in enumerate(columns)
            if column.label
        ),
        past=path(past),
        now=f"M{last_x:.2f} {px(y(last_left))}h0",
        now_x=percent(last_x / days),
        now_y=px(max(y(last_left) - 9, 4)),
        now_before=last_x > days * 0.6,
        pace=f"M0 0L{days} {FULL}" if paced else "",
        fan=f"{path(most)}L{path(least[::-1])[1:]}Z" if fan else "",
        likely=path([*begin, *((one.at, one.likely) for one in fan)]),
        warning=px(warning_y) if warning_y is not None else "",
        warning_text_at=px(warning_y - 5) if warning_y is not None else "",
        words=words,
    )


def _mark(value: float, y: float, write: Callable[[float, bool], str], *, top: bool) -> Mark:
    return Mark(px(y), px(y + 4), write(value, top))
