"""How a period is cut: the moments at which the bars of its chart begin, which are the groups of its reading too."""

from bisect import bisect_right
from datetime import date, datetime, timedelta

from billing.usage.periods import DAY, HOUR, Period, midnight
from billing.usage.questions import Bucket, Question

type Moment = date | datetime  # a day of the zone, or the begin of an hour


def moments(period: Period, bucket: Bucket) -> tuple[Moment, ...]:
    """Weeks begin on Monday; the first bucket begins with the period, however much of its week or month that is."""
    match bucket:
        case Bucket.HOUR:
            return tuple(period.hours)
        case Bucket.DAY:
            return tuple(period.days)
        case Bucket.WEEK:
            return tuple(day for day in period.days if day == period.first or day.weekday() == 0)
        case Bucket.MONTH:
            return tuple(day for day in period.days if day == period.first or day.day == 1)


def instant(moment: Moment, period: Period) -> datetime:
    return moment if isinstance(moment, datetime) else midnight(moment, period.zone)


def ends(begins: tuple[Moment, ...], period: Period) -> tuple[Moment, ...]:
    """The moments at which the buckets end, which belong to the next: days, or times where the buckets are hours."""
    last: Moment = period.last + DAY
    if begins and isinstance(begins[0], datetime):
        last = period.end.astimezone(period.zone)
    return (*begins[1:], last)


def running(begins: tuple[Moment, ...], period: Period, now: datetime) -> int | None:
    """The place of the bucket that is not over yet."""
    if not period.begin <= now < period.end:
        return None
    return bisect_right(begins, now, key=lambda moment: instant(moment, period)) - 1


def edges(question: Question, begins: tuple[Moment, ...]) -> list[Moment]:
    """Where the buckets begin, in the terms of the table that is read: days, or moments for quarter hours."""
    return [instant(moment, question.period) for moment in begins] if question.by_quarters else list(begins)


def edges_before(question: Question, begins: tuple[Moment, ...], shift: timedelta) -> list[Moment]:
    """The same places, `shift` (whole days) earlier."""
    period = question.period
    if question.bucket == Bucket.HOUR:
        begin = midnight(period.first - shift, period.zone)
        return [begin + HOUR * place for place in range(len(begins))]
    days = [moment - shift for moment in begins]
    return [instant(day, period) for day in days] if question.by_quarters else days
