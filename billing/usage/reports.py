"""What a team used, read from the roll-ups alone. Nothing here knows a page; words for people are in `captions`."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Q, Sum
from django.utils.translation import gettext as _

from accounts.models import ApiKey, Team, User
from billing.ids import at_of
from billing.ledger.histograms import percentile
from billing.models import ENDED_WELL, Origin, Outcome, UsageDay, UsageQuarter, UsageRecord
from billing.usage.periods import HOUR, Period, last_days, whole_month
from billing.usage.questions import Group

type Moment = date | datetime  # a day of the team, or the begin of an hour


COLUMNS = {Group.MODEL: "model", Group.KEY: "key_id", Group.MEMBER: "member_id", Group.ORIGIN: "origin"}
SUMMED = (
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "reasoning_reported",
    "cached_reported",
    "estimated_tokens",
    "priced_requests",
    "cost",
)


@dataclass(frozen=True, slots=True)
class Sums:
    """`…_reported`: requests whose engine told such tokens, if only zero. Where none did, none are known."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    reasoning_reported: int = 0
    cached_reported: int = 0
    estimated_tokens: int = 0
    priced_requests: int = 0
    cost: Decimal = Decimal(0)
    errors: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def reasoning(self) -> int | None:
        """Tokens; None where no engine reported any."""
        return self.reasoning_tokens if self.reasoning_reported else None

    @property
    def cached(self) -> int | None:
        return self.cached_tokens if self.cached_reported else None

    @property
    def error_share(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_reported + other.reasoning_reported,
            self.cached_reported + other.cached_reported,
            self.estimated_tokens + other.estimated_tokens,
            self.priced_requests + other.priced_requests,
            self.cost + other.cost,
            self.errors + other.errors,
        )


NONE = Sums()


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds, interpolated: off by less than a fifth (`billing.ledger.histograms`). None: nothing measured."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Histograms, to be added up, of the time until the first token and until the end."""

    ttft: int = 0
    duration: int = 0

    def __add__(self, other: "Latency") -> "Latency":
        return Latency(self.ttft + other.ttft, self.duration + other.duration)

    @property
    def of_first_token(self) -> Percentiles:
        return _percentiles(self.ttft)

    @property
    def of_whole(self) -> Percentiles:
        return _percentiles(self.duration)


def _percentiles(packed: int) -> Percentiles:
    return Percentiles(percentile(packed, 0.5), percentile(packed, 0.95), percentile(packed, 0.99))


@dataclass(frozen=True, slots=True)
class Series:
    """One row of the breakdown: a model, key, member or origin, with its sums in each bucket."""

    key: str
    label: str
    buckets: tuple[Sums, ...]
    total: Sums
    latency: Latency


@dataclass(frozen=True, slots=True)
class Report:
    """`series` are sorted by tokens, most first; `total` is theirs; `before` is the total of the period before."""

    period: Period
    group: Group
    origin: str
    moments: tuple[Moment, ...]
    series: tuple[Series, ...]
    total: Sums
    before: Sums
    read_at: datetime

    @property
    def buckets(self) -> tuple[Sums, ...]:
        return tuple(sum((one.buckets[place] for one in self.series), NONE) for place in range(len(self.moments)))

    @property
    def latency(self) -> Latency:
        return sum((one.latency for one in self.series), Latency())

    @property
    def running(self) -> int | None:
        """The place of the bucket that is not over yet."""
        now = self.read_at.astimezone(self.period.zone)
        here: Moment = now.replace(minute=0, second=0, microsecond=0) if self.period.by_hour else now.date()
        places = [place for place, moment in enumerate(self.moments) if moment == here]
        return places[-1] if places else None


def usage(team: Team, period: Period, *, group: Group = Group.MODEL, origin: str = "", now: datetime) -> Report:
    """The team's usage in its own zone: hours for two days or less, else days."""
    chosen = Q(origin=origin) if origin else Q()
    moments: tuple[Moment, ...] = tuple(period.hours) if period.by_hour else tuple(period.days)
    found = _by_hour(team, period, group, chosen) if period.by_hour else _by_day(team, period, group, chosen)
    labels = _labels(team, group, found.keys())
    latencies = _latencies(team, period, group, chosen)
    series = [_series(key, labels[key], sums, len(moments), latencies[key]) for key, sums in found.items()]
    series.sort(key=lambda one: (-one.total.tokens, -one.total.requests, one.label))
    return Report(
        period=period,
        group=group,
        origin=origin,
        moments=moments,
        series=tuple(series),
        total=sum((one.total for one in series), NONE),
        before=_total_before(team, period, chosen, now),
        read_at=now,
    )


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
    rows = _days(key.team, period, Q(key_id=key.pk)).values("model").annotate(**_ANNOTATIONS)
    models = sorted(((row["model"], _sums([row])) for row in rows), key=lambda found: (-found[1].tokens, found[0]))
    return KeyUsage(period, tuple(models), sum((found[1] for found in models), NONE))


@dataclass(frozen=True, slots=True)
class Week:
    """The last seven days, today the last of them."""

    days: tuple[date, ...]
    sums: tuple[Sums, ...]
    total: Sums


def week_of_key(key: ApiKey, *, now: datetime) -> Week:
    return _week(key.team, Q(key_id=key.pk), now)


def week_of_team(team: Team, *, now: datetime) -> Week:
    return _week(team, Q(), now)


def _week(team: Team, which: Q, now: datetime) -> Week:
    zone = ZoneInfo(team.time_zone)
    period = last_days(7, now.astimezone(zone).date(), zone)
    found = {row["day"]: _sums([row]) for row in _days(team, period, which).values("day").annotate(**_ANNOTATIONS)}
    sums = tuple(found.get(day, NONE) for day in period.days)
    return Week(tuple(period.days), sums, sum(sums, NONE))


_ANNOTATIONS: dict[str, Any] = {f"sum_{name}": Sum(name) for name in SUMMED} | {
    "sum_errors": Sum("requests", filter=~Q(outcome__in=ENDED_WELL), default=0)
}


def _days(team: Team, period: Period, which: Q) -> Any:
    return UsageDay.objects.filter(which, team=team, day__gte=period.first, day__lte=period.last)


def _quarters(team: Team, begin: datetime, end: datetime, which: Q) -> Any:
    return UsageQuarter.objects.filter(which, team=team, bucket__gte=begin, bucket__lt=end)


type Found = dict[Any, dict[int, Sums]]  # key of the group → place of the bucket → sums


def _by_day(team: Team, period: Period, group: Group, which: Q) -> Found:
    column = COLUMNS[group]
    found: Found = defaultdict(dict)
    for row in _days(team, period, which).values("day", column).annotate(**_ANNOTATIONS):
        found[row[column]][(row["day"] - period.first).days] = _sums([row])
    return found


def _by_hour(team: Team, period: Period, group: Group, which: Q) -> Found:
    column = COLUMNS[group]
    found: Found = defaultdict(lambda: defaultdict(Sums))
    rows = _quarters(team, period.begin, period.end, which).values("bucket", column).annotate(**_ANNOTATIONS)
    for row in rows:
        found[row[column]][(row["bucket"] - period.begin) // HOUR] += _sums([row])
    return found


def _total_before(team: Team, period: Period, which: Q, now: datetime) -> Sums:
    """Of the period before; while this one runs, up to the same time of its last day as now."""
    before = period.before()
    if not period.by_hour or now >= period.end:
        return _sums([_days(team, before, which).aggregate(**_ANNOTATIONS)])
    until = before.begin + (now.astimezone(UTC) - period.begin)
    return _sums([_quarters(team, before.begin, until, which).aggregate(**_ANNOTATIONS)])


def _sums(rows: Iterable[dict[str, Any]]) -> Sums:
    return sum((_one(row) for row in rows), NONE)


def _one(row: dict[str, Any]) -> Sums:
    sums: dict[str, Any] = {name: row[f"sum_{name}"] or 0 for name in (*SUMMED, "errors")}
    return Sums(**sums)


def _latencies(team: Team, period: Period, group: Group, which: Q) -> defaultdict[Any, Latency]:
    """Of each series over the whole period. Apart from the sums: a histogram a bucket would be much to read."""
    column = COLUMNS[group]
    rows = _quarters(team, period.begin, period.end, which) if period.by_hour else _days(team, period, which)
    found = rows.values(column).annotate(sum_ttft=Sum("ttft"), sum_duration=Sum("duration"))
    return defaultdict(Latency, {row[column]: Latency(int(row["sum_ttft"]), int(row["sum_duration"])) for row in found})


def _series(key: object, label: str, sums: dict[int, Sums], length: int, latency: Latency) -> Series:
    buckets = tuple(sums.get(place, NONE) for place in range(length))
    return Series(str(key), label, buckets, sum(buckets, NONE), latency)


def _labels(team: Team, group: Group, keys: Iterable[Any]) -> dict[Any, str]:
    match group:
        case Group.MODEL:
            return {key: key for key in keys}
        case Group.ORIGIN:
            names = {str(value): str(label) for value, label in Origin.choices}
            return {key: names.get(key, key) for key in keys}
        case Group.KEY:
            return key_labels(team, keys)
        case _:
            people = {user.pk: str(user) for user in User.objects.filter(pk__in=keys)}
            return {key: people.get(key) or (_("person %s") % key if key else _("Service keys")) for key in keys}


def key_labels(team: Team, keys: Iterable[int]) -> dict[int, str]:
    """Names of keys by their ids; 0 is what has none."""
    names = dict(ApiKey.objects.filter(team=team, pk__in=keys).values_list("pk", "name"))
    return {key: names.get(key) or (_("key %s") % key if key else _("Chat, without a key")) for key in keys}
