"""The looks themselves: each settles all alerts of its rules."""

from django.utils import timezone

from billing.alerts.budget_watch import budgets_and_credit
from billing.alerts.key_watch import unused_and_expiring
from billing.alerts.platform_watch import log_and_spool
from billing.alerts.raising import settle
from billing.alerts.traffic_watch import errors_and_slowness, spikes
from billing.models import Rule


def look_at_money() -> None:
    now = timezone.now()
    settle(budgets_and_credit(now=now), rules=[Rule.BUDGET, Rule.CREDIT, Rule.TEAM_CREDIT], now=now)


def look_at_traffic() -> None:
    now = timezone.now()
    settle(errors_and_slowness(now=now), rules=[Rule.ERRORS, Rule.SLOW], now=now)


def look_at_keys() -> None:
    now = timezone.now()
    settle(unused_and_expiring(now=now), rules=[Rule.UNUSED_KEY, Rule.EXPIRING_KEY], now=now)


def look_at_use() -> None:
    now = timezone.now()
    settle(spikes(now=now), rules=[Rule.SPIKE], now=now)


def look_at_platform() -> None:
    now = timezone.now()
    settle(log_and_spool(), rules=[Rule.DEAD_LETTERS, Rule.SPOOL], now=now)
