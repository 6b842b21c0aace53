"""What the usage pages are asked: whose usage, of which days, cut and filtered how. All of it stands in the address.

Every part of a page, every file and every link reads the roll-ups through `days` or `quarters` here, so that all of
them speak of the same rows.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Q, QuerySet

from accounts.models import Team
from billing.models import (
    PlatformDay,
    PlatformModelDay,
    PlatformTeamDay,
    RefusedQuarter,
    TeamQuarter,
    UsageDay,
    UsageQuarter,
    UsageUtcDay,
)
from billing.usage.periods import Period

UTC = "UTC"


class Group(StrEnum):
    """What the rows of the breakdown are. `TEAM` is for the whole platform alone; keys and people are not."""

    MODEL = "model"
    KEY = "key"
    MEMBER = "member"
    ORIGIN = "origin"
    OUTCOME = "outcome"
    TOKENS = "tokens"  # input, cached input, output, reasoning: columns of each roll-up, not rows
    TEAM = "team"


COLUMNS = {
    Group.MODEL: "model",
    Group.KEY: "key_id",
    Group.MEMBER: "member_id",
    Group.ORIGIN: "origin",
    Group.OUTCOME: "outcome",
    Group.TEAM: "team_id",
}


class Metric(StrEnum):
    TOKENS = "tokens"
    REQUESTS = "requests"
    COST = "cost"


class Bucket(StrEnum):
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Compared(StrEnum):
    """With what the period is compared: not at all, the days directly before, or those before on the same weekdays."""

    NOT = ""
    BEFORE = "before"
    WEEKDAYS = "weekdays"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose usage. A team's whole, that of one of its keys or members, or (without a team) the platform's.

    The platform's days hold neither keys nor people, so that it is not grouped nor filtered by them.
    """

    team: Team | None
    key_id: int | None = None
    member_id: int | None = None

    @property
    def groups(self) -> tuple[Group, ...]:
        """What its rows can be told apart by, the usual one first."""
        if self.team is None:
            return Group.TEAM, Group.MODEL, Group.ORIGIN, Group.OUTCOME, Group.TOKENS
        if self.key_id is not None:
            return Group.MODEL, Group.OUTCOME, Group.TOKENS
        if self.member_id is not None:
            return Group.MODEL, Group.KEY, Group.ORIGIN, Group.OUTCOME, Group.TOKENS
        return Group.MODEL, Group.KEY, Group.MEMBER, Group.ORIGIN, Group.OUTCOME, Group.TOKENS

    @property
    def counted(self) -> tuple[Group, ...]:
        """Of what it is told how many there were; the last of them is drawn and compared."""
        if self.team is None:
            return Group.MODEL, Group.TEAM
        if self.key_id is not None:
            return (Group.MODEL,)
        if self.member_id is not None:
            return Group.KEY, Group.MODEL
        return Group.KEY, Group.MEMBER

    @property
    def zone(self) -> str:
        """The name of the zone in which its days are counted."""
        return self.team.time_zone if self.team else settings.TIME_ZONE


@dataclass(frozen=True, slots=True)
class Filters:
    """What of it. An empty tuple asks for everything; several values of one kind are any of them."""

    models: tuple[str, ...] = ()
    keys: tuple[int, ...] = ()  # 0: the chat, which has no key
    members: tuple[int, ...] = ()  # 0: service keys
    origins: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()  # those of `billing.models.Outcome`
    teams: tuple[int, ...] = ()  # for the platform

    def __bool__(self) -> bool:
        return bool(self.models or self.keys or self.members or self.origins or self.outcomes or self.teams)

    def where(self) -> Q:
        found = Q()
        for column, values in self.columns().items():
            if values:
                found &= Q(**{f"{column}__in": values})
        return found

    def columns(self) -> dict[str, tuple[Any, ...]]:
        """The roll-ups' column of each filter, which the log has too."""
        return {
            "model": self.models,
            "key_id": self.keys,
            "member_id": self.members,
            "origin": self.origins,
            "outcome": self.outcomes,
            "team_id": self.teams,
        }


@dataclass(frozen=True, slots=True)
class Question:
    """A page's state. `period` has the zone in which days are counted: the team's, or UTC."""

    scope: Scope
    period: Period
    group: Group = Group.MODEL
    metric: Metric = Metric.TOKENS
    bucket: Bucket = Bucket.DAY
    filters: Filters = Filters()
    compared: Compared = Compared.BEFORE
    sort: str = ""  # a column of the breakdown, with "-" before it from high to low

    def over(self, period: Period) -> Self:
        """The same of other days."""
        return replace(self, period=period)

    @property
    def by_quarters(self) -> bool:
        """Whether the roll-ups by day cannot tell: they know no hours, and no days but the team's and those of UTC."""
        team = self.scope.team
        return self.bucket == Bucket.HOUR or (team is not None and self.period.zone.key not in {team.time_zone, UTC})

    def where(self) -> Q:
        found = self.filters.where()
        if self.scope.key_id is not None:
            found &= Q(key_id=self.scope.key_id)
        if self.scope.member_id is not None:
            found &= Q(member_id=self.scope.member_id)
        return found


def days(question: Question, *columns: str) -> QuerySet[Any]:
    """Roll-ups by day of the question's rows: a team's, in its zone or in UTC, or the platform's in the installation's.

    `columns`: what the reader tells apart besides the question's group.
    """
    period, team = question.period, question.scope.team
    if team is None:
        return _of_the_platform(question, columns).objects.filter(
            question.where(), day__gte=period.first, day__lte=period.last
        )
    level: type[UsageDay | UsageUtcDay] = UsageDay if period.zone.key == team.time_zone else UsageUtcDay
    return level.objects.filter(question.where(), team=team, day__gte=period.first, day__lte=period.last)


def _of_the_platform(
    question: Question, columns: tuple[str, ...]
) -> type[PlatformDay | PlatformModelDay | PlatformTeamDay]:
    """The narrowest level that can tell: of a year, the one that has all has too many rows."""
    asked = {column for column, values in question.filters.columns().items() if values} | set(columns)
    asked |= {COLUMNS[question.group]} if question.group in COLUMNS else set()
    if asked <= {"team_id"}:
        return PlatformTeamDay
    return PlatformDay if "team_id" in asked else PlatformModelDay


def quarters(question: Question) -> QuerySet[UsageQuarter]:
    """Roll-ups by quarter of an hour, UTC, of the question's rows."""
    period, team = question.period, question.scope.team
    rows = UsageQuarter.objects.filter(question.where(), bucket__gte=period.begin, bucket__lt=period.end)
    return rows if team is None else rows.filter(team=team)


def hours(question: Question) -> QuerySet[Any]:
    """As `quarters`, for who tells nothing apart but time: from the narrow level, where nothing is filtered."""
    scope, period = question.scope, question.period
    if scope.team is None or scope.key_id is not None or scope.member_id is not None or question.filters:
        return quarters(question)
    return TeamQuarter.objects.filter(team=scope.team, bucket__gte=period.begin, bucket__lt=period.end)


def refusals(question: Question) -> QuerySet[RefusedQuarter]:
    """Sums of refused calls by quarter of an hour. These have no model that answered and no outcome to filter by."""
    period, scope = question.period, question.scope
    rows = RefusedQuarter.objects.filter(bucket__gte=period.begin, bucket__lt=period.end)
    wanted: dict[str, Any] = {
        "team": scope.team,
        "key_id": scope.key_id,
        "member_id": scope.member_id,
        **{
            f"{column}__in": values
            for column, values in question.filters.columns().items()
            if values and column not in {"model", "outcome"}
        },
    }
    return rows.filter(**{column: value for column, value in wanted.items() if value is not None})


def address(**fields: Any) -> str:
    """A query string; what is empty is left out, lists are repeated."""
    return urlencode([(name, value) for name, value in fields.items() if value not in ("", None, (), [])], doseq=True)
