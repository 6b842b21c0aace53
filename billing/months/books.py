"""A team's months as its books have them: what each came to, whether it is closed, and what came late."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Count, F, Q, Sum
from django.db.models.functions import TruncMonth, TruncYear

from accounts.models import Team
from billing.ledger.months import Change, changes, closed_until, closing_of
from billing.models import ENDED_WELL, UsageDay, UsageRecord
from billing.usage.periods import Period, whole_month
from billing.usage.sums import NONE, SUMMED, Sums


@dataclass(frozen=True, slots=True)
class Late:
    """What is booked in a month without having been made in it, or corrects it. Part of the month's sums."""

    requests: int = 0
    corrections: int = 0


@dataclass(frozen=True, slots=True)
class Month:
    """`closing` is None of an open month, and of one that was closed so long ago that nobody knows by whom."""

    period: Period
    sums: Sums
    is_closed: bool
    is_over: bool
    closing: Change | None
    late: Late

    @property
    def first(self) -> date:
        return self.period.first


LATE = Q(booked_at__gt=F("at"))
_ADDED: dict[str, Any] = {f"sum_{name}": Sum(name) for name in SUMMED} | {
    "sum_errors": Sum("requests", filter=~Q(outcome__in=ENDED_WELL), default=0)
}


def years(team: Team) -> list[int]:
    """Those in which anything was used, newest first."""
    found = UsageDay.objects.filter(team=team).annotate(year=TruncYear("day")).values_list("year", flat=True)
    return [year.year for year in found.distinct().order_by("-year")]


def months_of(team: Team, year: int, *, now: datetime) -> list[Month]:
    """The year's months up to now, newest first; those before anything was ever used are left out."""
    zone = ZoneInfo(team.time_zone)
    today = now.astimezone(zone).date()
    periods = [whole_month(date(year, number, 1), zone) for number in range(1, 13)]
    periods = [period for period in periods if period.first <= today]
    begun = UsageDay.objects.filter(team=team).order_by("day").values_list("day", flat=True).first() or today
    periods = [period for period in periods if period.last >= begun]
    if not periods:
        return []
    sums, late = _sums(team, periods), _late(team, periods)
    until, known = closed_until(team), changes(team)
    return [
        Month(
            period,
            sums.get(period.first, NONE),
            is_closed=until is not None and period.end <= until,
            is_over=period.last < today,
            closing=closing_of(period.end, known) if until is not None and period.end <= until else None,
            late=late[period.first],
        )
        for period in reversed(periods)
    ]


def month_of(team: Team, day: date, *, now: datetime) -> Month | None:
    """The month that holds the day; None before anything was used, and for one that has not begun."""
    found = (month for month in months_of(team, day.year, now=now) if month.first == day.replace(day=1))
    return next(found, None)


def _sums(team: Team, periods: list[Period]) -> dict[date, Sums]:
    rows = UsageDay.objects.filter(team=team, day__gte=periods[0].first, day__lte=periods[-1].last)
    added: Any = rows.annotate(month=TruncMonth("day")).values("month").annotate(**_ADDED).order_by()
    return {row["month"]: _added(row) for row in added}


def _added(row: dict[str, Any]) -> Sums:
    sums: dict[str, Any] = {name: row[f"sum_{name}"] for name in (*SUMMED, "errors")}
    return Sums(**sums)


def _late(team: Team, periods: list[Period]) -> defaultdict[date, Late]:
    """Both are few, and each has an index of its own."""
    zone = periods[0].zone
    booked = UsageRecord.objects.filter(
        team=team, booked_at__gte=periods[0].begin, booked_at__lt=periods[-1].end
    ).annotate(month=TruncMonth("booked_at", tzinfo=zone))

    def counted(which: Q) -> dict[date, int]:
        rows = booked.filter(which).values("month").annotate(number=Count("*")).order_by()
        return {row["month"].date(): row["number"] for row in rows}

    requests = counted(LATE & Q(corrects=None))
    corrections = counted(Q(corrects__isnull=False))
    found: defaultdict[date, Late] = defaultdict(Late)
    for month in requests.keys() | corrections.keys():
        found[month] = Late(requests.get(month, 0), corrections.get(month, 0))
    return found
