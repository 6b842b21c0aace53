"""The heat map of a week in words: its peak, as hours of the clock, and how much fell on weekends."""

from dataclasses import dataclass

from babel.dates import get_day_names
from babel.numbers import format_decimal
from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing.moments import zone_in_words
from billing.numbers import locale, percent, whole
from billing.usage.data_tables import DataRow, DataTable, said, written
from billing.usage.plots.heat import Heat, heat
from billing.usage.questions import Question
from billing.usage.sections.hours import HOURS, WEEKDAYS, Week

NOTABLE_WEEKEND = (0.02, 0.2)  # shares between which weekends are told: a seventh for each day would be nothing new


@dataclass(frozen=True, slots=True)
class ShownWeek:
    heading: str
    description: str
    plot: Heat
    bounds: tuple[str, ...]  # in words, from nothing to the fifth level
    table: DataTable


def shown(found: Week, question: Question) -> ShownWeek:
    order = weekday_order()
    short = get_day_names("abbreviated", locale=locale())
    plot = heat([found.counts[day] for day in order], [short[day] for day in order], _titles(found, order))
    return ShownWeek(
        heading=heading(found),
        description=_("Requests by weekday and hour, %(zone)s.")
        % {"zone": zone_in_words(question.period.end.astimezone(question.period.zone), question.period.zone.key)},
        plot=plot,
        bounds=_bounds(plot),
        table=_table(found, order),
    )


def heading(found: Week) -> str:
    peak, share = found.peak, found.weekend_share
    if peak is None:
        return _("Requests in the week")
    told = _("The peak is from %(begin)s to %(end)s") % {"begin": _clock(peak[0]), "end": _clock(peak[1])}
    least, most = NOTABLE_WEEKEND
    if least <= share <= most:
        words = {"told": told, "share": percent(share)}
        return _("%(told)s; %(share)s came on Saturdays and Sundays") % words
    return told


def weekday_order() -> list[int]:
    """Monday is 0. The first of the week is the locale's."""
    first = (formats.get_format("FIRST_DAY_OF_WEEK") - 1) % WEEKDAYS  # Django's 0 is Sunday
    return [(first + day) % WEEKDAYS for day in range(WEEKDAYS)]


def _clock(hour: int) -> str:
    return format_decimal(hour, locale=locale())


def _titles(found: Week, order: list[int]) -> list[list[str]]:
    """What each cell says to whoever points at it."""
    names, pattern = get_day_names("wide", locale=locale()), _("%(day)s, %(begin)s to %(end)s: %(requests)s")
    requests = written((count for row in found.counts for count in row), _requests)
    return [
        [
            pattern % {"day": names[day], "begin": hour, "end": hour + 1, "requests": requests[found.counts[day][hour]]}
            for hour in range(HOURS)
        ]
        for day in order
    ]


def _hour(found: Week, hour: int, order: list[int]) -> str:
    """Its requests, and the weekday of most of them."""
    whole_ = found.by_hour[hour]
    busiest = max(order, key=lambda day: found.counts[day][hour])
    if not whole_:
        return _requests(0)
    day, most = get_day_names("wide", locale=locale())[busiest], whole(found.counts[busiest][hour])
    return _("%(requests)s, most on %(day)s: %(most)s") % {"requests": _requests(whole_), "day": day, "most": most}


def _requests(count: int) -> str:
    return ngettext("%s request", "%s requests", count) % whole(count)


def _bounds(plot: Heat) -> tuple[str, ...]:
    """Of each level, from nothing on, the counts that it stands for."""
    told, before = ["0"], 0
    for bound in plot.bounds:
        told.append(
            "" if bound == before else whole(bound) if bound == before + 1 else f"{whole(before + 1)}–{whole(bound)}"
        )
        before = bound
    return tuple(told)


def _table(found: Week, order: list[int]) -> DataTable:
    """A row for each hour, which is a column of the chart."""
    short = get_day_names("abbreviated", locale=locale())
    words = written((count for row in found.counts for count in row), whole)
    rows = []
    for hour in range(HOURS):
        cells = [words[found.counts[day][hour]] for day in order]
        title = _("%(hour)s h") % {"hour": f"{hour:02}"}
        rows.append(DataRow(title, tuple(cells), said(title, _hour(found, hour, order))))
    return DataTable((_("Hour"), *(short[day] for day in order)), tuple(rows))
