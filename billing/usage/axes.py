"""What the buckets of a chart are called, on its axis and in its table."""

from datetime import date, datetime

from django.utils import formats
from django.utils.translation import gettext as _

from billing.usage.buckets import Moment, ends
from billing.usage.periods import DAY, Period
from billing.usage.questions import Bucket
from billing.usage.reports import Report

FEW = 14  # days, all of which are named
MONDAYS_UP_TO = 100  # days; of more, months are named


def names(report: Report) -> list[str]:
    """In full, for tables and for who points at a bar."""
    bucket, period = report.question.bucket, report.period
    until = ends(report.moments, period)
    return [_name(moment, end, bucket, period) for moment, end in zip(report.moments, until, strict=True)]


def _name(moment: Moment, end: Moment, bucket: Bucket, period: Period) -> str:
    if isinstance(moment, datetime):
        return bucket_name(moment, period)
    if bucket == Bucket.DAY:
        return formats.date_format(moment, "SHORT_DATE_FORMAT")
    first, last = (formats.date_format(day, "SHORT_DATE_FORMAT") for day in (moment, end - DAY))
    return first if first == last else _("%(first)s to %(last)s") % {"first": first, "last": last}


def bucket_name(moment: Moment, period: Period) -> str:
    if isinstance(moment, datetime):
        hour = formats.time_format(moment, "H:i")
        if period.length == 1 and moment.fold == 0:
            return hour
        return f"{formats.date_format(moment, 'SHORT_DATE_FORMAT')} {hour} (UTC{moment:%z})"
    return formats.date_format(moment, "SHORT_DATE_FORMAT")


def labels(report: Report) -> list[tuple[str, bool]]:
    """On the axis Mondays, every sixth hour, months, and what is now; and which may be left out where it is narrow."""
    running = report.running
    said = [_label(report, moment, place) for place, moment in enumerate(report.moments)]
    spoken = [place for place, words in enumerate(said) if words]
    every_other = {place for number, place in enumerate(spoken) if number % 2}
    return [(words, place != running and place in every_other) for place, words in enumerate(said)]


def _label(report: Report, moment: Moment, place: int) -> str:
    period, running, count = report.period, report.running, len(report.moments)
    if isinstance(moment, datetime):
        return _hour_label(moment, period)
    if place == running:
        return _("today") if report.question.bucket == Bucket.DAY else _("now")
    if running is not None and abs(place - running) < max(2, count // 12) and count > FEW // 2:
        return ""
    match report.question.bucket:
        case Bucket.MONTH:
            return formats.date_format(moment, "M")
        case Bucket.WEEK:
            if count <= FEW:
                return formats.date_format(moment, "MONTH_DAY_FORMAT")
            return formats.date_format(moment, "M") if moment.day <= FEW // 2 and place else ""
    return _day_label(moment, period)


def _hour_label(moment: datetime, period: Period) -> str:
    if period.length <= 2:
        return formats.time_format(moment, "H:i") if moment.hour % 6 == 0 and not moment.fold else ""
    return formats.date_format(moment, "MONTH_DAY_FORMAT") if moment.hour == 0 and not moment.fold else ""


def _day_label(day: date, period: Period) -> str:
    if period.length <= FEW or (period.length <= MONDAYS_UP_TO and day.weekday() == 0):
        return formats.date_format(day, "MONTH_DAY_FORMAT")
    return formats.date_format(day, "M") if period.length > MONDAYS_UP_TO and day.day == 1 else ""
