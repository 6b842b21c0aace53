"""Words for what a comparison found, for operators. They say what was seen and what it may come from, never who."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.utils.formats import time_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from billing.numbers import compact_parts, percent, whole
from gateway.engines.counters import FAMILIES
from gateway.reconciliation.comparison import NOTABLE_PART, NOTABLE_TOKENS, ComparedDay, ComparedEngine, Coverage, State

HOUR = 3600
STEP = 4  # from one bar of a strip to the next


@dataclass(frozen=True, slots=True)
class Verdict:
    """A state in a word, its shape, the gap's share in words, and what else there is to say."""

    look: str  # the class of the shape
    word: str
    gap: str
    part: str
    notes: tuple[str, ...]


def verdict(day: ComparedDay, engine: ComparedEngine) -> Verdict:
    return Verdict(
        _LOOKS[day.state],
        _word(day),
        signed(day.gap),
        _sign(day.gap) + percent(abs(day.part)),
        tuple(_notes(day, engine)),
    )


@dataclass(frozen=True, slots=True)
class Figure:
    label: str
    value: str
    unit: str
    note: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A day in the strip of an engine: its height says what its shade says."""

    x: int
    y: int
    height: int
    look: str


_LOOKS = {
    State.EQUAL: "good",
    State.CLOSE: "good",
    State.MORE: "warn",
    State.FEWER: "warn",
    State.UNSTEADY: "warn",
    State.SO_FAR: "off",
    State.PARTLY: "off",
    State.UNREAD: "off",
    State.ANSWERS: "off",
}


def signed(number: int) -> str:
    return _sign(number) + whole(abs(number))


def _sign(number: int) -> str:
    return "+" if number > 0 else "\N{MINUS SIGN}" if number < 0 else ""


def _word(day: ComparedDay) -> str:
    return {
        State.EQUAL: pgettext("reconciliation", "Equal"),
        State.CLOSE: pgettext("reconciliation", "Close"),
        State.MORE: _("More at the engine"),
        State.FEWER: _("Fewer at the engine"),
        State.UNSTEADY: _("Not comparable"),
        State.SO_FAR: _("Apart so far"),
        State.PARTLY: _("Partly read"),
        State.UNREAD: _("Not read"),
        State.ANSWERS: _("By its answers"),
    }[day.state]


def _notes(day: ComparedDay, engine: ComparedEngine) -> Iterator[str]:
    match day.state:
        case State.MORE:
            yield from _why_more(day, engine)
        case State.FEWER:
            yield from _why_fewer(day)
        case State.SO_FAR:
            yield _("The day is not over: what runs at the moment is on one side only.")
        case State.UNSTEADY:
            yield _("Its counters jump: several processes seem to answer at this address by turns.")
    if day.coverage is not None:
        yield from _what_was_read(day, day.coverage)
    elif day.guessed:
        said = ngettext(
            "%s token was counted here, because no count came.",
            "%s tokens were counted here, because no count came.",
            day.guessed,
        )
        yield said % whole(day.guessed)


def _why_more(day: ComparedDay, engine: ComparedEngine) -> Iterator[str]:
    if engine.neighbours:
        names = ", ".join(engine.neighbours)
        yield _("%(names)s has the same address: its counters have those calls too.") % {"names": names}
    more = (day.counted.requests or 0) - (day.gateway.requests or 0)
    if day.counted.requests is not None and more > 0:
        said = ngettext(
            "It answered %s request more than came through the gateway: it seems to be called directly.",
            "It answered %s requests more than came through the gateway: it seems to be called directly.",
            more,
        )
        yield said % whole(more)
    elif day.guessed:
        said = ngettext(
            "%s token of the accounts is of answers that were cut: what never arrived is not in them.",
            "%s tokens of the accounts are of answers that were cut: what never arrived is not in them.",
            day.guessed,
        )
        yield said % whole(day.guessed)
    else:
        yield _("Somebody calls it directly, or answers were made that never arrived.")


def _why_fewer(day: ComparedDay) -> Iterator[str]:
    if day.coverage is not None and day.coverage.restarts:
        yield _("It started anew, and what it counted before its end is lost.")
    elif day.guessed:
        said = ngettext(
            "%s token was counted or estimated here, because no count came.",
            "%s tokens were counted or estimated here, because no count came.",
            day.guessed,
        )
        yield said % whole(day.guessed)
    else:
        yield _("It does not count everything that it reports with its answers.")


def _what_was_read(day: ComparedDay, read: Coverage) -> Iterator[str]:
    if day.unread_from is not None:
        yield _("Its counters were read until %(time)s UTC.") % {"time": _clock(day.unread_from)}
    if day.earlier_requests:
        said = ngettext(
            "First read at %(time)s UTC; %(tokens)s tokens of %(requests)s call before that are left out.",
            "First read at %(time)s UTC; %(tokens)s tokens of %(requests)s calls before that are left out.",
            day.earlier_requests,
        )
        begin = _clock(read.begins_at)
        yield said % {"time": begin, "tokens": whole(day.earlier_tokens), "requests": whole(day.earlier_requests)}
    if read.restarts:
        said = ngettext(
            "%(number)s restart; at most %(span)s before it not read.",
            "%(number)s restarts; at most %(span)s before them not read.",
            read.restarts,
        )
        yield said % {"number": whole(read.restarts), "span": span(read.lost_seconds)}
    elif read.lost_seconds:
        yield _("At most %(span)s not read.") % {"span": span(read.lost_seconds)}
    if read.spread_seconds:
        yield _("Not read over midnight for %(span)s: its tokens are shared out by time.") % {
            "span": span(read.spread_seconds)
        }
    if day.cached_left_out:
        yield _("Without %(tokens)s prompt tokens from its cache, which it does not count.") % {
            "tokens": whole(day.cached_left_out)
        }
    if day.gap and read.grain > 1:
        yield _("It rounds its counters to %(tokens)s tokens.") % {"tokens": whole(read.grain)}


def _clock(moment: datetime) -> str:
    return time_format(moment.astimezone(UTC), "TIME_FORMAT")


def span(seconds: int) -> str:
    """A time that is long enough to be told roughly."""
    if seconds < 120:
        return ngettext("%d s", "%d s", seconds) % seconds
    if seconds < 2 * HOUR:
        return _("%d min") % round(seconds / 60)
    return _("%d h") % round(seconds / HOUR)


def summary(engine: ComparedEngine) -> str:
    """What the days come to, in a sentence."""
    if not engine.compared:
        return _no_counters(engine)
    if not engine.gap:
        return _("The engine counted exactly what the accounts have.")
    words = {"tokens": whole(abs(engine.gap)), "part": percent(engine.part)}
    if engine.gap > 0:
        said = ngettext(
            "The engine counted %(tokens)s token more than the accounts have (%(part)s).",
            "The engine counted %(tokens)s tokens more than the accounts have (%(part)s).",
            engine.gap,
        )
        return said % words
    said = ngettext(
        "The engine counted %(tokens)s token fewer than the accounts have (%(part)s).",
        "The engine counted %(tokens)s tokens fewer than the accounts have (%(part)s).",
        -engine.gap,
    )
    return said % words


def _no_counters(engine: ComparedEngine) -> str:
    if engine.engine is not None and engine.engine.type not in FAMILIES:
        kind = engine.engine.get_type_display()
        return _(
            "%(kind)s has no counters of its own: its count comes with each answer. Direct calls are not seen."
        ) % {"kind": kind}
    if engine.reading is not None and engine.reading.problem:
        return _(engine.reading.problem)
    return _("Nothing to compare yet.")


def figures(engines: list[ComparedEngine]) -> list[Figure]:
    """Both sides, the gap and the marked days, over all days that can be compared."""
    gateway, counted = sum(one.gateway for one in engines), sum(one.counted for one in engines)
    days = sum(len(one.compared) for one in engines)
    marked = sum(len(one.notable) for one in engines)
    larger = max(gateway, counted)
    share = percent(abs(counted - gateway) / larger) if larger else ""
    asked = ngettext("on %s day that can be compared", "on %s days that can be compared", days) % whole(days)
    return [
        Figure(_("In the accounts"), *compact_parts(gateway), asked),
        Figure(_("By the engines' counters"), *compact_parts(counted), asked),
        Figure(_("Gap"), signed(counted - gateway), "", share),
        Figure(_("Marked days"), whole(marked), "", threshold()),
    ]


def threshold() -> str:
    words = {"tokens": whole(NOTABLE_TOKENS), "part": percent(NOTABLE_PART)}
    return _("with a gap above %(tokens)s tokens and %(part)s") % words


def strip(engine: ComparedEngine, *, last: date, days: int) -> list[Bar]:
    """A bar a day, the oldest first: low for days that were not compared, high for those that are marked."""
    found = {day.day: day for day in engine.days}
    return [_bar(place, found.get(last - timedelta(days=days - 1 - place))) for place in range(days)]


def _bar(place: int, day: ComparedDay | None) -> Bar:
    look = _LOOKS[day.state] if day else "off"
    height = {"good": 9, "warn": 16, "off": 2}[look]
    return Bar(place * STEP, 16 - height, height, {"good": "up", "warn": "slow", "off": "none"}[look])
