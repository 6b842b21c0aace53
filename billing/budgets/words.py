"""Budgets and credit as pages show them: amounts in words, a meter, and what comes of it at this pace."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from babel.dates import format_skeleton
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing.budgets.monthly import Standing
from billing.numbers import locale, money, percent, whole
from billing.usage.periods import midnight

HIGH = 0.8  # the part from which a budget is called nearly used up


@dataclass(frozen=True, slots=True)
class Meter:
    """Widths and places in percent, for SVG. `today` is empty where there is no month."""

    spent: str
    reserved: str
    today: str
    high: bool
    label: str


@dataclass(frozen=True, slots=True)
class ShownBudget:
    """Amounts in words, `spent` without the name of its unit. `state` is one of used-up, high, well; `pace` may be
    empty.
    """

    standing: Standing
    title: str
    detail: str
    limit: str
    spent: str
    reserved: str
    left: str
    state: str
    meter: Meter
    today: str
    pace: str

    @property
    def pk(self) -> int:
        return self.standing.budget.pk

    @property
    def hard(self) -> bool:
        return self.standing.budget.hard


def shown(standing: Standing, *, now: datetime, zone: ZoneInfo, used_up_on: date | None = None) -> ShownBudget:
    """`used_up_on`: the day that `billing.usage.sections.burndown` foretells; None: it lasts, or it is too early."""
    budget = standing.budget
    title, detail = _("The whole team"), ""
    if budget.key:
        title, detail = budget.key.name, budget.key.masked
    elif budget.member:
        title = str(budget.member)
    return ShownBudget(
        standing=standing,
        title=title,
        detail=detail,
        limit=said(budget.amount, standing),
        spent=whole(int(standing.spent)) if standing.in_tokens else money(standing.spent),
        reserved=said(standing.reserved, standing) if standing.reserved else "",
        left=said(standing.left, standing),
        state="used-up" if standing.left <= 0 else "high" if standing.spent_part >= HIGH else "well",
        meter=_meter(standing, now, zone),
        today=_("The mark is today, day %(day)s of the month.") % {"day": now.astimezone(zone).day},
        pace=_pace(standing, used_up_on),
    )


def used(standing: Standing) -> str:
    """How much of it is gone, for a line of a table."""
    spent = whole(int(standing.spent)) if standing.in_tokens else money(standing.spent)
    return _("%(spent)s of %(limit)s this month") % {"spent": spent, "limit": said(standing.budget.amount, standing)}


def said(amount: Decimal, standing: Standing) -> str:
    if not standing.in_tokens:
        return money(amount)
    number = int(amount)
    return ngettext("%s token", "%s tokens", number) % whole(number)


def _meter(standing: Standing, now: datetime, zone: ZoneInfo) -> Meter:
    label = _("%(part)s is used up") % {"part": percent(standing.spent_part)}
    today = "" if standing.renews is None else _places(_elapsed(standing.renews, now, zone))
    return Meter(
        spent=_places(standing.spent_part),
        reserved=_places(standing.reserved_part),
        today=today,
        high=standing.spent_part >= HIGH,
        label=label,
    )


def _places(part: float) -> str:
    return f"{part * 100:.2f}%"


def _elapsed(renews: datetime, now: datetime, zone: ZoneInfo) -> float:
    """The part of the month that is over."""
    begin = _begin(renews, zone)
    return min(max((now - begin) / (renews - begin), 0.0), 1.0)


def _begin(renews: datetime, zone: ZoneInfo) -> datetime:
    last_day = renews.astimezone(zone).date() - timedelta(days=1)
    return midnight(last_day.replace(day=1), zone)


def _pace(standing: Standing, used_up_on: date | None) -> str:
    if used_up_on is None or standing.left <= 0:
        return ""
    day = format_skeleton("MMMMd", used_up_on, locale=locale())  # whole words: the sentence ends here
    return _("At this pace it is used up on %(day)s.") % {"day": day}
