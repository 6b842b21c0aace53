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
from billing.models import UsageRecord

FIELDS = (
    "request_id", "at", "key", "member", "model", "engine", "origin", "stream", "prompt_tokens", "completion_tokens",
    "reasoning_tokens", "cached_tokens", "prompt_source", "completion_source", "outcome", "status", "ttft_ms",
    "duration_ms", "cost",
)  # fmt: skip
COLUMNS = ("id", "at", "key_name", "member_name", *FIELDS[4:])
CHUNK = 2000  # rows held in memory

type Value = str | int | bool | None


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

    Like all reports, they go by when a request was booked, which for late ones is after it was made.
    """
    zone = ZoneInfo(team.time_zone)
    begin, end = days.moments(zone)
    rows = UsageRecord.objects.filter(team=team).order_by("at", "id")
    # Apart, each is read in the order of an index, and only from the months that can hold it.
    in_time = rows.filter(booked_at=F("at"), at__gte=begin, at__lt=end)
    late = rows.filter(booked_at__gt=F("at"), booked_at__gte=begin, booked_at__lt=end)
    found = (which.values_list(*COLUMNS).iterator(chunk_size=CHUNK) for which in (in_time, late))
    for row in merge(*found, key=_oldest_first):
        yield {field: plain(value, zone) for field, value in zip(FIELDS, row, strict=True)}


def _oldest_first(row: tuple[Any, ...]) -> tuple[datetime, UUID]:
    return row[1], row[0]


def plain(value: object, zone: ZoneInfo) -> Value:
    match value:
        case datetime():
            return value.astimezone(zone).isoformat(timespec="milliseconds")
        case Decimal():
            return f"{value.normalize():f}"
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


def cell(value: Value) -> Value:
    """A spreadsheet reads a text with one of these first characters as a formula; the apostrophe says text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\0")):
        return f"'{value}"
    return value
