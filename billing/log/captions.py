"""Rows of the log in words: what was asked when, by whom, what came of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing import numbers
from billing.log.refused import RefusedEntry
from billing.log.rows import EXACT, Entry
from billing.models import ENDED_WELL, Origin, Outcome
from billing.usage.sections.refusal_captions import why_refused

FINE = Decimal("1e-6")
STATES = {Outcome.OK: "good"} | dict.fromkeys(set(ENDED_WELL) - {Outcome.OK}, "off")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. `link` is the request whose page tells more."""

    link: UUID
    at: datetime
    day: str
    time: str
    model: str
    key: str
    person: str
    input: str
    output: str
    input_estimated: bool
    output_estimated: bool
    first_token: str
    duration: str
    cost: str
    state: str
    outcome: str
    status: int
    notes: tuple[str, ...]
    is_adjustment: bool


@dataclass(frozen=True, slots=True)
class RefusedRow:
    link: UUID
    at: datetime
    day: str
    time: str
    model: str
    key: str
    person: str
    why: str
    code: str
    status: int
    count: str
    many: bool


def row_in_words(entry: Entry, zone: ZoneInfo) -> Row:
    at, adjusts = entry.at.astimezone(zone), entry.corrects is not None
    number: Callable[[int], str] = _signed if adjusts else numbers.whole
    return Row(
        link=entry.corrects or entry.id,
        at=at,
        day=formats.date_format(at, "SHORT_DATE_FORMAT"),
        time=formats.time_format(at, "H:i:s"),
        model=entry.model,
        key=key_name(entry.key_name, entry.origin),
        person=entry.member_name,
        input=number(entry.prompt_tokens),
        output=number(entry.completion_tokens),
        input_estimated=entry.prompt_source not in EXACT,
        output_estimated=entry.completion_source not in EXACT,
        first_token="" if entry.ttft_ms is None else span(entry.ttft_ms),
        duration="" if adjusts else span(entry.duration_ms),
        cost="" if entry.cost is None else _cost(entry.cost, signed=adjusts),
        state="off" if adjusts else STATES.get(Outcome(entry.outcome), "bad"),
        outcome=_("correction") if adjusts else outcome_name(entry.outcome),
        status=entry.status,
        notes=tuple(_notes(entry, zone)),
        is_adjustment=adjusts,
    )


def refused_in_row(entry: RefusedEntry, zone: ZoneInfo) -> RefusedRow:
    at = entry.at.astimezone(zone)
    return RefusedRow(
        link=entry.id,
        at=at,
        day=formats.date_format(at, "SHORT_DATE_FORMAT"),
        time=formats.time_format(at, "H:i:s"),
        model=entry.model,
        key=key_name(entry.key_name, entry.origin),
        person=entry.member_name,
        why=why_refused(entry.code, entry.reason),
        code=entry.code,
        status=entry.status,
        count=numbers.whole(entry.count),
        many=entry.count > 1,
    )


def _notes(entry: Entry, zone: ZoneInfo) -> Iterable[str]:
    if entry.corrects is not None and entry.reason:
        yield entry.reason
    if entry.is_late and entry.corrects is None:
        day = formats.date_format(entry.booked_at.astimezone(zone), "SHORT_DATE_FORMAT")
        yield _("came late, booked on %s") % day


def key_name(name: str, origin: str) -> str:
    """The key's, and of what has none where it came from."""
    return name or str(dict(Origin.choices).get(origin, origin))


def outcome_name(outcome: str) -> str:
    return str(dict(Outcome.choices).get(outcome, outcome))


def span(milliseconds: int) -> str:
    """A time that was measured: milliseconds below a second, else the two largest units that say something."""
    if milliseconds < 1000:
        return _("%s ms") % numbers.whole(milliseconds)
    if milliseconds < 60_000:
        return _("%s s") % formats.number_format(Decimal(milliseconds) / 1000, decimal_pos=2)
    minutes, rest = divmod(milliseconds // 1000, 60)
    if minutes >= 60:
        hours, minutes = divmod(minutes, 60)
        return _("%(hours)s h %(minutes)s min") % {"hours": numbers.whole(hours), "minutes": minutes}
    return _("%(minutes)s min %(seconds)s s") % {"minutes": numbers.whole(minutes), "seconds": rest}


def lead(entries: int | None, days: str, zone: str) -> str:
    """None: nobody has counted."""
    if entries is None:
        return _("%(days)s, %(zone)s, newest first.") % {"days": days, "zone": zone}
    count = ngettext("%s request", "%s requests", entries) % numbers.whole(entries)
    return _("%(days)s, %(zone)s: %(count)s, newest first.") % {"count": count, "days": days, "zone": zone}


def _cost(amount: Decimal, *, signed: bool) -> str:
    """With six decimals, which tell one request from another, unless nothing would be left."""
    said = numbers.exact_money(amount.quantize(FINE) or amount)
    return f"+{said}" if signed and amount > 0 else said


def _signed(number: int) -> str:
    return f"+{numbers.whole(number)}" if number > 0 else numbers.whole(number)


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter in force, and the address without it."""

    label: str
    value: str
    without: str


@dataclass(frozen=True, slots=True)
class Choices:
    """What one may filter by: values of a field of the address that are not chosen yet, by their names."""

    name: str
    label: str
    options: tuple[tuple[Any, str], ...]
