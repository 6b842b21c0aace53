"""How fast models answered lately, from the quarter-hour roll-ups of all teams."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Sum

from accounts.models import Team
from billing.ledger.histograms import approximate_sum, percentile
from billing.models import UsageQuarter

LATELY = timedelta(hours=1)
QUARTER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Speed:
    """`first_token`: milliseconds, for half of the streams. `tokens_per_second`: of one answer, while it is written.

    Both are approximate, as the histograms are that they come from; None: nothing was measured.
    """

    first_token: float | None
    tokens_per_second: float | None


def speeds(models: Sequence[str], *, now: datetime) -> dict[str, Speed]:
    """Of the last hour, in two queries: the roll-ups lie by team, so the teams are named."""
    begin = now - LATELY
    begin = begin.replace(minute=begin.minute // 15 * 15, second=0, microsecond=0)
    rows = UsageQuarter.objects.filter(
        team_id__in=list(Team.objects.values_list("pk", flat=True)), bucket__gte=begin, model__in=models
    )
    found = rows.values("model").annotate(first=Sum("ttft"), whole=Sum("duration"), written=Sum("completion_tokens"))
    return {
        row["model"]: _speed(int(row["first"]), int(row["whole"]), row["written"]) for row in found.order_by("model")
    }


def _speed(ttft: int, duration: int, written: int) -> Speed:
    writing = approximate_sum(duration) - approximate_sum(ttft)
    rate = written / (writing / 1000) if written and writing > 0 else None
    return Speed(percentile(ttft, 0.5), rate)
