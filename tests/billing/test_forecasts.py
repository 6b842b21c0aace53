"""What days ahead may come to: a range, wide where days differ, and nothing where too little is known."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.usage.sections.forecasts import Day, Expected, forecast, reached, weekday_weights

WORKDAYS = [10.0, 10.0, 10.0, 10.0, 10.0, 0.0, 0.0]


def days(amounts: list[float], *, first: int = 0) -> list[Day]:
    return [Day((first + place) % 7, amount) for place, amount in enumerate(amounts)]


def test_even_days_go_on_evenly_and_are_still_a_range() -> None:
    assert forecast(days([10.0] * 28), [Day(0, 1.0), Day(1, 1.0)]) == (
        Expected(9.5, 10.0, 10.5),
        Expected(19.0, 20.0, 21.0),
    )


def test_of_today_only_what_is_left_of_it_is_still_to_come() -> None:
    assert [one.likely for one in forecast(days([10.0] * 28), [Day(0, 0.25), Day(1, 1.0)])] == [2.5, 12.5]


def test_weekends_are_expected_to_be_weekends() -> None:
    weights = weekday_weights(days(WORKDAYS * 4))
    assert weights == pytest.approx([1.4] * 5 + [0.0, 0.0])
    ahead = [Day(weekday, 1.0) for weekday in (4, 5, 6, 0)]
    assert [round(one.likely, 6) for one in forecast(days(WORKDAYS * 4), ahead)] == [10, 10, 10, 20]


def test_weekdays_are_told_apart_from_two_whole_weeks_on() -> None:
    assert weekday_weights(days(WORKDAYS + WORKDAYS[:6])) == (1.0,) * 7
    assert weekday_weights(days(WORKDAYS * 2)) != (1.0,) * 7


def test_the_more_days_differ_the_wider_is_the_range() -> None:
    ahead = [Day(0, 1.0)] * 5
    even, uneven = (forecast(days(week), ahead)[-1] for week in ([10.0] * 7, [4.0, 16.0, 7.0, 13.0, 10.0, 2.0, 18.0]))
    assert uneven.likely == pytest.approx(even.likely)
    assert uneven.most - uneven.least > 2 * (even.most - even.least)


def test_the_last_week_decides_how_much_it_is() -> None:
    (one,) = forecast(days([1.0] * 21 + [10.0] * 7), [Day(0, 1.0)])
    assert one.likely == pytest.approx(10.0)


def test_too_little_is_no_forecast() -> None:
    ahead = [Day(0, 1.0)]
    assert forecast(days([10.0, 10.0]), ahead) == ()
    assert forecast(days([10.0, 10.0, 10.0]), ahead) != ()
    assert forecast(days([0.0] * 20), ahead) == ()
    assert forecast([], ahead) == ()


def test_a_limit_is_reached_on_the_first_day_that_is_not_below_it() -> None:
    assert reached([1.0, 2.0, 3.0], 2.0) == 1
    assert reached([1.0, 2.0], 2.5) is None
    assert reached([], 0.0) is None


@given(st.lists(st.floats(0, 1e9), max_size=30), st.lists(st.floats(0, 1), max_size=31), st.integers(0, 6))
def test_a_range_holds_what_is_likely_and_never_shrinks(known: list[float], ahead: list[float], weekday: int) -> None:
    found = forecast(days(known, first=weekday), days(ahead, first=weekday + len(known)))
    assert all(0 <= one.least <= one.likely <= one.most for one in found)
    assert all(before.likely <= after.likely and before.most <= after.most for before, after in pairwise(found))
    assert len(found) in {0, len(ahead)}
