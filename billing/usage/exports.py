"""Tables as files. The log, which is too long for one, has `log_files`."""

import csv
import json
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import TextIO
from uuid import UUID
from zoneinfo import ZoneInfo

type Value = str | int | bool | None


class Number(str):
    """A decimal number in full, as text: never read as a formula, not even with a minus before it."""

    __slots__ = ()


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


def write_csv(rows: Iterable[dict[str, Value]], to: TextIO, fields: Iterable[str]) -> None:
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
