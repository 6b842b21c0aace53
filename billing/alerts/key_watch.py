"""Keys that nobody uses, which somebody may find; and keys whose end is near, which somebody will miss."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import F, Q
from django.db.models.functions import Coalesce

from accounts.models import ApiKey
from billing.alerts.noticed import Noticed
from billing.models import Rule, Severity, Watching

UNUSED = timedelta(days=90)
BEFORE_END = (1, 3, 14)  # days


def unused_and_expiring(*, now: datetime) -> Iterator[Noticed]:
    live = (
        ApiKey.objects.filter(revoked_at=None, team__archived_at=None)
        .filter(Q(expires_at=None) | Q(expires_at__gt=now))
        .exclude(team__in=Watching.objects.filter(keys=False).values("team"))
        .annotate(touched_at=Coalesce(F("last_used_at"), F("created_at")))
    )
    for key in live.filter(touched_at__lt=now - UNUSED):
        yield Noticed(
            key.team_id,
            Rule.UNUSED_KEY,
            f"key:{key.pk}",
            key.touched_at.isoformat(),
            Severity.NOTE,
            key.name,
            {"masked": key.masked, "since": key.touched_at.isoformat(), "never": int(key.last_used_at is None)},
        )
    for key in live.filter(expires_at__lte=now + timedelta(days=max(BEFORE_END))):
        yield _expiring(key, now)


def _expiring(key: ApiKey, now: datetime) -> Noticed:
    end = key.expires_at
    assert end is not None  # noqa: S101  # the query's own condition
    days = next(days for days in BEFORE_END if end <= now + timedelta(days=days))
    return Noticed(
        key.team_id,
        Rule.EXPIRING_KEY,
        f"key:{key.pk}",
        f"{end.isoformat()}:{days}",
        Severity.NOTE if days == max(BEFORE_END) else Severity.WARNING,
        key.name,
        {"masked": key.masked, "ends": end.isoformat(), "days": days},
    )
