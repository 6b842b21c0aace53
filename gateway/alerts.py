"""Engines that are down, for operators to hear of."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from billing.alerts.noticed import Noticed
from billing.alerts.raising import settle
from billing.models import Rule, Severity
from gateway.models import Engine

PATIENCE = timedelta(minutes=2)  # a restart is no alarm


def look_at_engines() -> None:
    now = timezone.now()
    settle(engines_down(now=now), rules=[Rule.ENGINE], now=now)


def engines_down(*, now: datetime) -> Iterator[Noticed]:
    """Enabled, with a problem at the last look, and not seen well for minutes (`gateway.jobs` looks at each)."""
    lost = Q(seen_at__lt=now - PATIENCE) | Q(seen_at=None, created_at__lt=now - PATIENCE)
    for engine in Engine.objects.filter(lost, enabled=True).exclude(problem=""):
        detail = {"problem": engine.problem}
        yield Noticed(None, Rule.ENGINE, f"engine:{engine.pk}", "", Severity.URGENT, engine.name, detail)
