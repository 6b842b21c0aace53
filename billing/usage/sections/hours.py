"""Requests by weekday and hour of the question's zone, from the quarter hours, which every change of clocks fits."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Sum
from django.db.models.functions import ExtractHour, ExtractIsoWeekDay

from billing.usage.questions import Question, hours

WEEKDAYS, HOURS = 7, 24
WEEKEND = (5, 6)


@dataclass(frozen=True, slots=True)
class Week:
    """`counts[weekday][hour]`, Monday first."""

    counts: tuple[tuple[int, ...], ...]

    @property
    def whole(self) -> int:
        return sum(map(sum, self.counts))

    @property
    def by_hour(self) -> tuple[int, ...]:
        return tuple(map(sum, zip(*self.counts, strict=True)))

    @property
    def weekend_share(self) -> float:
        return sum(sum(self.counts[day]) for day in WEEKEND) / self.whole if self.whole else 0.0

    @property
    def peak(self) -> tuple[int, int] | None:
        """The hours around the busiest one that hold nearly as much, from and to; None where no hour stands out."""
        by_hour = self.by_hour
        most = max(by_hour)
        if most * HOURS < STANDS_OUT * self.whole or self.whole < ENOUGH:
            return None
        begin = end = by_hour.index(most)
        while begin > 0 and by_hour[begin - 1] >= NEARLY * most:
            begin -= 1
        while end < HOURS - 1 and by_hour[end + 1] >= NEARLY * most:
            end += 1
        return (begin, end + 1) if end + 1 - begin <= LONGEST else None


STANDS_OUT = 1.5  # times the mean of the hours
ENOUGH = 48  # requests; of fewer a peak says nothing
NEARLY = 0.8  # of the busiest hour
LONGEST = 6  # hours that can be called a peak


def week(question: Question) -> Week:
    zone = question.period.zone
    found: Any = (
        hours(question)
        .annotate(weekday=ExtractIsoWeekDay("bucket", tzinfo=zone), hour=ExtractHour("bucket", tzinfo=zone))
        .values_list("weekday", "hour")
        .annotate(number=Sum("requests"))
    )
    counts = [[0] * HOURS for _ in range(WEEKDAYS)]
    for weekday, hour, number in found:
        counts[weekday - 1][hour] = int(number)
    return Week(tuple(map(tuple, counts)))
