"""The view that shows what an alert is about."""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.urls import reverse

from accounts.models import Team
from billing.models import ENDED_WELL, Alert, Outcome, Rule
from billing.usage.forms import Preset
from billing.usage.questions import Group, Metric, address

UNUSED = timedelta(days=90)
FAILED = [outcome.value for outcome in Outcome if outcome not in ENDED_WELL]


def absolute(path: str) -> str:
    """As people outside of a page need it."""
    base: str = settings.BASE_URL
    return base + path


def path_of(alert: Alert) -> str:
    """Below the installation's address. It stays right when it is read weeks later: days stand in it as dates."""
    kind, _, number = alert.subject.partition(":")
    team = alert.team
    if team is None:
        return _of_platform(alert, number)
    match alert.rule:
        case Rule.BUDGET:
            month = date.fromisoformat(alert.detail["month"])
            metric = Metric.COST if alert.detail["unit"] == "money" else Metric.TOKENS
            whose = {kind: number} if kind in {"key", "member"} else {}
            return _usage(team, month, _end_of(month), group=Group.MODEL, metric=metric, **whose)
        case Rule.CREDIT:
            return reverse("billing:budget", args=[team.slug])
        case Rule.SPIKE:
            day = date.fromisoformat(alert.detail["day"])
            return _usage(team, day, day, group=Group.MODEL, key=number)
        case Rule.ERRORS:
            day = _day_of(alert, team)
            return _usage(team, day, day, group=Group.MODEL, metric=Metric.REQUESTS, outcome=FAILED)
        case Rule.SLOW:
            day = _day_of(alert, team)
            return _usage(team, day, day, group=Group.MODEL, metric=Metric.REQUESTS)
        case Rule.UNUSED_KEY | Rule.EXPIRING_KEY:  # not the page of keys, which is not for everybody who is told
            day = _day_of(alert, team)
            return _usage(team, day - UNUSED, day, group=Group.MODEL, key=number)
    return reverse("billing:alerts", args=[team.slug]) + "#webhooks"


def page_of(team: Team | None) -> str:
    """Where all alerts stand, and what is watched."""
    return reverse("billing:alerts", args=[team.slug]) if team else reverse("billing:platform-alerts")


def month_path(team: Team, month: date) -> str:
    return _usage(team, month, _end_of(month))


def _of_platform(alert: Alert, number: str) -> str:
    match alert.rule:
        case Rule.ENGINE:
            return reverse("gateway:engine", args=[int(number)])
        case Rule.TEAM_CREDIT:
            return reverse("billing:credit", args=[alert.detail["slug"]])
        case Rule.WEBHOOK:
            return reverse("billing:platform-alerts") + "#webhooks"
    return reverse("console:home")


def _usage(team: Team, first: date, last: date, **more: object) -> str:
    question = address(period=Preset.CUSTOM, first=first.isoformat(), last=last.isoformat(), **more)
    return f"{reverse('billing:usage', args=[team.slug])}?{question}"


def _day_of(alert: Alert, team: Team) -> date:
    return alert.raised_at.astimezone(ZoneInfo(team.time_zone)).date()


def _end_of(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1) - timedelta(days=1)
