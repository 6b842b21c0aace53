"""With which days a period is compared, and up to which moment of them."""

from datetime import datetime, timedelta

from billing.usage.periods import DAY
from billing.usage.questions import Compared, Question

WEEK = 7  # days


def shift(question: Question) -> timedelta:
    """How far back the days lie, in whole days: the ones directly before, or before them on the same weekdays."""
    length = question.period.length
    if question.compared == Compared.WEEKDAYS:
        length = -(-length // WEEK) * WEEK
    return DAY * length


def cut(question: Question, back: timedelta, *, now: datetime) -> datetime | None:
    """A running period is compared up to the same time of the day that is its today's; None: with the whole."""
    period = question.period
    if not period.begin <= now < period.end:
        return None
    return (now.astimezone(period.zone) - back).astimezone(now.tzinfo)
