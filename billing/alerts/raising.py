"""Alerts are raised and resolved here alone.

An alert and what goes out because of it are one transaction, and the database holds each occasion once: whatever dies
in between, and however many look at the same time, nobody is told twice or not at all.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from billing.alerts.noticed import EPISODES, Noticed
from billing.alerts.recipients import deliveries
from billing.models import Alert, Delivery, Rule

CALM = timedelta(minutes=15)  # an episode is over when it was not noticed for so long
MONTH = timedelta(days=31)
AT_ONCE = 5_000  # alerts removed in one transaction

type Key = tuple[int | None, str, str, str]


def settle(found: Iterable[Noticed], *, rules: Collection[Rule], now: datetime) -> list[Alert]:
    """Raises what is new of these rules' occasions and resolves what is over.

    Give it all that a look at these rules has found. Returns what was raised.
    """
    opened = {_key(alert): alert for alert in Alert.objects.filter(rule__in=rules, resolved_at=None)}
    noticed = {_of(one): one for one in found}
    raised = [
        alert for key, one in noticed.items() if key not in opened and (alert := raise_alert(one, now=now)) is not None
    ]
    Alert.objects.filter(pk__in=[opened[key].pk for key in noticed if key in opened]).update(seen_at=now)
    for key, alert in opened.items():
        if key not in noticed and _is_over(alert, now):
            resolve(alert, now=now)
    return raised


@transaction.atomic
def raise_alert(noticed: Noticed, *, now: datetime) -> Alert | None:
    """None: this occasion has been raised before, by us or, a moment ago, by another process."""
    subject = {"team_id": noticed.team_id, "rule": noticed.rule, "subject": noticed.subject}
    alert, created = Alert.objects.get_or_create(
        **subject,
        occasion=_next_episode(noticed) if noticed.episode else noticed.occasion,
        defaults={
            "name": noticed.name[:254],
            "severity": noticed.severity,
            "detail": dict(noticed.detail),
            "raised_at": now,
            "seen_at": now,
        },
    )
    if not created:  # and if it was over, it is so no more: what was said of it holds again
        Alert.objects.filter(pk=alert.pk).update(resolved_at=None, seen_at=now)
        return None
    Delivery.objects.bulk_create(deliveries(alert, kind=Delivery.Kind.RAISED, now=now))
    return alert


@transaction.atomic
def resolve(alert: Alert, *, now: datetime) -> bool:
    """False: another process has. The end of an episode is told to whom its beginning was told."""
    if not Alert.objects.filter(pk=alert.pk, resolved_at=None).update(resolved_at=now):
        return False
    if alert.rule in EPISODES:
        # Where a look came between, and took it for open: its end was told before.
        Delivery.objects.bulk_create(deliveries(alert, kind=Delivery.Kind.RESOLVED, now=now), ignore_conflicts=True)
    return True


def forget_old(*, now: datetime) -> int:
    """Removes alerts that are over, with their deliveries, once RETENTION_AUDIT no longer keeps them."""
    months: int = settings.ENVIRONMENT.retention_audit_months
    if not months:
        return 0
    before = now - months * MONTH
    Delivery.objects.filter(alert=None, created_at__lt=before).delete()
    old = Alert.objects.filter(resolved_at__lt=before).order_by("resolved_at")
    removed = 0
    while found := Alert.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:AT_ONCE])).delete()[0]:
        removed += found
    return removed


def _is_over(alert: Alert, now: datetime) -> bool:
    return alert.rule not in EPISODES or now - alert.seen_at >= CALM


def _next_episode(noticed: Noticed) -> str:
    """Two processes that look at once come to the same number, and one of them finds it taken."""
    past = Alert.objects.filter(team=noticed.team_id, rule=noticed.rule, subject=noticed.subject)
    last = past.order_by("-raised_at").first()
    if last is None:
        return "1"
    return last.occasion if last.resolved_at is None else str(int(last.occasion) + 1)


def _key(alert: Alert) -> Key:
    return alert.team_id, alert.rule, alert.subject, "" if alert.rule in EPISODES else alert.occasion


def _of(noticed: Noticed) -> Key:
    return noticed.team_id, noticed.rule, noticed.subject, noticed.occasion
