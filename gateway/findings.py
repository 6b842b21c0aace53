"""Words for what a comparison found, for operators. They say what was seen and what it may come from, never who."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC

from django.utils.formats import time_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from billing.captions import percent, whole
from gateway.comparison import ComparedDay, ComparedEngine, Coverage, State
from gateway.engines.counters import FAMILIES

HOUR = 3600


@dataclass(frozen=True, slots=True)
class Verdict:
    """A state in a word, its shape, the gap's share in words, and what else there is to say."""

    look: str  # the class of the shape
    word: str
    part: str
    notes: tuple[str, ...]


def verdict(day: ComparedDay, engine: ComparedEngine) -> Verdict:
    return Verdict(_LOOKS[day.state], _word(day), _signed(day.part), tuple(_notes(day, engine)))


_LOOKS = {
    State.EQUAL: "good",
    State.CLOSE: "good",
    State.MORE: "warn",
    State.FEWER: "warn",
    State.UNSTEADY: "warn",
    State.ANSWERS: "off",
}


def _signed(part: float) -> str:
    return ("+" if part > 0 else "\N{MINUS SIGN}" if part < 0 else "") + percent(abs(part))


def _word(day: ComparedDay) -> str:
    return {
        State.EQUAL: pgettext("reconciliation", "Equal"),
        State.CLOSE: pgettext("reconciliation", "Close"),
        State.MORE: _("More at the engine"),
        State.FEWER: _("Fewer at the engine"),
        State.UNSTEADY: _("Not comparable"),
        State.ANSWERS: _("By its answers"),
    }[day.state]


def _notes(day: ComparedDay, engine: ComparedEngine) -> Iterator[str]:
    match day.state:
        case State.MORE:
            yield from _why_more(day, engine)
        case State.FEWER:
            yield from _why_fewer(day)
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
            "It answered %s request more than came through the gateway: somebody calls it directly.",
            "It answered %s requests more than came through the gateway: somebody calls it directly.",
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
    if day.earlier_requests:
        begin = time_format(read.begins_at.astimezone(UTC), "TIME_FORMAT")
        said = ngettext(
            "First read at %(time)s UTC; %(tokens)s tokens of %(requests)s call before that are left out.",
            "First read at %(time)s UTC; %(tokens)s tokens of %(requests)s calls before that are left out.",
            day.earlier_requests,
        )
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
    share = percent(abs(engine.gap) / max(engine.counted, engine.gateway))
    words = {"tokens": whole(abs(engine.gap)), "part": share}
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


def heading(engines: list[ComparedEngine]) -> str:
    """What stands above all of them."""
    compared = [engine for engine in engines if engine.compared]
    if not compared:
        return _("No counters to compare with yet")
    gateway, counted = sum(one.gateway for one in compared), sum(one.counted for one in compared)
    if gateway == counted:
        return _("Engines and accounts agree to the token")
    share = percent(abs(counted - gateway) / max(counted, gateway))
    return _("Engines and accounts are %(part)s apart") % {"part": share}
