"""Words for the numbers of a report, made from the numbers shown. They never claim a cause."""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal

from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from billing.ledger.checks import Check
from billing.models import ENDED_WELL
from billing.moments import zone_in_words
from billing.numbers import compact, decimal, money, percent, whole, writing_whole
from billing.usage.periods import Period
from billing.usage.questions import Bucket, Compared, Group, Metric
from billing.usage.reports import Report, Series, amount
from billing.usage.sums import Sums
from billing.usage.token_types import UNTYPED

NOTABLE = 0.4  # a series with this share of the whole is named in the heading
MILLION = 1_000_000  # from here on, Spanish and French say "of tokens"
LEAST_CHANGE = 0.005  # a smaller part is no change
CHANGE_TO_TRACE = 0.05  # from here on the heading says in whose numbers most of it is


def heading(report: Report) -> str:
    """The finding as a sentence; a plain one when nothing stands out."""
    metric = report.metric
    now, before = amount(report.total, metric), amount(report.before, metric)
    if not now:
        unpriced = metric == Metric.COST and report.total.requests and not report.total.priced
        return _("No price was in force for these models") if unpriced else _("Nothing was used")
    said = _amount_said(report.total, metric)
    part = now / before - 1 if before else 0.0
    if part >= LEAST_CHANGE:
        said = _("%(amount)s, %(part)s more") % {"amount": said, "part": percent(part)}
    elif part <= -LEAST_CHANGE:
        said = _("%(amount)s, %(part)s less") % {"amount": said, "part": percent(-part)}
    if before and abs(part) >= CHANGE_TO_TRACE and (mover := most_of_the_change(report)):
        traced = _("%(said)s; most of the rise: %(name)s") if part > 0 else _("%(said)s; most of the fall: %(name)s")
        return traced % {"said": said, "name": mover.label}
    named = [one for one in report.series if not one.others]
    most = max(named, key=lambda one: amount(one.total, metric))
    most_part = amount(most.total, metric) / now
    if len(report.series) > 1 and most_part >= NOTABLE:
        return _("%(said)s; most: %(name)s (%(part)s)") % {"said": said, "name": most.label, "part": percent(most_part)}
    return said


def most_of_the_change(report: Report) -> Series | None:
    """The row whose own change is more than half of the whole's, of several; where it was, not why it came.

    Never those that were answered, of outcomes: they are what everybody expects.
    """
    change = amount(report.total, report.metric) - amount(report.before, report.metric)
    for one in report.series if len(report.series) > 1 else ():
        expected = report.group == Group.OUTCOME and one.key in ENDED_WELL
        own = amount(one.total, report.metric) - amount(one.before, report.metric)
        if own / change > 0.5 and not one.others and not expected:
            return one
    return None


def description(report: Report) -> str:
    """What the chart shows, plainly."""
    measure = {Metric.TOKENS: _("Tokens"), Metric.REQUESTS: _("Requests"), Metric.COST: _("Cost")}[report.metric]
    by = {
        Group.MODEL: _("by model"),
        Group.KEY: _("by key"),
        Group.MEMBER: _("by person"),
        Group.ORIGIN: _("by origin"),
        Group.OUTCOME: _("by outcome"),
        Group.TOKENS: _("by type"),
        Group.TEAM: _("by team"),
    }[report.group]
    each = {
        Bucket.HOUR: _("per hour"),
        Bucket.DAY: _("per day"),
        Bucket.WEEK: _("per week"),
        Bucket.MONTH: _("per month"),
    }[report.question.bucket]
    said = [_("%(measure)s %(each)s and %(by)s.") % {"measure": measure, "each": each, "by": by}]
    if report.compared and amount(report.before, report.metric):
        said.append(_dashed(report))
    if report.running is not None:
        hatched = {
            Bucket.HOUR: _("The hour hatched is not over."),
            Bucket.DAY: _("The day hatched is not over."),
            Bucket.WEEK: _("The week hatched is not over."),
            Bucket.MONTH: _("The month hatched is not over."),
        }
        said.append(hatched[report.question.bucket])
    return " ".join(said)


def _dashed(report: Report) -> str:
    if report.question.compared == Compared.WEEKDAYS:
        return _("The dashed line is the days on the same weekdays before.")
    days = report.period.length
    dashed = ngettext("The dashed line is the day before.", "The dashed line is the %(days)s days before.", days)
    return dashed % {"days": days}


def begins_within(first: date) -> str:
    return _("The days before are not all there: the first usage is of %s.") % formats.date_format(first, "DATE_FORMAT")


def breakdown_title(group: Group) -> str:
    return {
        Group.MODEL: _("Models"),
        Group.KEY: _("Keys"),
        Group.MEMBER: _("People"),
        Group.ORIGIN: _("Chat and API"),
        Group.OUTCOME: _("Outcomes"),
        Group.TOKENS: _("Types of tokens"),
        Group.TEAM: _("Teams"),
    }[group]


def group_label(group: Group) -> str:
    return {
        Group.MODEL: _("Model"),
        Group.KEY: _("Key"),
        Group.MEMBER: _("Person"),
        Group.ORIGIN: _("Origin"),
        Group.OUTCOME: _("Outcome"),
        Group.TOKENS: _("Type"),
        Group.TEAM: _("Team"),
    }[group]


def lead(report: Report, checked: Check | None = None) -> str:
    """The period, the zone, how fresh the numbers are, and whether they were seen to be the log's, in words."""
    period, read_at = report.period, report.read_at.astimezone(report.period.zone)
    said = {
        "days": days_in_words(period),
        "zone": zone_in_words(read_at, period.zone.key),
        "time": formats.time_format(read_at, "H:i:s"),
    }
    words = _("%(days)s, %(zone)s. Data up to %(time)s.") % said
    return f"{words} {_checked(checked, read_at)}" if checked else words


def _checked(checked: Check, read_at: datetime) -> str:
    at = checked.at.astimezone(read_at.tzinfo)
    time = formats.time_format(at, "H:i")
    if at.date() != read_at.date():
        time = _("%(day)s, %(time)s") % {"day": formats.date_format(at, "DATE_FORMAT"), "time": time}
    if checked.agrees:
        return _("Charts and log agree, checked %s.") % time
    return _("Charts and log did not agree when they were last checked, %s: the log counts.") % time


def days_in_words(period: Period) -> str:
    first, last = (formats.date_format(day, "DATE_FORMAT") for day in (period.first, period.last))
    return first if period.length == 1 else _("%(first)s to %(last)s") % {"first": first, "last": last}


def _amount_said(sums: Sums, metric: Metric) -> str:
    match metric:
        case Metric.TOKENS:
            if sums.tokens >= MILLION:
                return pgettext("millions", "%s tokens") % compact(sums.tokens)
            return ngettext("%s token", "%s tokens", sums.tokens) % compact(sums.tokens)
        case Metric.REQUESTS:
            return ngettext("%s request", "%s requests", sums.requests) % whole(sums.requests)
        case Metric.COST:
            return money(sums.cost)


def guessed(report: Report) -> str:
    """How much of the tokens is not an engine's own count; empty when all is."""
    total = report.total
    if not total.estimated_tokens:
        return ""
    return _("%(part)s of these tokens were counted or estimated here, because the engine gave no count.") % {
        "part": percent(total.estimated_tokens / total.tokens)
    }


def untyped(report: Report) -> str:
    """What a cost by type of tokens holds that is of none; empty where there is nothing, or where it is not so told."""
    found = next((one.total.cost for one in report.series if one.key == UNTYPED), Decimal(0))
    if not found or report.metric != Metric.COST:
        return ""
    if found < 0:
        said = _("Corrections in money took %s off, which is of no type: the bars show what the tokens cost before it.")
        return said % money(-found)
    said = _("%s of it is of no type: corrected in money, or no longer in the log when types were first told apart.")
    return said % money(found)


def scale_label(number: float, metric: Metric, *, top: bool) -> str:
    if metric == Metric.COST:
        return money(Decimal(str(number))) if top else decimal(number)
    return compact(number)


def exactly(metric: Metric) -> Callable[[float], str]:
    """How a table writes numbers, of which it has hundreds."""
    if metric == Metric.COST:
        return lambda number: money(Decimal(str(number)))
    write = writing_whole()
    return lambda number: write(int(number))
