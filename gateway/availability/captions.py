"""Words and bars for how models stand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from babel.numbers import format_percent
from django.conf import settings
from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing.moments import zone_in_words
from billing.numbers import locale, percent, seconds, whole
from gateway.availability.report import ModelStatus, Report
from gateway.availability.speed import Speed, board
from gateway.availability.standings import DAY, Standing, Stretch, standings
from gateway.models import Health, Spell

LOOKS = {Health.WORKS: "good", Health.SLOW: "warn", Health.DOWN: "bad"}
BARS = {Health.WORKS: "up", Health.SLOW: "slow", Health.DOWN: "down"}
# A state is seen by its height too: what is wrong stands out, what is not known lies flat.
HEIGHTS = {Health.WORKS: 10, Health.SLOW: 13, Health.DOWN: 16}
UNKNOWN_HEIGHT = 2
STRIP = 16  # px
GAP = 0.3  # of a bar's place


@dataclass(frozen=True, slots=True)
class Bar:
    look: str
    x: str
    y: int
    width: str
    height: int
    title: str


@dataclass(frozen=True, slots=True)
class Strip:
    bars: tuple[Bar, ...]
    said: str  # the finding, for who does not see the bars


@dataclass(frozen=True, slots=True)
class StateSaid:
    look: str
    word: str
    since: str


@dataclass(frozen=True, slots=True)
class Outage:
    model: str
    begin: str
    end: str
    length: str


def state_said(standing: Standing) -> StateSaid:
    state, since = standing.state, standing.since
    if state is None or since is None:
        return StateSaid("off", _("Not known"), "")
    return StateSaid(LOOKS[state], str(state.label), _("since %s") % moment(since))


def heading(report: Report) -> str:
    """The finding."""
    if not report.reached or report.platform.state == Health.DOWN:
        return _("The platform does not work")
    down = [one.standing.model for one in report.models if one.standing.state == Health.DOWN]
    slow = [one.standing.model for one in report.models if one.standing.state == Health.SLOW]
    if down:
        if len(down) == 1:
            return _("%s does not work") % down[0]
        return _("%(down)s of %(all)s models do not work") % {"down": len(down), "all": len(report.models)}
    if slow:
        if len(slow) == 1:
            return _("%s is slow") % slow[0]
        return _("%(slow)s of %(all)s models are slow") % {"slow": len(slow), "all": len(report.models)}
    return _("Everything works") if report.state == Health.WORKS else _("How it stands is not known")


def availability(stretch: Stretch) -> str:
    """Two decimals, rounded down: 99.999 is not 100."""
    if stretch.available is None:
        return "–"
    tenths = int(stretch.available * 10_000)
    return percent(1.0) if tenths == 10_000 else _hundredths(tenths)


def strip(stretches: Sequence[Stretch], said: str) -> Strip:
    width = 100 / len(stretches)
    bars = []
    for place, stretch in enumerate(stretches):
        height = HEIGHTS[stretch.state] if stretch.state else UNKNOWN_HEIGHT
        look = BARS[stretch.state] if stretch.state else "none"
        x, wide = f"{place * width:.3f}%", f"{width * (1 - GAP):.3f}%"
        bars.append(Bar(look, x, STRIP - height, wide, height, f"{_when(stretch)}: {_how(stretch)}"))
    return Strip(tuple(bars), said)


def strip_of_days(standing: Standing) -> Strip:
    bad = sum(day.state == Health.DOWN for day in standing.days)
    if not standing.whole.known:
        return strip(standing.days, _("Nothing is known of the last 90 days."))
    said = ngettext(
        "Last 90 days: available %(share)s of the time that is known; down on %(bad)s day.",
        "Last 90 days: available %(share)s of the time that is known; down on %(bad)s days.",
        bad,
    )
    return strip(standing.days, said % {"share": availability(standing.whole), "bad": whole(bad)})


def strip_of_half_hours(standing: Standing) -> Strip:
    down = sum(one.state == Health.DOWN for one in standing.half_hours)
    slow = sum(one.state == Health.SLOW for one in standing.half_hours)
    if not any(one.known for one in standing.half_hours):
        said = _("Nothing is known of the last 24 hours.")
    elif not down and not slow:
        said = _("Last 24 hours: no trouble.")
    else:
        said = _("Last 24 hours: down in %(down)s half hours, slow in %(slow)s.") % {"down": down, "slow": slow}
    return strip(standing.half_hours, said)


def speed_said(speed: Speed) -> tuple[str, str]:
    """Until the first token, and tokens a second."""
    first = seconds(speed.first_token) if speed.first_token is not None else ""
    rate = _("%s tok/s") % whole(round(speed.tokens_per_second)) if speed.tokens_per_second is not None else ""
    return first, rate


@dataclass(frozen=True, slots=True)
class ModelCell:
    """How a model stands, for the people who use it. `said` None: nobody has looked at it yet."""

    said: StateSaid | None
    speed: str
    strip: Strip
    farewell: str  # of a deprecated one


def model_cells(models: Mapping[str, tuple[date | None, str]], *, now: datetime) -> dict[str, ModelCell]:
    """By public id; given are the last day and the successor of each. One query, and now and then those for speeds."""
    stand, fast = standings(models, now=now), board.lately(now=now)
    return {
        name: ModelCell(
            state_said(one) if one.state else None,
            " · ".join(filter(None, speed_said(fast[name]))) if name in fast else "",
            strip_of_half_hours(one),
            retires(*models[name]),
        )
        for name, one in stand.items()
    }


def lifecycle(one: ModelStatus) -> str:
    return retires(one.retires_on, one.successor)


def retires(day: date | None, successor: str) -> str:
    """Empty of a model that is not deprecated."""
    if day is None:
        return ""
    said = {"day": formats.date_format(day, "DATE_FORMAT"), "name": successor}
    if successor:
        return _("Deprecated: offered until %(day)s; use %(name)s in its stead.") % said
    return _("Deprecated: offered until %(day)s.") % said


def outages(report: Report, *, since: datetime) -> list[Outage]:
    """Of the platform and all models, latest first."""
    spells: list[Spell] = [
        *report.platform.outages,
        *(spell for one in report.models for spell in one.standing.outages),
    ]
    recent = sorted((one for one in spells if one.ends_at >= since), key=lambda one: one.begins_at, reverse=True)
    return [
        Outage(
            spell.model or _("The platform"),
            moment(spell.begins_at),
            moment(spell.ends_at) if report.at - spell.ends_at > DAY / 288 else "",
            length((spell.ends_at - spell.begins_at).total_seconds()),
        )
        for spell in recent
    ]


def length(total: float) -> str:
    minutes = max(1, round(total / 60))
    if minutes < 120:
        return ngettext("%s minute", "%s minutes", minutes) % whole(minutes)
    hours = round(minutes / 60)
    return ngettext("%s hour", "%s hours", hours) % whole(hours)


def moment(at: datetime) -> str:
    local = at.astimezone(ZoneInfo(settings.TIME_ZONE))
    return f"{formats.date_format(local, 'SHORT_DATE_FORMAT')} {formats.time_format(local, 'H:i')}"


def zone(at: datetime) -> str:
    """Of all times that are told, but for days, which are UTC's."""
    return zone_in_words(at.astimezone(ZoneInfo(settings.TIME_ZONE)), settings.TIME_ZONE)


def _when(stretch: Stretch) -> str:
    if stretch.ends_at - stretch.begins_at >= DAY:
        return formats.date_format(stretch.begins_at, "MONTH_DAY_FORMAT")  # days of UTC
    return formats.time_format(stretch.begins_at.astimezone(ZoneInfo(settings.TIME_ZONE)), "H:i")


def _how(stretch: Stretch) -> str:
    if stretch.state is None:
        return _("not known")
    told = [availability(stretch)]
    if stretch.down:
        told.append(_("down %s") % length(stretch.down.total_seconds()))
    if stretch.slow:
        told.append(_("slow %s") % length(stretch.slow.total_seconds()))
    return ", ".join(told)


def _hundredths(share: int) -> str:
    space = "\u00a0" if locale()[:2] in {"es", "fr"} else ""
    return format_percent(share / 10_000, format=f"#,##0.##{space}%", locale=locale())
