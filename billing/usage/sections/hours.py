"""Requests by weekday and hour of the question's zone, from the quarter hours, which every change of clocks fits."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import F, Func, IntegerField, Sum

from billing.usage.columns import place
from billing.usage.periods import DAY, Period
from billing.usage.questions import Question, hours

WEEKDAYS, HOURS = 7, 24
QUARTER = timedelta(minutes=15)
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
    """PostgreSQL counts in weeks of UTC, apart for each stretch of time in which the zone's clocks stood still against
    them: to ask it for the hour of each row took three times as long.
    """
    stretches = _stretches(question.period)
    found: Any = (
        hours(question)
        .annotate(
            stretch=place("bucket", [begin for begin, _ahead in stretches]),
            quarter=Func(F("bucket"), template=_QUARTER_OF_A_WEEK, output_field=IntegerField()),
        )
        .values_list("stretch", "quarter")
        .annotate(number=Sum("requests"))
    )
    counts = [[0] * HOURS for _ in range(WEEKDAYS)]
    for stretch, quarter, number in found:
        weekday, of_day = divmod((quarter + stretches[stretch][1]) % (WEEKDAYS * OF_A_DAY), OF_A_DAY)
        counts[weekday][of_day * HOURS // OF_A_DAY] += int(number)
    return Week(tuple(map(tuple, counts)))


OF_A_DAY = 96  # quarters of an hour
# From Monday on; the first day that is counted, January 1, 1970, was a Thursday.
_QUARTER_OF_A_WEEK = "mod(date_part('epoch', %(expressions)s)::bigint / 900 + 288, 672)"


def _stretches(period: Period) -> list[tuple[datetime, int]]:
    """When each begins, and by how many quarters of an hour the zone is ahead of UTC in it."""

    def ahead(moment: datetime) -> int:
        offset = moment.astimezone(period.zone).utcoffset()
        return (offset or timedelta(0)) // QUARTER

    moment, end = period.begin.astimezone(UTC), period.end.astimezone(UTC)
    found = [(moment, ahead(moment))]
    while moment < end:
        following = min(moment + DAY, end)
        if ahead(following) != found[-1][1]:
            while ahead(moment) == found[-1][1]:
                moment += QUARTER
            found.append((moment, ahead(moment)))
        moment = following
    return found
