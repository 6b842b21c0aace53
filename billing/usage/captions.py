"""Words for the numbers of a report, made from the numbers shown. They never claim a cause."""

from datetime import date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from babel.dates import get_timezone_location
from babel.numbers import format_compact_decimal, format_currency, format_decimal, format_percent
from django.conf import settings
from django.utils import formats
from django.utils.translation import get_language, ngettext, pgettext, to_locale
from django.utils.translation import gettext as _

from billing.ledger.checks import Check
from billing.models import ENDED_WELL
from billing.usage.periods import Period
from billing.usage.questions import Bucket, Compared, Group, Metric
from billing.usage.reports import Report, Series, amount
from billing.usage.sums import Sums

NOTABLE = 0.4  # a series with this share of the whole is named in the heading
MILLION = 1_000_000  # from here on, Spanish and French say "of tokens"
LEAST_CHANGE = 0.005  # a smaller part is no change
CHANGE_TO_TRACE = 0.05  # from here on the heading says in whose numbers most of it is
LEAST = 0.001  # the smallest share that is told
WHOLE_PERCENT, TENTH_OF_PERCENT = Decimal("0.01"), Decimal("0.001")
SMALL = Decimal("0.01")  # money below this gets more decimals


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
        return _("%(said)s; %(name)s has %(part)s") % {"said": said, "name": most.label, "part": percent(most_part)}
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


def zone_in_words(at: datetime, zone: str) -> str:
    """By its city, as people call it, with what the clocks differ by on the day."""
    if zone == "UTC":
        return zone
    offset = at.strftime("%z")
    hours, minutes = offset[:3], offset[3:]
    said = f"{hours[0]}{int(hours[1:])}" if minutes == "00" else f"{hours}:{minutes}"
    return _("%(zone)s time (UTC%(offset)s)") % {"zone": city(zone), "offset": said}


def city(zone: str) -> str:
    return get_timezone_location(zone, locale=locale(), return_city=True)


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


def seconds(milliseconds: float) -> str:
    """No more figures than an interpolated one has; the unit stays on the number's line."""
    if milliseconds < 1000:
        said = _("%s ms") % format_decimal(_two_figures(milliseconds), format="#,##0", locale=locale())
    elif milliseconds < 120_000:
        said = _("%s s") % format_decimal(_two_figures(milliseconds / 1000), format="#,##0.#", locale=locale())
    else:
        said = _("%s min") % format_decimal(_two_figures(milliseconds / 60_000), format="#,##0.#", locale=locale())
    return said.replace(" ", "\u00a0")


def _two_figures(number: float) -> float:
    return float(f"{number:.2g}")


def scale_label(number: float, metric: Metric, *, top: bool) -> str:
    if metric == Metric.COST:
        return money(Decimal(str(number))) if top else decimal(number)
    return compact(number)


def exact(number: float, metric: Metric) -> str:
    """For a table."""
    return money(Decimal(str(number))) if metric == Metric.COST else whole(int(number))


def locale() -> str:
    return to_locale(get_language() or settings.LANGUAGE_CODE)


def compact(number: float) -> str:
    return format_compact_decimal(number, locale=locale(), fraction_digits=1)


def compact_parts(number: float) -> tuple[str, str]:
    """The number and its unit (M, k, mil …), which a figure sets smaller."""
    said = compact(number)
    value = said.rstrip("".join(letter for letter in set(said) if not letter.isdigit()))
    return value, said[len(value) :].strip()


def whole(number: int) -> str:
    """As Django's `number_format` has it, a tenth of its time: tables are full of them."""
    return f"{number:,}".replace(",", _grouping_sign(get_language() or settings.LANGUAGE_CODE))


@cache
def _grouping_sign(language: str) -> str:
    return str(formats.get_format("THOUSAND_SEPARATOR", lang=language))


def decimal(number: float) -> str:
    return format_decimal(number, format="#,##0.###", locale=locale())


def percent(part: float) -> str:
    """A tenth of a percent at the finest; what is less and not nothing is said to be less."""
    if 0 < part < LEAST / 2:
        return f"< {percent(LEAST)}"
    whole_ones = part >= 0.1 or part == 0
    return _percent(Decimal(part).quantize(WHOLE_PERCENT if whole_ones else TENTH_OF_PERCENT), whole_ones, locale())


@lru_cache(maxsize=4096)
def _percent(part: Decimal, whole_ones: bool, locale_: str) -> str:
    return format_percent(part, format=None if whole_ones else _one_decimal(), locale=locale_)


def _one_decimal() -> str:
    space = "\u00a0" if locale()[:2] in {"es", "fr"} else ""
    return f"#,##0.#{space}%"


def money(sum_: Decimal) -> str:
    """In the installation's currency; small sums keep the decimals that say something."""
    digits = 2 if not sum_ or abs(sum_) >= SMALL else 6
    pattern = None if digits == 2 else f"¤#,##0.{'0' * digits}" if locale()[:2] == "en" else f"#,##0.{'0' * digits} ¤"
    return format_currency(
        sum_, settings.ENVIRONMENT.currency, format=pattern, locale=locale(), currency_digits=digits == 2
    )


def exact_money(amount: Decimal) -> str:
    """Every decimal of a cost, and two at least."""
    pattern = "¤#,##0.00##########" if locale()[:2] == "en" else "#,##0.00##########\u00a0¤"
    return format_currency(
        amount,
        settings.ENVIRONMENT.currency,
        format=pattern,
        locale=locale(),
        currency_digits=False,
        decimal_quantization=False,
    )


def moment_in_words(at: datetime, zone: str = "") -> str:
    """A day and its time in the zone, or in the installation's; seconds and milliseconds only where there are any."""
    local = at.astimezone(ZoneInfo(zone or settings.TIME_ZONE))
    time = formats.time_format(local, "H:i:s" if local.second or local.microsecond else "H:i")
    if local.microsecond:
        time += f".{local.microsecond // 1000:03}"
    return _("%(day)s, %(time)s") % {"day": formats.date_format(local, "DATE_FORMAT"), "time": time}
