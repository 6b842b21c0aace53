"""Budgets that go down, in words: whether they last, until when, and what may be used by the end of the month."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from babel.dates import format_skeleton
from babel.numbers import format_decimal
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from billing.budgets.words import HIGH, said
from billing.numbers import compact, locale, money, percent
from billing.usage.axis_captions import day_said
from billing.usage.charts import Column
from billing.usage.data_tables import DataRow, DataTable, written
from billing.usage.data_tables import said as row_said
from billing.usage.plots.burndown import Burndown as Plot
from billing.usage.plots.burndown import Fan, Words, burndown
from billing.usage.sections.burndown import Burndown
from billing.usage.sections.forecasts import Expected


@dataclass(frozen=True, slots=True)
class ShownBurndown:
    name: str
    is_credit: bool
    heading: str
    description: str
    source: str
    plot: Plot
    table: DataTable


def shown(found: Burndown, *, name: str) -> ShownBurndown:
    return ShownBurndown(
        name=name,
        is_credit=found.is_credit,
        heading=heading(found),
        description=description(found),
        source=_range_told(found),
        plot=_plot(found),
        table=_table(found),
    )


def heading(found: Burndown) -> str:
    """Whether it lasts; never why."""
    if found.left_now <= 0:
        return _used_up(found)
    if found.is_credit:
        return _credit_heading(found)
    amount = said(found.standing.budget.amount, found.standing)
    if found.likely_end:
        words = _("At this pace the budget of %(amount)s is used up on %(day)s")
        return words % {"amount": amount, "day": _day(found.likely_end)}
    if found.earliest_end:
        return _("The budget of %(amount)s may just not be enough") % {"amount": amount}
    if found.ahead:
        return _("The budget of %(amount)s will be enough") % {"amount": amount}
    return _("%(left)s left of the budget of %(amount)s") % {
        "left": said(found.left_now, found.standing),
        "amount": amount,
    }


def _used_up(found: Burndown) -> str:
    amount, day = said(found.standing.budget.amount, found.standing), found.used_up_on
    if found.is_credit:
        return _("The credit is used up")
    if day is None or found.standing.budget.amount <= 0:
        return _("The budget of %(amount)s is used up") % {"amount": amount}
    return _("The budget of %(amount)s has been used up since %(day)s") % {"amount": amount, "day": _day(day)}


def _credit_heading(found: Burndown) -> str:
    left = money(found.left_now)
    if found.likely_end:
        return _("At this pace the credit is used up on %(day)s") % {"day": _day(found.likely_end)}
    if found.earliest_end:
        return _("The credit of %(left)s may just not last for 30 days") % {"left": left}
    if found.ahead:
        return _("The credit of %(left)s will last for 30 days and more") % {"left": left}
    return _("%(left)s left of the credit") % {"left": left}


def description(found: Burndown) -> str:
    if found.is_credit:
        told = _("What is left of the credit, day by day.")
    else:
        month = format_skeleton("yMMMM", found.days[0], locale=locale())
        told = _("What is left of the budget of %(month)s, day by day.") % {"month": month}
    return " ".join(filter(None, (told, _foretold(found))))


def _foretold(found: Burndown) -> str:
    """A range, and the days between which it is used up."""
    standing = found.standing
    if not found.ahead:
        return _("It is too early for a forecast.") if found.left_now > 0 else ""
    spent, last = standing.spent, found.ahead[-1]
    words: dict[str, object] = {"least": _rounded(last.least, found, spent), "most": _rounded(last.most, found, spent)}
    if found.is_credit:
        words = {"least": _rounded(last.least, found), "most": _rounded(last.most, found)}
        told = _("Forecast for the next 30 days: between %(least)s and %(most)s used.") % words
    else:
        told = _("Forecast for the end of the month: between %(least)s and %(most)s used.") % words
    return " ".join(filter(None, (told, _between_days(found))))


def _between_days(found: Burndown) -> str:
    """Said where it is not one day."""
    early, late = found.earliest_end, found.latest_end
    if found.left_now <= 0 or early is None or early == late:
        return ""
    if late is None:
        return _("It may be used up from %(day)s on.") % {"day": _day(early)}
    return _("It may be used up between %(early)s and %(late)s.") % {"early": _day(early), "late": _day(late)}


def _range_told(found: Burndown) -> str:
    if not found.ahead:
        return ""
    return _("The band follows the last seven days, weighted by weekday; eight in ten outcomes should lie in it.")


def _day(day: date) -> str:
    return format_skeleton("MMMMd", day, locale=locale())


def _rounded(more: float, found: Burndown, spent: Decimal = Decimal(0)) -> str:
    """No more figures than a forecast has; never rounded over what is spent already by more than it says."""
    amount = Decimal(str(more)) + spent
    if found.standing.in_tokens:
        number = int(amount)
        if number >= 1_000_000:
            return pgettext("millions", "%s tokens") % compact(number)
        return ngettext("%s token", "%s tokens", number) % compact(number)
    return money(amount.quantize(Decimal(1)) if amount >= 100 else amount)


def _plot(found: Burndown) -> Plot:
    full = float(max(Decimal(0), *found.left) if found.is_credit else found.standing.budget.amount)
    now = found.today + found.elapsed
    past = [(float(found.first), float(found.left[0] + found.spent[0]))] if found.left else []
    past += [(min(found.first + place + 1.0, now), float(left)) for place, left in enumerate(found.left)]
    left = float(found.left_now)
    return burndown(
        _columns(found),
        full=full,
        past=past,
        fan=[
            Fan(found.today + place + 1.0, left - one.most, left - one.likely, left - one.least)
            for place, one in enumerate(found.ahead)
        ],
        paced=not found.is_credit,
        warning=None if found.is_credit else full * (1 - HIGH),
        words=Words(
            now=_("%(left)s left") % {"left": _short(found)},
            warning="" if found.is_credit else _("Warning: %(part)s used") % {"part": percent(HIGH)},
            limit=_("Beyond it calls are refused") if found.standing.budget.hard else _("Beyond it calls go on"),
        ),
        write=lambda number, top: _scale(number, found, top=top),
    )


def _short(found: Burndown) -> str:
    left = max(found.left_now, Decimal(0))
    return compact(int(left)) if found.standing.in_tokens else money(left)


def _scale(number: float, found: Burndown, *, top: bool) -> str:
    if found.standing.in_tokens:
        return compact(number)
    return money(Decimal(str(number))) if top else format_decimal(number, format="#,##0.##", locale=locale())


def _columns(found: Burndown) -> list[Column]:
    """The first, each seventh day after it, and today."""
    return [
        Column(_axis_label(place, day, found), day_said(day, "MMMEd"), minor=place not in {0, found.today})
        for place, day in enumerate(found.days)
    ]


def _axis_label(place: int, day: date, found: Burndown) -> str:
    if place == found.today:
        return _("today")
    near = abs(place - found.today) < 3
    return day_said(day) if place % 7 == 0 and not near else ""


def _table(found: Burndown) -> DataTable:
    head, pattern = (_("Used"), _("Left")), _("%(spent)s used, %(left)s left")
    past = written((*found.spent, *found.left), lambda amount: said(amount, found.standing))
    rows = []
    for place, day in enumerate(found.days):
        title = day_said(day, "MMMEd")
        known = place - found.first
        if known < 0:
            rows.append(DataRow(title, ("–", "–"), row_said(title, _("before it began"))))
        elif place <= found.today:
            spent, left = past[found.spent[known]], past[found.left[known]]
            rows.append(DataRow(title, (spent, left), row_said(title, pattern % {"spent": spent, "left": left})))
        elif found.ahead:
            rows.append(_row_ahead(title, found.ahead[place - found.today], found))
        else:
            rows.append(DataRow(title, ("–", "–"), row_said(title, _("no forecast"))))
    return DataTable((_("Day"), *head), tuple(rows))


def _row_ahead(title: str, expected: Expected, found: Burndown) -> DataRow:
    left = float(found.left_now)
    words = {
        "least": _rounded(max(left - expected.most, 0.0), found),
        "most": _rounded(max(left - expected.least, 0.0), found),
    }
    between = _("between %(least)s and %(most)s left") % words
    return DataRow(title, ("–", between), row_said(title, between))
