"""Traffic that is not as it should be: errors, slow answers, a key that is suddenly used much.

All of it is read from the quarter hours, of all teams in few questions.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

from django.db.models import F, Q, Sum

from accounts.models import ApiKey, Team
from billing.alerts.noticed import Noticed
from billing.budgets.monthly import quarter
from billing.ledger.histograms import percentile, size
from billing.models import ENDED_WELL, Rule, Severity, UsageQuarter, Watching

QUARTER = timedelta(minutes=15)
LONGEST = timedelta(hours=1)  # a team's window
LAST = timedelta(hours=3)  # of a key, beside the same hours of past weeks
WEEKS = 4
LEAST_WEEKS = 2  # a key that is younger has no usual yet
P95 = 0.95

type Bucket = tuple[int, datetime]  # team and quarter hour


@dataclass(slots=True)
class Window:
    """What came to a team in its window."""

    requests: int = 0
    failed: int = 0
    ttft: int = 0  # a histogram
    failed_by_model: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))


def errors_and_slowness(*, now: datetime) -> Iterator[Noticed]:
    wishes = _wishes()
    windows = _windows(wishes, now)
    for team_id, window in windows.items():
        wanted = wishes[team_id]
        if window.requests < wanted.least_requests:
            continue
        yield from _errors(team_id, window, wanted)
        yield from _slowness(team_id, window, wanted)


def _errors(team_id: int, window: Window, wanted: Watching) -> Iterator[Noticed]:
    if wanted.error_percent is None or window.failed * 100 < window.requests * wanted.error_percent:
        return
    worst = max(window.failed_by_model, key=lambda model: (window.failed_by_model[model], model))
    yield Noticed(
        team_id,
        Rule.ERRORS,
        "team",
        "",
        Severity.URGENT if window.failed * 2 >= window.requests else Severity.WARNING,
        detail={
            "requests": window.requests,
            "failed": window.failed,
            "percent": wanted.error_percent,
            "minutes": wanted.window_minutes,
            "model": worst,
            "model_failed": window.failed_by_model[worst],
        },
    )


def _slowness(team_id: int, window: Window, wanted: Watching) -> Iterator[Noticed]:
    measured = percentile(window.ttft, P95)
    if wanted.first_token_ms is None or measured is None or size(window.ttft) < wanted.least_requests:
        return
    if measured <= wanted.first_token_ms:
        return
    yield Noticed(
        team_id,
        Rule.SLOW,
        "team",
        "",
        Severity.WARNING,
        detail={
            "p95": round(measured),
            "limit": wanted.first_token_ms,
            "requests": size(window.ttft),
            "minutes": wanted.window_minutes,
        },
    )


def _wishes() -> dict[int, Watching]:
    given = {wish.team_id: wish for wish in Watching.objects.all()}
    teams = Team.objects.filter(archived_at=None).values_list("pk", flat=True)
    return {pk: given.get(pk) or Watching(team_id=pk) for pk in teams}


def _windows(wishes: dict[int, Watching], now: datetime) -> dict[int, Window]:
    """The quarter hour that runs, and as many before it as the team's window has."""
    windows: defaultdict[int, Window] = defaultdict(Window)
    begin = quarter(now) - LONGEST
    rows = UsageQuarter.objects.filter(bucket__gte=begin, bucket__lte=now, team__in=list(wishes))
    summed = rows.values("team_id", "bucket", "model").annotate(
        sum_requests=Sum("requests"),
        sum_failed=Sum("requests", filter=~Q(outcome__in=ENDED_WELL), default=0),
        sum_ttft=Sum("ttft"),
    )
    for row in summed:
        if row["bucket"] < quarter(now) - timedelta(minutes=wishes[row["team_id"]].window_minutes):
            continue
        window = windows[row["team_id"]]
        window.requests += row["sum_requests"]
        window.failed += row["sum_failed"]
        window.ttft += int(row["sum_ttft"])
        if row["sum_failed"]:
            window.failed_by_model[row["model"]] += row["sum_failed"]
    return windows


def spikes(*, now: datetime) -> Iterator[Noticed]:
    """Keys whose last hours came to several times the median of the same hours in the weeks before."""
    wishes = {pk: wish for pk, wish in _wishes().items() if wish.spikes}
    recent = _sum_by_key(Q(team__in=list(wishes)), *_hours(now))
    suspects = {key: used for key, used in recent.items() if used >= wishes[key[0]].spike_floor}
    keys = list(ApiKey.objects.filter(pk__in=[key_id for _, key_id in suspects]).select_related("team"))
    usual = _usual(keys, now)
    for key in keys:
        used, wish = suspects[key.team_id, key.pk], wishes[key.team_id]
        if key.pk not in usual or used < usual[key.pk] * wish.spike_times:
            continue
        today = now.astimezone(ZoneInfo(key.team.time_zone)).date()
        yield Noticed(
            key.team_id,
            Rule.SPIKE,
            f"key:{key.pk}",
            today.isoformat(),
            Severity.WARNING,
            key.name,
            {
                "used": used,
                "usual": round(usual[key.pk]),
                "hours": LAST // timedelta(hours=1),
                "day": today.isoformat(),
            },
        )


def _hours(now: datetime) -> tuple[datetime, datetime]:
    end = quarter(now) + QUARTER
    return end - LAST, end


def _usual(keys: Iterable[ApiKey], now: datetime) -> dict[int, float]:
    """Tokens by key; without those that have not seen enough weeks. Four questions for each time zone.

    Both ends are quarter hours of the team's clock, so that a change of the clocks in between moves nothing.
    """
    by_zone: defaultdict[str, list[ApiKey]] = defaultdict(list)
    for key in keys:
        by_zone[key.team.time_zone].append(key)
    seen: defaultdict[int, list[int]] = defaultdict(list)
    for zone, those in by_zone.items():
        which = Q(team__in={key.team_id for key in those}, key_id__in=[key.pk for key in those])
        for week in range(1, WEEKS + 1):
            begin, end = (_weeks_before(moment, week, ZoneInfo(zone)) for moment in _hours(now))
            found = _sum_by_key(which, begin, end)
            for key in those:
                if begin >= key.created_at:
                    seen[key.pk].append(found.get((key.team_id, key.pk), 0))
    return {key: median(weeks) for key, weeks in seen.items() if len(weeks) >= LEAST_WEEKS}


def _weeks_before(moment: datetime, weeks: int, zone: ZoneInfo) -> datetime:
    local = moment.astimezone(zone).replace(tzinfo=None, fold=0) - timedelta(weeks=weeks)
    return local.replace(tzinfo=zone).astimezone(UTC)


def _sum_by_key(which: Q, begin: datetime, end: datetime) -> dict[tuple[int, int], int]:
    """Tokens by team and key."""
    rows = (
        UsageQuarter.objects.filter(which, bucket__gte=begin, bucket__lt=end)
        .exclude(key_id=0)
        .values("team_id", "key_id")
        .annotate(used=Sum(F("prompt_tokens") + F("completion_tokens")))
    )
    return {(row["team_id"], row["key_id"]): int(row["used"]) for row in rows}
