"""Small readings for other pages and for /v1/usage: a key's today and month, the last week of a key or a team."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from accounts.models import ApiKey, Team
from billing.ids import at_of
from billing.models import Outcome, UsageRecord
from billing.usage.periods import Period, last_days, whole_month
from billing.usage.questions import Question, Scope, days
from billing.usage.sums import ANNOTATIONS, NONE, Sums, added, sums_of


def came_to_nothing(team_id: int, request_id: UUID) -> bool:
    """Whether the log knows the request as one that failed before any token."""
    ended = UsageRecord.objects.filter(team=team_id, at=at_of(request_id), id=request_id)
    return ended.filter(prompt_tokens=0, completion_tokens=0).exclude(outcome=Outcome.OK).exists()


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """What one key used in a period, by model, most tokens first."""

    period: Period
    models: tuple[tuple[str, Sums], ...]
    total: Sums


def usage_of_key(key: ApiKey, *, now: datetime) -> tuple[KeyUsage, KeyUsage]:
    """Today and this month, in the team's zone."""
    zone = ZoneInfo(key.team.time_zone)
    today = now.astimezone(zone).date()
    return _of_key(key, last_days(1, today, zone)), _of_key(key, whole_month(today, zone))


def _of_key(key: ApiKey, period: Period) -> KeyUsage:
    rows = days(Question(Scope(key.team, key_id=key.pk), period)).values("model").annotate(**ANNOTATIONS)
    models = sorted(((row["model"], sums_of(row)) for row in rows), key=lambda found: (-found[1].tokens, found[0]))
    return KeyUsage(period, tuple(models), added([sums for _, sums in models]))


@dataclass(frozen=True, slots=True)
class Week:
    """The last seven days, today the last of them."""

    days: tuple[date, ...]
    sums: tuple[Sums, ...]
    total: Sums


def week_of_key(key: ApiKey, *, now: datetime) -> Week:
    return _week(key.team, Scope(key.team, key_id=key.pk), now)


def week_of_team(team: Team, *, now: datetime) -> Week:
    return _week(team, Scope(team), now)


def _week(team: Team, scope: Scope, now: datetime) -> Week:
    zone = ZoneInfo(team.time_zone)
    period = last_days(7, now.astimezone(zone).date(), zone)
    rows = days(Question(scope, period)).values("day").annotate(**ANNOTATIONS)
    found = {row["day"]: sums_of(row) for row in rows}
    sums = tuple(found.get(day, NONE) for day in period.days)
    return Week(tuple(period.days), sums, added(sums))
