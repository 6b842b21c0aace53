"""Places on charts, from numbers: equality, for nobody sees a bar that is a little too high."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.usage.charts import Column, Tick
from billing.usage.plots.burndown import Fan, Words, burndown
from billing.usage.plots.heat import heat, level
from billing.usage.plots.lines import Curve, Numbers, lines
from billing.usage.plots.ranges import Range, Spread, ranges
from billing.usage.plots.scales import Mark, apart, steps

DAYS = [Column("1 Nov", "Sun, 1 Nov"), Column("", "Mon, 2 Nov"), Column("3", "Tue, 3 Nov", minor=True), Column("", "4")]


def plainly(number: float, last: bool) -> str:  # the shape that charts call
    return f"{number:g}{' s' if last else ''}"


@pytest.mark.parametrize(
    ("highest", "scale"),
    [
        (0, [0, 1]),
        (0.91, [0, 0.25, 0.5, 0.75, 1]),
        (1, [0, 0.25, 0.5, 0.75, 1]),
        (1.01, [0, 0.5, 1, 1.5]),
        (7, [0, 2.5, 5, 7.5]),
        (2_400_000, [0, 1_000_000, 2_000_000, 3_000_000]),
    ],
)
def test_a_scale_has_two_to_four_round_steps_and_none_is_below_the_highest(highest: float, scale: list[float]) -> None:
    assert steps(highest) == scale


@pytest.mark.parametrize(
    ("highest", "scale"),
    [
        (1, [0, 1]),
        (3, [0, 1, 2, 3]),
        (5, [0, 2, 4, 6]),
        (10, [0, 5, 10]),
        (11, [0, 5, 10, 15]),
        (70, [0, 25, 50, 75]),
    ],
)
def test_a_scale_of_counts_has_no_fractions(highest: int, scale: list[int]) -> None:
    assert steps(highest, whole=True) == scale


@given(st.floats(1e-6, 1e15))
def test_every_number_fits_its_scale(highest: float) -> None:
    scale = steps(highest)
    assert scale[-1] >= highest
    assert 2 <= len(scale) - 1 <= 5


def test_labels_are_moved_apart_around_their_lines_and_keep_their_order() -> None:
    assert apart([10, 50, 12], 14) == [4, 50, 18]
    assert apart([100], 14) == [100]
    assert apart([], 14) == []


@given(st.lists(st.floats(0, 180), max_size=5))
def test_no_two_labels_are_nearer_than_they_may_be(places: list[float]) -> None:
    moved = sorted(apart(places, 14))
    assert all(below - above >= 14 - 1e-9 for above, below in pairwise(moved))


def test_a_line_stands_in_the_middle_of_its_columns_and_leaves_a_gap_where_nothing_is_known() -> None:
    plot = lines(DAYS, [Numbers("p50", "k-acc", (1.0, 0.5, None, 0.25))], write=plainly)
    assert plot.curves == (Curve("p50", "k-acc", "M0.5 0.0L1.5 90.0", "M3.5 135.0h0", "155.0"),)
    assert plot.grid == (
        Mark("151", "147", "0.25"),
        Mark("106", "102", "0.5"),
        Mark("61", "57", "0.75"),
        Mark("16", "12", "1 s"),
    )
    assert plot.ticks == (Tick("12.50%", "1 Nov", False), Tick("62.50%", "3", True))
    assert (plot.height, plot.top, plot.plot, plot.base, plot.columns) == (220, 16, 180, "196", 4)


def test_a_line_of_which_nothing_is_known_is_not_drawn() -> None:
    assert lines(DAYS, [Numbers("p50", "k-acc", (None,) * 4)], write=plainly).curves == ()
    assert lines([], [], write=plainly).curves == ()


def test_of_one_value_there_is_a_point_and_no_line() -> None:
    (curve,) = lines(DAYS[:1], [Numbers("p99", "thin", (2.0,))], write=plainly).curves
    assert (curve.path, curve.points) == ("", "M0.5 0.0h0")


def test_ranges_lie_below_each_other_on_one_axis() -> None:
    plot = ranges(
        [Spread("llama", (500, 1000, 2000), "52 tok/s", "llama: …"), Spread("qwen", (100, 100, 100), "", "")],
        write=plainly,
    )
    assert plot.ranges == (
        Range("llama", "52 tok/s", "llama: …", "16", "28", "25.00%", "50.00%", "100.00%"),
        Range("qwen", "", "", "56", "68", "5.00%", "5.00%", "5.00%"),
    )
    assert plot.grid[0] == Mark("0.00%", "", "0")
    assert plot.grid[-1] == Mark("100.00%", "end", "2000 s")
    assert (plot.plot, plot.height, plot.axis_at) == (80, 102, "96")


def test_a_cell_is_the_darker_the_more_there_is_and_nothing_is_no_little() -> None:
    assert [level(count, 100) for count in (0, 1, 20, 21, 40, 60, 80, 81, 100)] == [0, 1, 1, 2, 2, 3, 4, 5, 5]
    assert level(0, 0) == 0
    assert level(1, 1) == 5


def test_a_week_is_drawn_in_rows_of_hours() -> None:
    counts = [[0] * 24 for _ in range(7)]
    counts[1][9] = 10
    plot = heat(counts, ["mo", "tu", "we", "th", "fr", "sa", "su"], [["said"] * 24] * 7)
    cell = plot.rows[1].cells[9]
    assert (cell.x, cell.level, cell.title) == ("37.50%", 5, "said")
    assert cell.markup == '<rect class="cell h5" x="37.50%"><title>said</title></rect>'
    assert {other.level for row in plot.rows for other in row.cells if other is not cell} == {0}
    assert (plot.rows[1].label, plot.rows[1].y, plot.rows[1].text_at, plot.plot) == ("tu", "22", "37", 154)
    assert plot.bounds == (2, 4, 6, 8, 10)
    assert [hour.label for hour in plot.hours if not hour.minor] == ["00", "06", "12", "18"]


def test_a_budget_goes_down_to_now_and_fans_out_from_there() -> None:
    plot = burndown(
        DAYS,
        full=100.0,
        past=[(0.0, 100.0), (1.0, 75.0), (1.5, 50.0)],
        fan=[Fan(2.0, 20.0, 30.0, 40.0), Fan(4.0, -40.0, 0.0, 20.0)],
        paced=True,
        warning=20.0,
        words=Words("50 left", "80 % used", "limit"),
        write=plainly,
    )
    assert plot.past == "M0.00 0.0L1.00 42.5L1.50 85.0"
    assert (plot.now, plot.now_x, plot.now_y, plot.now_before) == ("M1.50 85.0h0", "37.50%", "76.0", False)
    assert plot.pace == "M0 0L4 170"
    # Forty beyond the budget would lie at 238 px, and there are 200.
    assert plot.fan == "M1.50 85.0L2.00 102.0L4.00 136.0L4.00 200.0L2.00 136.0L1.50 85.0Z"
    assert plot.likely == "M1.50 85.0L2.00 119.0L4.00 170.0"
    assert (plot.warning, plot.warning_text_at, plot.base) == ("152.0", "147.0", "186.0")
    assert plot.grid == (Mark("16.0", "20.0", "100 s"), Mark("101.0", "105.0", "50"), Mark("186.0", "190.0", "0"))


def test_a_budget_of_nothing_and_one_without_a_forecast_are_drawn_all_the_same() -> None:
    plot = burndown(DAYS, full=0.0, past=[], fan=[], paced=False, warning=None, words=Words(), write=plainly)
    assert (plot.past, plot.pace, plot.fan, plot.likely, plot.warning) == ("", "", "", "", "")
    assert plot.now == "M0.00 170.0h0"
    assert plot.grid == (Mark("186.0", "190.0", "0"),)
