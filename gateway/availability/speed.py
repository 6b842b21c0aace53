"""How fast models answered lately, from the quarter-hour roll-ups of all teams."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from time import monotonic

from django.db.models import Sum

from accounts.models import Team
from billing.ledger.histograms import percentile, total
from billing.models import UsageQuarter
from gateway.models import ServedModel

LATELY = timedelta(hours=1)
FRESH_FOR = 30.0  # seconds that a process shows the same speeds
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


class Speeds:
    """The speeds of this process, looked for anew when they are FRESH_FOR old: every team's catalogue shows them."""

    def __init__(self) -> None:
        self._found: dict[str, Speed] = {}
        self._read_at = float("-inf")
        self._lock = Lock()

    def lately(self, *, now: datetime) -> dict[str, Speed]:
        with self._lock:
            if monotonic() - self._read_at >= FRESH_FOR:
                names = ServedModel.objects.filter(enabled=True).values_list("public_id", flat=True).distinct()
                self._found, self._read_at = speeds(list(names), now=now), monotonic()
            return self._found

    def forget(self) -> None:
        self._read_at = float("-inf")


board = Speeds()


def _speed(ttft: int, duration: int, written: int) -> Speed:
    writing = total(duration) - total(ttft)
    rate = written / (writing / 1000) if written and writing > 0 else None
    return Speed(percentile(ttft, 0.5), rate)
