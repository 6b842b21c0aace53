"""Webhooks of teams, and the platform's (`team` None): made, tried, stopped and started. And what is posted to them."""

import json
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone, translation

from accounts import audit
from accounts.models import Team, User
from accounts.secrets import decrypt, encrypt
from billing.alerts import addresses, signing
from billing.alerts.links import absolute, path_of
from billing.alerts.noticed import Noticed
from billing.alerts.posting import Answer
from billing.alerts.raising import raise_alert
from billing.alerts.words import said
from billing.errors import AddressRefused, TooManyWebhooks
from billing.models import Alert, Delivery, Rule, Severity, Webhook

MOST = 10  # of a team
WEBHOOKS_LOCK = 0x7E27C0
STOP_AFTER = timedelta(days=5)  # of failures alone


def webhooks_of(team: Team | None) -> list[Webhook]:
    return list(Webhook.objects.filter(team=team).order_by("created_at", "pk"))


@transaction.atomic
def add_webhook(*, team: Team | None, url: str, by: User | None) -> tuple[Webhook, str]:
    """The webhook and its secret, which is shown this once.

    Raises AddressRefused and TooManyWebhooks.
    """
    address = str(addresses.parse(url, hosts=settings.ENVIRONMENT.webhook_hosts))
    _one_after_another(team)
    there = Webhook.objects.filter(team=team)
    if there.filter(url=address).exists():
        raise AddressRefused("known")
    if there.count() >= MOST:
        raise TooManyWebhooks(str(MOST))
    secret = signing.new_secret()
    hook = Webhook.objects.create(
        team=team, url=address, secret=encrypt(secret), created_at=timezone.now(), created_by=by
    )
    audit.record("webhook.added", by=by, team=team, subject=hook)
    return hook, secret


def _one_after_another(team: Team | None) -> None:
    """Of two at once, both would find room, or no such address."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [WEBHOOKS_LOCK, team.pk if team else 0])


@transaction.atomic
def renew_secret(*, hook: Webhook, by: User | None) -> str:
    """The new one, shown this once. The old one signs nothing any more."""
    secret = signing.new_secret()
    Webhook.objects.filter(pk=hook.pk).update(secret=encrypt(secret))
    audit.record("webhook.secret_renewed", by=by, team=hook.team, subject=hook)
    return secret


@transaction.atomic
def remove_webhook(*, hook: Webhook, by: User | None) -> None:
    audit.record("webhook.removed", by=by, team=hook.team, subject=hook)
    Webhook.objects.filter(pk=hook.pk).delete()


@transaction.atomic
def start_again(*, hook: Webhook, by: User | None) -> None:
    if Webhook.objects.filter(pk=hook.pk).exclude(stopped_at=None).update(stopped_at=None, failing_since=None):
        audit.record("webhook.started", by=by, team=hook.team, subject=hook)
    Alert.objects.filter(rule=Rule.WEBHOOK, subject=f"webhook:{hook.pk}", resolved_at=None).update(
        resolved_at=timezone.now()
    )


@transaction.atomic
def try_out(*, hook: Webhook, by: User | None) -> Delivery:
    """A message of the kind "test", by the same road as all others. One at a time."""
    now = timezone.now()
    waiting = Delivery.objects.filter(webhook=hook, kind=Delivery.Kind.TEST, state=Delivery.State.WAITING).first()
    if waiting is not None:
        return waiting
    audit.record("webhook.tried", by=by, team=hook.team, subject=hook)
    return Delivery.objects.create(
        kind=Delivery.Kind.TEST, team=hook.team, webhook=hook, to=str(hook), created_at=now, due_at=now
    )


def note_answer(*, hook: Webhook, answer: Answer, now: datetime) -> None:
    """Counts the days of failures. The last of them, or 410 Gone, stops the webhook and says so to people."""
    if answer.taken:
        Webhook.objects.filter(pk=hook.pk).update(answered_at=now, failing_since=None)
        return
    Webhook.objects.filter(pk=hook.pk, failing_since=None).update(failing_since=now)
    hook.refresh_from_db(fields=["failing_since"])
    if answer.gone or (hook.failing_since and now - hook.failing_since >= STOP_AFTER):
        _stop(hook, answer, now)


@transaction.atomic
def _stop(hook: Webhook, answer: Answer, now: datetime) -> None:
    if not Webhook.objects.filter(pk=hook.pk, stopped_at=None).update(stopped_at=now):
        return
    waiting = Delivery.objects.filter(webhook=hook, state=Delivery.State.WAITING)
    waiting.update(state=Delivery.State.DROPPED)
    detail = {"answer": f"{answer.status} {answer.text}"[:120].strip() if answer.status else answer.text}
    found = Noticed(
        hook.team_id, Rule.WEBHOOK, f"webhook:{hook.pk}", now.isoformat(), Severity.WARNING, str(hook), detail
    )
    raise_alert(found, now=now)
    audit.record("webhook.stopped", by=None, team=hook.team, subject=hook)


def body_of(delivery: Delivery) -> bytes:
    """English, whatever people read: programs take it. Names of fields are an interface and only grow."""
    with translation.override("en"):
        return json.dumps(_payload(delivery), ensure_ascii=False).encode()


def _payload(delivery: Delivery) -> dict[str, Any]:
    alert, team = delivery.alert, delivery.team
    data: dict[str, Any] = {"team": {"id": team.pk, "slug": team.slug, "name": team.name} if team else None}
    if alert is None:
        return {"type": "test", "timestamp": _moment(delivery.created_at), "data": data}
    words = said(alert)
    over = delivery.kind == Delivery.Kind.RESOLVED
    data |= {
        "id": str(alert.pk),
        "rule": alert.rule,
        "severity": alert.severity,
        "subject": alert.subject,
        "name": alert.name,
        "title": words.title,
        "text": words.text,
        "detail": alert.detail,
        "raised_at": _moment(alert.raised_at),
        "resolved_at": _moment(alert.resolved_at) if over and alert.resolved_at else None,
        "url": absolute(path_of(alert)),
    }
    at = alert.resolved_at if over and alert.resolved_at else alert.raised_at
    return {"type": "alert.resolved" if over else "alert.raised", "timestamp": _moment(at), "data": data}


def signed(delivery: Delivery, body: bytes, *, now: datetime) -> dict[str, str]:
    """The headers. Raises UnreadableSecret."""
    hook = delivery.webhook
    if hook is None:
        raise ValueError("this delivery goes by mail")
    return signing.headers(message_id=f"msg_{delivery.pk.hex}", at=now, body=body, secret=decrypt(hook.secret))


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
