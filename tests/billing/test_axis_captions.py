"""What columns are called: few on the axis, so that they can be read, and each by its whole name when pointed at."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from django.utils import translation

from accounts.models import Team
from billing.usage.axis_captions import columns
from billing.usage.buckets import moments
from billing.usage.charts import Column
from billing.usage.periods import DAY, Period
from billing.usage.questions import Bucket, Question, Scope

PARIS = ZoneInfo("Europe/Paris")
LATER = datetime(2027, 6, 1, tzinfo=UTC)


def named(first: date, length: int, bucket: Bucket, *, now: datetime = LATER) -> list[Column]:
    question = Question(
        Scope(Team(time_zone="Europe/Paris")), Period(first, first + DAY * (length - 1), PARIS), bucket=bucket
    )
    return columns(question, moments(question.period, bucket), now=now)


def labels(found: list[Column]) -> list[str]:
    return [column.label for column in found if column.label]


def test_of_a_week_every_day_is_named_and_of_a_month_its_mondays_and_today() -> None:
    assert labels(named(date(2026, 11, 2), 3, Bucket.DAY)) == ["Nov 2", "Nov 3", "Nov 4"]
    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    found = named(date(2026, 10, 28), 30, Bucket.DAY, now=now)
    assert labels(found) == ["Nov 2", "Nov 9", "Nov 16", "Nov 23", "today"]
    assert [column.label for column in found if column.label and not column.minor] == ["Nov 2", "Nov 16", "today"]
    assert (found[0].title, found[-1].title) == ("Wed, Oct 28", "Thu, Nov 26")


def test_a_label_that_would_touch_today_is_left_out() -> None:
    found = named(date(2026, 10, 26), 30, Bucket.DAY, now=datetime(2026, 11, 24, 12, tzinfo=UTC))
    assert labels(found) == ["Oct 26", "Nov 2", "Nov 9", "Nov 16", "today"]


def test_hours_are_named_by_the_clock_and_told_apart_when_it_is_set_back() -> None:
    found = named(date(2026, 10, 25), 1, Bucket.HOUR)
    assert labels(found) == ["00:00", "06:00", "12:00", "18:00"]
    assert [column.title for column in found[1:5]] == ["01:00", "02:00", "Sun, Oct 25 02:00 (UTC+0100)", "03:00"]
    days = named(date(2026, 11, 1), 7, Bucket.HOUR)
    assert labels(days) == ["Nov 1", "Nov 2", "Nov 3", "Nov 4", "Nov 5", "Nov 6", "Nov 7"]


def test_weeks_and_months_say_from_when_to_when() -> None:
    weeks = named(date(2026, 10, 28), 20, Bucket.WEEK)
    assert [column.title for column in weeks] == ["Oct 28 to Nov 1", "Nov 2 to Nov 8", "Nov 9 to Nov 15", "Mon, Nov 16"]
    months = named(date(2026, 12, 20), 60, Bucket.MONTH)
    assert [column.title for column in months] == [
        "Dec 20 to Dec 31, 2026", "Jan 1 to Jan 31, 2027", "Feb 1 to Feb 17, 2027",
    ]  # fmt: skip
    assert labels(months) == ["Dec", "Jan", "Feb"]
    assert len(labels(named(date(2026, 1, 1), 365, Bucket.WEEK))) == 8


@pytest.mark.parametrize(("language", "said"), [("es", "lun, 2 nov"), ("fr", "lun. 2 nov.")])
def test_days_are_said_in_the_readers_language(language: str, said: str) -> None:
    with translation.override(language):
        assert named(date(2026, 11, 2), 1, Bucket.DAY)[0].title == said
