"""The log as files: one object or line a request, streamed in bounded memory."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from heapq import merge
from typing import Any, TextIO
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import F

from accounts.models import Team
from billing.models import Source, UsageRecord

FIELDS = (
    "request_id", "at", "key", "member", "model", "engine", "origin", "stream", "prompt_tokens", "completion_tokens",
    "reasoning_tokens", "cached_tokens", "prompt_source", "completion_source", "outcome", "status", "ttft_ms",
    "duration_ms", "cost", "estimated", "booked_at", "corrects", "reason", "adjusted_by",
)  # fmt: skip
COLUMNS = tuple(
    {"request_id": "id", "key": "key_name", "member": "member_name"}.get(name, name)
    for name in FIELDS
    if name != "estimated"
)
NAMES = tuple(name for name in FIELDS if name != "estimated")
EXACT = {Source.UPSTREAM, Source.UPSTREAM_PARTIAL, Source.NONE}
CHUNK = 2000  # rows held in memory

type Value = str | int | bool | None


class Number(str):
    """A decimal number in full, as text: never read as a formula, not even with a minus before it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Days:
    """Whole days, both ends included."""

    first: date
    last: date

    def moments(self, zone: ZoneInfo) -> tuple[datetime, datetime]:
        """From the first day's midnight to the one after the last day, as the zone has them."""
        return (
            datetime.combine(self.first, time.min, zone),
            datetime.combine(self.last + timedelta(days=1), time.min, zone),
        )


def records(team: Team, days: Days) -> Iterator[dict[str, Value]]:
    """The team's requests of these days in its own time zone, oldest first, as plain values under `FIELDS`.

    Like all reports, they go by when a request was booked, which for late ones is after it was made. Adjustments are
    rows of their own, in the days where they are booked: those of what they correct. `estimated` marks rows whose
    tokens are not all an engine's own count.
    """
    zone = ZoneInfo(team.time_zone)
    begin, end = days.moments(zone)
    rows = UsageRecord.objects.filter(team=team).order_by("at", "id")
    # Apart, each is read in the order of an index, and only from the months that can hold it.
    in_time = rows.filter(booked_at=F("at"), at__gte=begin, at__lt=end)
    late = rows.filter(booked_at__gt=F("at"), booked_at__gte=begin, booked_at__lt=end)
    adjustments = rows.filter(corrects__isnull=False, booked_at__gte=begin, booked_at__lt=end)
    found = (which.values_list(*COLUMNS).iterator(chunk_size=CHUNK) for which in (in_time, late, adjustments))
    for row in merge(*found, key=_oldest_first):
        named = dict(zip(NAMES, row, strict=True))
        named["estimated"] = not {named["prompt_source"], named["completion_source"]} <= EXACT
        yield {field: plain(named[field], zone) for field in FIELDS}


def _oldest_first(row: tuple[Any, ...]) -> tuple[datetime, UUID]:
    return row[1], row[0]


def plain(value: object, zone: ZoneInfo) -> Value:
    match value:
        case datetime():
            return value.astimezone(zone).isoformat(timespec="milliseconds")
        case Decimal():
            return Number(f"{value.normalize():f}")
        case UUID():
            return str(value)
        case str() | int() | None:
            return value
    raise TypeError(f"no plain form for {value!r}")


def write_json(rows: Iterable[dict[str, Value]], to: TextIO) -> None:
    to.write("[")
    for number, row in enumerate(rows):
        to.write(",\n" if number else "\n")
        to.write(json.dumps(row, ensure_ascii=False))
    to.write("\n]\n")


def write_csv(rows: Iterable[dict[str, Value]], to: TextIO, fields: Iterable[str] = FIELDS) -> None:
    writer = csv.writer(to, lineterminator="\n")
    names = list(fields)
    writer.writerow(names)
    writer.writerows([cell(row[name]) for name in names] for row in rows)


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\0")


def cell(value: Value) -> Value:
    """A spreadsheet reads a text with one of these first characters as a formula; the apostrophe says text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(FORMULA) and not isinstance(value, Number):
        return f"'{value}"
    return value


def text_of_cell(cell: str) -> str:
    """The text that `cell` was made of."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell
