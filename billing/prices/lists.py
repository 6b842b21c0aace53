"""Lists of prices as files, in and out: CSV or JSON, all of a file or nothing.

A line is a model, a moment and up to four prices; `docs/operations.md` has the format. A price that is there already
is left alone, so a file may be taken in again; one that has not begun is changed to what the file says; what the file
does not name stays. A line without a moment means from now on.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Any, TextIO
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import User
from billing.errors import PriceListMistakes, PriceMistake
from billing.models import Price
from billing.prices.pricing import (
    Rates,
    be_alone,
    change_price,
    check_moment,
    check_rates,
    may_change,
    model_id,
    now_whole,
    write_price,
)
from billing.usage.exports import Value, plain, text_of_cell, write_csv, write_json

FIELDS = ("model", "effective_from", "input", "cached_input", "output", "reasoning", "currency")
NEEDED = {"model", "input", "output"}
MOST_BYTES = 2 << 20
MOST_LINES = 10_000
MOST_TOLD = 50  # mistakes of one file

_NUMBER = re.compile(r"[0-9]{1,12}([.][0-9]{1,20})?")
_NUMBER_WITH_COMMA = re.compile(r"[0-9]{1,12}([.,][0-9]{1,20})?")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list. `since` None: from now on."""

    line: int
    model: str
    since: datetime | None
    rates: Rates


class Change(StrEnum):
    ADD = "add"
    CHANGE = "change"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Step:
    """What a line comes to. `before` is what holds at its moment as things are: what it replaces or goes on as."""

    entry: Entry
    change: Change
    since: datetime
    before: Price | None


def read_list(text: str) -> list[Entry]:
    """A file of either kind. Raises PriceListMistakes."""
    if len(text.encode("utf-8", "replace")) > MOST_BYTES:
        raise PriceListMistakes([(0, _("A list of prices has at most 2 MB."))])
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise PriceListMistakes([(0, _("There is nothing in this list."))])
    return _entries(_json_lines(text) if text.lstrip()[0] in "[{" else _csv_lines(text))


def planned(entries: Iterable[Entry], now: datetime) -> list[Step]:
    """What taking the list in now would do. Raises PriceListMistakes."""
    entries = list(entries)
    known: dict[str, list[Price]] = {}
    for price in Price.objects.filter(model__in={entry.model for entry in entries}).order_by("effective_from"):
        known.setdefault(price.model, []).append(price)
    steps, mistakes = [], []
    for entry in entries:
        try:
            steps.append(_step(entry, known.get(entry.model, []), now))
        except PriceMistake as mistake:
            mistakes.append((entry.line, mistake.message))
    if mistakes:
        raise PriceListMistakes(mistakes[:MOST_TOLD])
    return steps


@transaction.atomic
def import_prices(*, entries: Iterable[Entry], by: User | None) -> list[Step]:
    """Takes a list in, whole. Raises PriceListMistakes."""
    be_alone()
    steps = planned(entries, now_whole())
    for step in steps:
        entry = step.entry
        if step.change is Change.ADD:
            write_price(model=entry.model, rates=entry.rates, since=step.since, by=by)
        elif step.change is Change.CHANGE and step.before is not None:
            change_price(price=step.before, rates=entry.rates, since=step.since, by=by)
    return steps


def rows() -> Iterator[dict[str, Value]]:
    """All prices as a list says them, moments in the installation's time zone."""
    zone = ZoneInfo(settings.TIME_ZONE)
    for price in Price.objects.order_by("model", "effective_from").iterator():
        values = {"currency": settings.ENVIRONMENT.currency, **{name: getattr(price, name) for name in FIELDS[:-1]}}
        yield {name: plain(values[name], zone) for name in FIELDS}


def write_list(to: TextIO, *, form: str) -> None:
    if form == "json":
        write_json(rows(), to)
    else:
        write_csv(rows(), to, FIELDS)


def _step(entry: Entry, known: list[Price], now: datetime) -> Step:
    in_force = next((price for price in reversed(known) if price.effective_from <= now), None)
    if entry.since is None:
        same = in_force is not None and Rates.of(in_force) == entry.rates
        return Step(entry, Change.KEEP if same else Change.ADD, now, in_force)
    there = next((price for price in known if price.effective_from == entry.since), None)
    if there is None:
        check_moment(entry.since, now, has_begun=in_force is not None)
        before = next((price for price in reversed(known) if price.effective_from < entry.since), None)
        return Step(entry, Change.ADD, entry.since, before)
    if Rates.of(there) == entry.rates:
        return Step(entry, Change.KEEP, entry.since, there)
    if not may_change(there, now):
        raise PriceMistake(_("The price from this moment on has begun and is another one. Begin now or later."))
    return Step(entry, Change.CHANGE, entry.since, there)


type Line = tuple[int, Mapping[str, Any], bool]  # its number, its fields, and whether a comma may be a decimal sign


def _csv_lines(text: str) -> Iterator[Line]:
    """Separated by commas, or by semicolons as spreadsheets do where the comma is the decimal sign."""
    first = text.splitlines()[0]
    semicolons = first.count(";") > first.count(",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if semicolons else ",", strict=True)
    try:
        names = [name.strip().lower() for name in next(reader)]
        if mistake := _wrong_names(names):
            raise PriceListMistakes([(1, mistake)])
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(names):
                said = _("This line has %(here)s fields, the first one %(first)s.")
                raise PriceListMistakes([(reader.line_num, said % {"here": len(cells), "first": len(names)})])
            yield reader.line_num, dict(zip(names, map(text_of_cell, cells), strict=True)), semicolons
    except csv.Error as error:
        raise PriceListMistakes([(reader.line_num, _("This is no CSV: %s.") % error)]) from error


def _json_lines(text: str) -> Iterator[Line]:
    """A list of objects. As JSON has no lines, the number is the place in the list."""
    try:
        found = json.loads(text, parse_float=Decimal, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise PriceListMistakes([(error.lineno, _("This is no JSON: %s.") % error.msg)]) from error
    except (ValueError, RecursionError) as error:
        raise PriceListMistakes([(0, _("This is no JSON: %s.") % error)]) from error
    if not isinstance(found, list):
        raise PriceListMistakes([(0, _("A list of prices in JSON is a list of objects."))])
    for number, one in enumerate(found, start=1):
        if not isinstance(one, dict):
            raise PriceListMistakes([(number, _("A list of prices in JSON is a list of objects."))])
        if mistake := _wrong_names(list(one)):
            raise PriceListMistakes([(number, mistake)])
        yield number, {name: _json_text(value) for name, value in one.items()}, False


def _entries(lines: Iterable[Line]) -> list[Entry]:
    entries: list[Entry] = []
    mistakes: list[tuple[int, str]] = []
    seen: dict[tuple[str, datetime | None], int] = {}
    for place, (number, fields, comma) in enumerate(lines):
        if place == MOST_LINES:
            raise PriceListMistakes([(number, _("A list of prices has at most %s lines.") % MOST_LINES)])
        try:
            entry = _entry(number, fields, _NUMBER_WITH_COMMA if comma else _NUMBER)
        except PriceMistake as mistake:
            mistakes.append((number, mistake.message))
            continue
        if (first := seen.setdefault((entry.model, entry.since), number)) != number:
            mistakes.append((number, _("The same model and moment as in line %s.") % first))
        entries.append(entry)
    if mistakes:
        raise PriceListMistakes(mistakes[:MOST_TOLD])
    if not entries:
        raise PriceListMistakes([(0, _("There is nothing in this list."))])
    return entries


def _entry(line: int, fields: Mapping[str, Any], number: re.Pattern[str]) -> Entry:
    currency = fields.get("currency", "").strip().upper()
    ours: str = settings.ENVIRONMENT.currency
    if currency and currency != ours:
        raise PriceMistake(_("Prices here are in %(ours)s, not in %(theirs)s.") % {"ours": ours, "theirs": currency})
    given = {name: _number(name, fields.get(name, ""), number) for name in ("input", "output")}
    more = {
        name: _number(name, fields[name], number)
        for name in ("cached_input", "reasoning")
        if fields.get(name, "").strip()
    }
    rates = Rates(**given, **more)
    check_rates(rates)
    return Entry(line, model_id(fields.get("model", "")), _moment(fields.get("effective_from", "")), rates)


def _number(name: str, given: str, pattern: re.Pattern[str]) -> Decimal:
    text = given.strip()
    if not pattern.fullmatch(text):
        said = _("%(field)s: “%(given)s” is no number such as 1.8.")
        raise PriceMistake(said % {"field": name, "given": text[:40]}, param=name)
    return Decimal(text.replace(",", "."))


def _moment(given: str) -> datetime | None:
    """A day begins at midnight in the installation's time zone, in which moments without an offset are, too."""
    text = given.strip()
    if not text:
        return None
    zone = ZoneInfo(settings.TIME_ZONE)
    try:
        found = (
            datetime.combine(date.fromisoformat(text), time.min) if len(text) <= 10 else datetime.fromisoformat(text)
        )
        moment = found if found.tzinfo else found.replace(tzinfo=zone)
        moment = moment.astimezone(ZoneInfo("UTC"))
    except (ValueError, OverflowError) as error:
        said = _("effective_from: “%s” is no moment such as 2026-12-01 or 2026-12-01T08:30:00+01:00.") % text[:40]
        raise PriceMistake(said, param="effective_from") from error
    if moment.microsecond % 1000:
        raise PriceMistake(_("effective_from: a moment has whole milliseconds."), param="effective_from")
    return moment


def _wrong_names(names: list[str]) -> str:
    unknown = [name for name in names if name not in FIELDS]
    if unknown:
        said = _("“%(name)s” is no field of a price list. There are: %(fields)s.")
        return said % {"name": unknown[0][:40], "fields": ", ".join(FIELDS)}
    if missing := sorted(NEEDED.difference(names)):
        return _("A price list needs the field %s.") % missing[0]
    return _("A field is named twice.") if len(set(names)) != len(names) else ""


def _json_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}" if value.is_finite() and abs(value.adjusted()) < 40 else str(value)
    return "" if value is None else str(value)


def _no_number(name: str) -> Decimal:
    raise ValueError(f"{name} is not a JSON number")
