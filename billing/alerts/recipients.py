"""To whom an alert goes, as rows that are not stored yet."""

from datetime import datetime

from accounts.models import ApiKey, Team, User
from billing.alerts.wishes import Hearer, hearers
from billing.models import Alert, Delivery, Rule, Webhook

OWN_KEY = (Rule.UNUSED_KEY, Rule.EXPIRING_KEY, Rule.SPIKE)  # their owner hears of it too, whatever the role


def deliveries(alert: Alert, *, kind: Delivery.Kind, now: datetime) -> list[Delivery]:
    """A mail for each person who is told, and a call for each of the team's webhooks that was not stopped."""
    team = alert.team
    if kind == Delivery.Kind.RESOLVED:  # to those alone who heard of its beginning
        heard = alert.deliveries.filter(kind=Delivery.Kind.RAISED)
        return [_again(alert, one, kind, now) for one in heard.select_related("user", "webhook") if _still_there(one)]
    people = {one.user.pk: one.user for one in hearers(team) if one.hears_alerts}
    if team is not None and (owner := _owner_of_key(alert, team)):
        people.setdefault(owner.user.pk, owner.user)
    made = [_waiting(alert, kind, now, user=user, to=user.email) for user in people.values()]
    if alert.rule == Rule.WEBHOOK:  # of no use on the way that does not work
        return made
    hooks = Webhook.objects.filter(team=team, stopped_at=None)
    return made + [_waiting(alert, kind, now, webhook=hook, to=str(hook)) for hook in hooks]


def _owner_of_key(alert: Alert, team: Team) -> Hearer | None:
    kind, _, number = alert.subject.partition(":")
    if kind != "key" or alert.rule not in OWN_KEY:
        return None
    owner_id = ApiKey.objects.filter(pk=int(number), team=team).values_list("owner_id", flat=True).first()
    return next((one for one in hearers(team) if one.user.pk == owner_id and not one.declined_alerts), None)


def _again(alert: Alert, raised: Delivery, kind: Delivery.Kind, now: datetime) -> Delivery:
    return _waiting(alert, kind, now, user=raised.user, webhook=raised.webhook, to=raised.to)


def _still_there(raised: Delivery) -> bool:
    if raised.webhook is not None:
        return raised.webhook.stopped_at is None
    return raised.user is not None and raised.user.is_active


def _waiting(
    alert: Alert,
    kind: Delivery.Kind,
    now: datetime,
    *,
    to: str,
    user: User | None = None,
    webhook: Webhook | None = None,
) -> Delivery:
    return Delivery(
        kind=kind,
        team=alert.team,
        alert=alert,
        user=user,
        webhook=webhook,
        to=to,
        created_at=now,
        due_at=now,
    )
