"""What the log knows of the hours and days that are open now: where the counts of a subject begin."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime

from django.db.models import Sum
from django.utils import timezone

from billing.limits.windows import HOUR, Consumed, Subject
from billing.models import UsageQuarter

LONG = {"hour", "day"}

type Sums = dict[str, Counter[str]]  # by the subject's name


def consumed(subjects: Iterable[Subject]) -> list[Consumed]:
    """As far as it was shipped. Two questions to the database for each zone that teams live in."""
    by_zone: defaultdict[str, list[Subject]] = defaultdict(list)
    for subject in subjects:
        if any(rule.window.span in LONG for rule in subject.rules):
            by_zone[subject.days.zone].append(subject)
    now = timezone.now().timestamp()
    found = []
    for alike in by_zone.values():
        hour = _sums(alike, now // HOUR * HOUR)
        day = _sums(alike, alike[0].days.ends(now)[0])
        for subject in alike:
            today = day[subject.name]
            found.append(
                Consumed(
                    subject,
                    hour_output=hour[subject.name]["completion"],
                    requests=today["requests"],
                    tokens=today["prompt"] + today["completion"],
                    output=today["completion"],
                )
            )
    return found


def _sums(subjects: Iterable[Subject], since: float) -> Sums:
    """Roll-ups begin at quarters of an hour, and so do the hours and days of every zone."""
    rows = (
        UsageQuarter.objects.filter(
            team_id__in={subject.team_id for subject in subjects}, bucket__gte=datetime.fromtimestamp(since, UTC)
        )
        .values("team_id", "key_id", "member_id")
        .annotate(requests=Sum("requests"), prompt=Sum("prompt_tokens"), completion=Sum("completion_tokens"))
    )
    found: Sums = defaultdict(Counter)
    for row in rows:
        sums = {name: row[name] for name in ("requests", "prompt", "completion")}
        for name in (f"team/{row['team_id']}", f"key/{row['key_id']}", f"member/{row['team_id']}/{row['member_id']}"):
            found[name].update(sums)
    return found
