"""The week of requests: hours of the question's zone, the clocks' changes too, and a peak that is one."""

import random
from collections import Counter
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from django.utils import translation

from accounts.models import Team
from billing.ledger import log as ledger
from billing.models import UsageRecord
from billing.usage.periods import DAY, Period
from billing.usage.questions import Filters, Question, Scope
from billing.usage.sections.hours import Week, week
from billing.usage.sections.hours_captions import heading, shown, weekday_order
from tests.billing.traffic import ended, milliseconds, random_traffic

pytestmark = pytest.mark.spec("U4")


def a_week(hours: dict[int, int], *, weekend: int = 0) -> Week:
    """The same hours on five days."""
    rows = [tuple(hours.get(hour, 0) for hour in range(24))] * 5
    return Week((*rows, (weekend, *[0] * 23), (0,) * 24))


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "Asia/Kolkata", "Europe/Paris", "America/Mexico_City", "UTC"])
@pytest.mark.parametrize("change", [date(2026, 3, 29), date(2026, 10, 25)])
def test_every_request_of_the_log_is_in_its_hour(red: Team, blue: Team, zone: str, change: date) -> None:
    period = Period(change - DAY * 3, change + DAY * 3, ZoneInfo(zone))
    chance = random.Random(f"{zone}{change}")
    for team in (red, blue):
        ledger.write(
            random_traffic(team.pk, 300, begin=period.begin - DAY, end=period.end + DAY, chance=chance, keys=[1])
        )
    expected = [[0] * 24 for _ in range(7)]
    for (at,) in UsageRecord.objects.filter(team=red, at__gte=period.begin, at__lt=period.end).values_list("at"):
        local = at.astimezone(ZoneInfo(zone))
        expected[local.weekday()][local.hour] += 1
    found = week(Question(Scope(red), period))
    assert [list(row) for row in found.counts] == expected
    assert found.whole > 100


def test_an_hour_that_the_clocks_skip_is_empty_and_one_that_they_repeat_holds_both(red: Team) -> None:
    paris = ZoneInfo("Europe/Paris")
    for day in (date(2026, 3, 29), date(2026, 10, 25)):
        ledger.write([ended(red.pk, at_ms=milliseconds(moment)) for moment in Period(day, day, paris).hours])
    found = week(Question(Scope(red), Period(date(2026, 3, 1), date(2026, 11, 1), paris)))
    assert Counter(found.counts[6]) == Counter({2: 24})
    spring = week(Question(Scope(red), Period(date(2026, 3, 29), date(2026, 3, 29), paris)))
    assert (spring.counts[6][1:4], spring.whole) == ((1, 0, 1), 23)
    autumn = week(Question(Scope(red), Period(date(2026, 10, 25), date(2026, 10, 25), paris)))
    assert (autumn.counts[6][1:4], autumn.whole) == ((1, 2, 1), 25)


def test_filters_and_scopes_narrow_it(red: Team) -> None:
    at = milliseconds(datetime(2026, 11, 2, 9, tzinfo=UTC))
    ledger.write([
        ended(red.pk, at_ms=at, key_id=1, model="a"),
        ended(red.pk, at_ms=at, key_id=2, model="b", outcome="upstream_error"),
        ended(red.pk, at_ms=at, member_id=3, model="b", origin="chat"),
    ])  # fmt: skip
    period = Period(date(2026, 11, 1), date(2026, 11, 3), ZoneInfo("UTC"))

    def asked(scope: Scope, **filters: tuple[str, ...]) -> int:
        return week(Question(scope, period, filters=Filters(**filters))).counts[0][9]  # type: ignore[arg-type]

    assert asked(Scope(red)) == 3
    assert asked(Scope(red, key_id=1)) == 1
    assert asked(Scope(red, member_id=3)) == 1
    assert asked(Scope(red), models=("b",)) == 2
    assert asked(Scope(red), outcomes=("upstream_error",)) == 1


def test_the_peak_is_the_busiest_hour_and_its_neighbours_that_are_nearly_as_busy() -> None:
    assert a_week({9: 5, 10: 95, 11: 100, 12: 81, 13: 79}).peak == (10, 13)
    assert a_week({0: 100}).peak == (0, 1)
    assert a_week({23: 100}).peak == (23, 24)


def test_no_hour_is_a_peak_where_all_are_alike_or_little_was_asked() -> None:
    assert a_week(dict.fromkeys(range(24), 100)).peak is None
    assert a_week(dict.fromkeys(range(8, 18), 100)).peak is None
    assert a_week({11: 9}).peak is None
    assert a_week({}).peak is None
    assert heading(a_week({})) == "Requests in the week"


@pytest.mark.parametrize(
    ("language", "plain", "with_weekend"),
    [
        ("en", "The peak is from 10 to 12", "The peak is from 10 to 12; 9.1% came on Saturdays and Sundays"),
        ("es", "El pico es de 10 a 12", "El pico es de 10 a 12; el 9,1 % llegó en sábado o domingo"),
        ("fr", "Le pic est de 10 h à 12 h", "Le pic est de 10 h à 12 h ; 9,1 % sont arrivées un samedi ou un dimanche"),
    ],
)
def test_the_heading_says_the_peak_in_the_readers_language(language: str, plain: str, with_weekend: str) -> None:
    with translation.override(language):
        assert heading(a_week({10: 100, 11: 100})) == plain
        assert heading(a_week({10: 100, 11: 100}, weekend=100)).replace("\xa0", " ").replace("\u202f", " ") == (
            with_weekend
        )


@pytest.mark.parametrize(("language", "first"), [("en", 6), ("es", 0), ("fr", 0)])
def test_the_week_begins_as_the_locale_has_it(language: str, first: int) -> None:
    with translation.override(language):
        assert weekday_order()[0] == first
        assert sorted(weekday_order()) == list(range(7))


def test_the_table_has_a_row_for_each_hour_which_adds_up_the_days(red: Team) -> None:
    period = Period(date(2026, 11, 1), date(2026, 11, 7), ZoneInfo("UTC"))
    told = shown(a_week({10: 4, 11: 1}), Question(Scope(red), period))
    assert told.table.head == ("Hour", "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
    assert len(told.table.rows) == 24
    assert told.table.rows[10].said == "10 h: 20 requests, most on Monday: 4"
    assert told.table.rows[9].said == "09 h: 0 requests"
    assert told.plot.rows[1].cells[10].title == "Monday, 10 to 11: 4 requests"
    assert told.bounds == ("0", "", "1", "2", "3", "4")
