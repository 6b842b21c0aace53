"""Words for the numbers of a report, made from the numbers shown. They never claim a cause."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from babel.numbers import format_compact_decimal, format_currency, format_decimal, format_percent
from django.conf import settings
from django.utils import formats
from django.utils.translation import get_language, ngettext, pgettext, to_locale
from django.utils.translation import gettext as _

from billing.usage.charts import Column
from billing.usage.periods import Period
from billing.usage.questions import Group, Metric
from billing.usage.reports import Report, Sums

NOTABLE = 0.4  # a series with this share of the whole is named in the heading
MILLION = 1_000_000  # from here on, Spanish and French say "of tokens"
LEAST = 0.001  # the smallest share that is told
SMALL = Decimal("0.01")  # money below this gets more decimals


@dataclass(frozen=True, slots=True)
class Delta:
    """A change in words: the arrow and the amount, then what it is compared with."""

    amount: str
    words: str


@dataclass(frozen=True, slots=True)
class Figure:
    label: str
    value: str
    unit: str
    delta: Delta
    note: str = ""


def amount(sums: Sums, metric: Metric) -> int | Decimal:
    match metric:
        case Metric.TOKENS:
            return sums.tokens
        case Metric.REQUESTS:
            return sums.requests
        case Metric.COST:
            return sums.cost


def figures(report: Report) -> list[Figure]:
    """Tokens, requests, cost and errors."""
    total, before, days = report.total, report.before, report.period.length
    tokens = _("in %(read)s, out %(written)s") % {
        "read": compact(total.prompt_tokens),
        "written": compact(total.completion_tokens),
    }
    value, unit = compact_parts(total.tokens)
    return [
        Figure(_("Tokens"), value, unit, change(total.tokens, before.tokens, days), tokens),
        Figure(_("Requests"), whole(total.requests), "", change(total.requests, before.requests, days)),
        _cost_figure(total, before, days),
        _error_figure(total, before),
    ]


def _cost_figure(total: Sums, before: Sums, days: int) -> Figure:
    if not total.priced_requests:
        return Figure(_("Cost"), "–", "", Delta("", _("No price was in force for these models")))
    unpriced = total.requests - total.priced_requests
    note = ngettext("%s request without a price", "%s requests without a price", unpriced) % whole(unpriced)
    return Figure(_("Cost"), money(total.cost), "", change(total.cost, before.cost, days), note if unpriced else "")


def _error_figure(total: Sums, before: Sums) -> Figure:
    count = ngettext("%s request failed", "%s requests failed", total.errors) % whole(total.errors)
    points = (total.error_share - before.error_share) * 100
    if not before.requests or abs(points) < 0.05:
        delta = Delta("", count)
    else:
        arrow = "↑" if points > 0 else "↓"
        number = format_decimal(abs(points), format="#,##0.0", locale=locale())
        delta = Delta(_("%(arrow)s %(number)s points") % {"arrow": arrow, "number": number}, f"· {count}")
    return Figure(_("Errors"), percent(total.error_share), "", delta)


def change(now: int | Decimal, before: int | Decimal, days: int) -> Delta:
    """Against the same number of days before."""
    if not before:
        return Delta("", _("Nothing in the period before") if now else "")
    part = float(now / before) - 1
    if abs(part) < 0.005:
        return Delta("", ngettext("as on the day before", "as in the %(days)s days before", days) % {"days": days})
    words = (
        ngettext("more than the day before", "more than in the %(days)s days before", days)
        if part > 0
        else ngettext("less than the day before", "less than in the %(days)s days before", days)
    )
    return Delta(f"{'↑' if part > 0 else '↓'} {percent(abs(part))}", words % {"days": days})


def heading(report: Report, metric: Metric) -> str:
    """The finding as a sentence; a plain one when nothing stands out."""
    now, before = amount(report.total, metric), amount(report.before, metric)
    if not now:
        return _("Nothing was used")
    said = _amount_said(report.total, metric)
    part = float(now / before) - 1 if before else 0.0
    if part >= 0.005:
        said = _("%(amount)s, %(part)s more") % {"amount": said, "part": percent(part)}
    elif part <= -0.005:
        said = _("%(amount)s, %(part)s less") % {"amount": said, "part": percent(-part)}
    most = max(report.series, key=lambda one: amount(one.total, metric))
    most_part = float(amount(most.total, metric) / now)
    if len(report.series) > 1 and most_part >= NOTABLE:
        return _("%(said)s; %(name)s has %(part)s") % {"said": said, "name": most.label, "part": percent(most_part)}
    return said


def description(report: Report, metric: Metric) -> str:
    """What the chart shows, plainly."""
    measure = {
        Metric.TOKENS: _("Tokens"),
        Metric.REQUESTS: _("Requests"),
        Metric.COST: _("Cost"),
    }[metric]
    by = {
        Group.MODEL: _("by model"),
        Group.KEY: _("by key"),
        Group.MEMBER: _("by person"),
        Group.ORIGIN: _("by origin"),
    }[report.group]
    each = _("per hour") if report.period.by_hour else _("per day")
    said = _("%(measure)s %(each)s and %(by)s.") % {"measure": measure, "each": each, "by": by}
    if report.running is None:
        return said
    hatched = _("The hour hatched is not over.") if report.period.by_hour else _("The day hatched is not over.")
    return f"{said} {hatched}"


def breakdown_title(group: Group) -> str:
    return {
        Group.MODEL: _("Models"),
        Group.KEY: _("Keys"),
        Group.MEMBER: _("People"),
        Group.ORIGIN: _("Chat and API"),
    }[group]


def lead(report: Report) -> str:
    """The period, the zone and how fresh the numbers are, in words."""
    period, read_at = report.period, report.read_at.astimezone(report.period.zone)
    said = {
        "days": days_in_words(period),
        "zone": zone_in_words(read_at, period.zone.key),
        "time": formats.time_format(read_at, "H:i:s"),
    }
    return _("%(days)s, %(zone)s. Data up to %(time)s.") % said


def zone_in_words(at: datetime, zone: str) -> str:
    if zone == "UTC":
        return zone
    offset = at.strftime("%z")
    return _("time of %(zone)s (UTC%(offset)s)") % {
        "zone": zone.replace("_", " "),
        "offset": f"{offset[:3]}:{offset[3:]}",
    }


def days_in_words(period: Period) -> str:
    first, last = (formats.date_format(day, "DATE_FORMAT") for day in (period.first, period.last))
    return first if period.length == 1 else _("%(first)s to %(last)s") % {"first": first, "last": last}


def columns(report: Report) -> list[Column]:
    """Names of the buckets; the axis names Mondays, hours of six and today."""
    period, running = report.period, report.running
    return [
        Column(
            _axis_label(moment, place, running, period),
            bucket_name(moment, period),
            minor=place != running and place % 2 == 1,
        )
        for place, moment in enumerate(report.moments)
    ]


def bucket_name(moment: date | datetime, period: Period) -> str:
    if isinstance(moment, datetime):
        hour = formats.time_format(moment, "H:i")
        if period.length == 1 and moment.fold == 0:
            return hour
        return f"{formats.date_format(moment, 'SHORT_DATE_FORMAT')} {hour} (UTC{moment:%z})"
    return formats.date_format(moment, "SHORT_DATE_FORMAT")


def _axis_label(moment: date | datetime, place: int, running: int | None, period: Period) -> str:
    if isinstance(moment, datetime):
        return formats.time_format(moment, "H:i") if moment.hour % 6 == 0 and not moment.fold else ""
    if place == running:
        return _("today")
    near_today = running is not None and abs(place - running) < max(2, period.length // 12)
    if period.length <= 14:
        return "" if near_today and period.length > 7 else formats.date_format(moment, "MONTH_DAY_FORMAT")
    if period.length <= 100:
        return formats.date_format(moment, "MONTH_DAY_FORMAT") if moment.weekday() == 0 and not near_today else ""
    return formats.date_format(moment, "YEAR_MONTH_FORMAT") if moment.day == 1 and not near_today else ""


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
    return formats.number_format(number)


def decimal(number: float) -> str:
    return format_decimal(number, format="#,##0.###", locale=locale())


def percent(part: float) -> str:
    """A tenth of a percent at the finest; what is less and not nothing is said to be less."""
    if 0 < part < LEAST / 2:
        return f"< {percent(LEAST)}"
    return format_percent(part, format=None if part >= 0.1 or part == 0 else _one_decimal(), locale=locale())


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


def moment_in_words(at: datetime) -> str:
    """A day and its time in the installation's time zone; seconds and milliseconds only where there are any."""
    local = at.astimezone(ZoneInfo(settings.TIME_ZONE))
    time = formats.time_format(local, "H:i:s" if local.second or local.microsecond else "H:i")
    if local.microsecond:
        time += f".{local.microsecond // 1000:03}"
    return _("%(day)s, %(time)s") % {"day": formats.date_format(local, "DATE_FORMAT"), "time": time}
