"""Alerts as pages show them, and which of them stand at the head of somebody's pages."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Case, Count, IntegerField, QuerySet, When, Window
from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.access import has_role
from accounts.models import ApiKey, Role, Team, User
from billing.alerts.links import page_of, path_of
from billing.alerts.words import said
from billing.models import Alert, Delivery, Dismissal, Severity

NOW = 100
PAST = 20
SENT = 20
AT_HEAD = 3  # banners; of more it is told how many

STATE = {Severity.URGENT: "bad", Severity.WARNING: "warn", Severity.NOTE: "off"}
_RANK = [Severity.URGENT, Severity.WARNING, Severity.NOTE]

REASONS = {
    "malformed": gettext_noop("This is no address."),
    "scheme": gettext_noop("The address must begin with https://."),
    "credentials": gettext_noop("The address must not hold a name or password."),
    "port": gettext_noop("Only ports 443 and 8443 may be called."),
    "private": gettext_noop("The address leads into a private network. An operator can allow its host."),
    "unknown": gettext_noop("The host's name is not known."),
    "known": gettext_noop("This address is there already."),
    "no answer in time": gettext_noop("no answer in time"),
    "not written": gettext_noop("could not be written; the server's log says why"),
    "secret unreadable": gettext_noop("The secret was stored with another SECRET_KEY: make a new one."),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """An alert in words; `state` is a class of the state's shape, `kind` what it is about."""

    id: UUID
    kind: str
    state: str
    severity: str
    title: str
    text: str
    url: str
    raised: str
    resolved: str


@dataclass(frozen=True, slots=True)
class Heads:
    """What stands at the head of pages. `more`: how many do not. `team`: a slug, empty for the platform's."""

    alerts: list[Shown]
    more: int
    team: str
    page: str


@dataclass(frozen=True, slots=True)
class Open:
    """`number`: how many there are; `more`: how many of them are not among `alerts`."""

    alerts: list[Shown]
    number: int
    more: int


@dataclass(frozen=True, slots=True)
class ShownDelivery:
    at: str
    what: str
    to: str
    state: str
    said: str
    note: str


def open_alerts(team: Team | None, user: User, role: Role | None) -> Open:
    return _first(_shown_to(user, role, team).filter(resolved_at=None).select_related("team"), NOW)


def _first(alerts: QuerySet[Alert], most: int) -> Open:
    """The most urgent of them, and of these the latest. A team may have an alert for each of thousands of keys."""
    urgency = Case(*(When(severity=one, then=rank) for rank, one in enumerate(_RANK)), output_field=IntegerField())
    found = list(alerts.annotate(number=Window(Count("*"))).order_by(urgency, "-raised_at")[:most])
    number = found[0].number if found else 0
    return Open([shown(alert) for alert in found], number, number - len(found))


def past_alerts(team: Team | None, user: User, role: Role | None) -> list[Shown]:
    """The latest first."""
    found = _shown_to(user, role, team).filter(resolved_at__isnull=False).select_related("team")
    return [shown(alert) for alert in found.order_by("-raised_at")[:PAST]]


def heads(team: Team | None, user: User, role: Role | None) -> Heads:
    """Those that hold and that this person has not put away."""
    if not Alert.objects.filter(team=team, resolved_at=None).exists():  # as for most pages, which need ask no more
        return Heads([], 0, team.slug if team else "", page_of(team))
    mine = _shown_to(user, role, team).filter(resolved_at=None).exclude(dismissals__user=user).select_related("team")
    found = _first(mine, AT_HEAD)
    return Heads(found.alerts, found.more, team.slug if team else "", page_of(team))


def _shown_to(user: User, role: Role | None, team: Team | None) -> QuerySet[Alert]:
    """To admins the team's, to others what is about the team as a whole or about themselves and their keys."""
    alerts = Alert.objects.filter(team=team)
    if team is None or has_role(role, Role.ADMIN):
        return alerts
    keys = ApiKey.objects.filter(team=team, owner=user, revoked_at=None).values_list("pk", flat=True)
    return alerts.filter(subject__in=["team", f"member:{user.pk}", *(f"key:{key}" for key in keys)])


def dismiss(*, alert: Alert, user: User) -> None:
    Dismissal.objects.get_or_create(alert=alert, user=user)


def deliveries_of(team: Team | None) -> list[ShownDelivery]:
    found = Delivery.objects.filter(team=team).select_related("alert__team", "report", "user", "webhook")
    zone = zone_of(team)
    return [_delivery(one, zone) for one in found.order_by("-created_at", "pk")[:SENT]]


def is_waiting(shown: Iterable[ShownDelivery]) -> bool:
    return any(one.state == "live" for one in shown)


def shown(alert: Alert) -> Shown:
    words, zone = said(alert), zone_of(alert.team)
    severity = Severity(alert.severity)
    return Shown(
        id=alert.pk,
        kind=str(alert.get_rule_display()),
        state=STATE[severity],
        severity=str(severity.label),
        title=words.title,
        text=words.text,
        url=path_of(alert),
        raised=moment(alert.raised_at, zone),
        resolved=moment(alert.resolved_at, zone) if alert.resolved_at else "",
    )


def zone_of(team: Team | None) -> ZoneInfo:
    return ZoneInfo(team.time_zone if team else settings.TIME_ZONE)


def moment(at: datetime, zone: ZoneInfo) -> str:
    local = at.astimezone(zone)
    return _("%(day)s, %(time)s") % {
        "day": formats.date_format(local, "SHORT_DATE_FORMAT"),
        "time": formats.time_format(local, "H:i"),
    }


def reason(code: str) -> str:
    """Why a call came to nothing; an answer's own words as they are."""
    return _(REASONS[code]) if code in REASONS else code


def _about(kind: str, label: str) -> str:
    return _("%(kind)s: %(label)s") % {"kind": kind, "label": label}


def _delivery(delivery: Delivery, zone: ZoneInfo) -> ShownDelivery:
    state = {
        Delivery.State.WAITING: "live",
        Delivery.State.SENT: "good",
        Delivery.State.FAILED: "bad",
        Delivery.State.DROPPED: "off",
    }[Delivery.State(delivery.state)]
    what = str(Delivery.Kind(delivery.kind).label)
    if delivery.alert is not None:
        words = said(delivery.alert).title
        what = words if delivery.kind == Delivery.Kind.RAISED else _about(what, words)
    elif delivery.report is not None:
        what = _about(what, formats.date_format(delivery.report.month, "YEAR_MONTH_FORMAT"))
    tried_in_vain = delivery.state == Delivery.State.WAITING and delivery.answer
    said_ = _("is tried again") if tried_in_vain else str(Delivery.State(delivery.state).label)
    note = "" if delivery.state == Delivery.State.SENT else reason(delivery.answer)
    to = str(delivery.user) if delivery.user else delivery.to  # people by name: addresses are for admins
    return ShownDelivery(moment(delivery.created_at, zone), what, to, state, said_, note)
