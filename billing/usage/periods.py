"""Days of a team, whole and in its own zone, and how they are cut into the bars of a chart."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
HOURS_UP_TO = 2  # days; longer periods are cut into days


@dataclass(frozen=True, slots=True)
class Period:
    """From the first day's midnight to the end of the last, in the zone."""

    first: date
    last: date
    zone: ZoneInfo

    @property
    def length(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def days(self) -> list[date]:
        return [self.first + DAY * number for number in range(self.length)]

    @property
    def begin(self) -> datetime:
        return midnight(self.first, self.zone)

    @property
    def end(self) -> datetime:
        return midnight(self.last + DAY, self.zone)

    @property
    def by_hour(self) -> bool:
        return self.length <= HOURS_UP_TO

    @property
    def hours(self) -> list[datetime]:
        """The moments at which hours begin, 23 or 25 of them on a day when the clocks change."""
        count = -(-(self.end - self.begin) // HOUR)
        return [(self.begin + HOUR * number).astimezone(self.zone) for number in range(count)]

    def before(self) -> "Period":
        """As many days, directly before."""
        return self.moved(-DAY * self.length)

    def moved(self, by: timedelta) -> "Period":
        """By whole days."""
        return Period(self.first + by, self.last + by, self.zone)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """In UTC, so that adding hours adds hours."""
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def last_days(count: int, today: date, zone: ZoneInfo) -> Period:
    return Period(today - DAY * (count - 1), today, zone)


def this_month(today: date, zone: ZoneInfo) -> Period:
    return Period(today.replace(day=1), today, zone)


def whole_month(day: date, zone: ZoneInfo) -> Period:
    """The month that holds the day, to its end."""
    first = day.replace(day=1)
    return Period(first, (first + 31 * DAY).replace(day=1) - DAY, zone)


def last_month(today: date, zone: ZoneInfo) -> Period:
    last = today.replace(day=1) - DAY
    return Period(last.replace(day=1), last, zone)
