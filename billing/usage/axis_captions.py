"""What the columns of charts are called: on the axis, where few can be named, and to whoever points at one."""

from collections.abc import Sequence
from datetime import date, datetime
from functools import lru_cache

from babel.dates import format_skeleton
from django.utils import formats
from django.utils.translation import gettext as _

from billing.numbers import locale
from billing.usage.buckets import Moment, ends, running
from billing.usage.charts import Column
from billing.usage.periods import DAY, Period
from billing.usage.questions import Bucket, Question

NAMED = 8  # columns of a long axis, about
FEW = 14  # columns that can all be named


def columns(question: Question, begins: Sequence[Moment], *, now: datetime) -> list[Column]:
    period = question.period
    here = running(tuple(begins), period, now)
    after = ends(tuple(begins), period)
    labels = [_label(moment, place, here, len(begins), question.bucket) for place, moment in enumerate(begins)]
    named = [place for place, label in enumerate(labels) if label]
    minor = {place for number, place in enumerate(named) if number % 2 and place != here}
    return [
        Column(labels[place], title(moment, after[place], period), minor=place in minor)
        for place, moment in enumerate(begins)
    ]


def title(moment: Moment, after: Moment, period: Period) -> str:
    """An hour, a day or the days from one to another."""
    if isinstance(moment, datetime):
        hour = formats.time_format(moment, "H:i")
        if period.length == 1 and moment.fold == 0:
            return hour
        return f"{day_said(moment.date(), 'MMMEd')} {hour} (UTC{moment:%z})"
    year = "y" if period.first.year != period.last.year else ""
    last = after - DAY
    if last == moment:
        return day_said(moment, f"{year}MMMEd")
    return _("%(first)s to %(last)s") % {
        "first": day_said(moment, "MMMd"),
        "last": day_said(last, f"{year}MMMd"),
    }


def first_head(bucket: Bucket) -> str:
    return {
        Bucket.HOUR: _("Hour"),
        Bucket.DAY: _("Day"),
        Bucket.WEEK: _("Week"),
        Bucket.MONTH: _("Month"),
    }[bucket]


def each(bucket: Bucket) -> str:
    return {
        Bucket.HOUR: _("per hour"),
        Bucket.DAY: _("per day"),
        Bucket.WEEK: _("per week"),
        Bucket.MONTH: _("per month"),
    }[bucket]


def day_said(day: date, skeleton: str = "MMMd") -> str:
    return _day_said(day, skeleton, locale())


@lru_cache(maxsize=4096)
def _day_said(day: date, skeleton: str, locale: str) -> str:
    """A page names the same days in each of its charts, and the next page names them again."""
    return format_skeleton(skeleton, day, locale=locale)


def _label(moment: Moment, place: int, here: int | None, count: int, bucket: Bucket) -> str:
    """Mondays, firsts of months, or every so many hours; and nothing too near to what runs, which says "today"."""
    if isinstance(moment, datetime):
        if count > 2 * 26:
            return day_said(moment.date()) if moment.hour == 0 and not moment.fold else ""
        return formats.time_format(moment, "H:i") if moment.hour % 6 == 0 and not moment.fold else ""
    if place == here and bucket == Bucket.DAY:
        return _("today")
    if here is not None and bucket == Bucket.DAY and 0 < here - place < max(2, count // 12) and count > FEW // 2:
        return ""
    if count <= FEW:
        return day_said(moment, "MMM" if bucket == Bucket.MONTH else "MMMd")
    if bucket == Bucket.DAY and count <= 100:
        return day_said(moment) if moment.weekday() == 0 else ""
    return day_said(moment) if place % -(-count // NAMED) == 0 else ""
