"""The usage page as a workbook of three sheets. Needs xlsxwriter, the extra `xlsx`."""

from collections.abc import Iterable
from io import BytesIO
from typing import Any

import xlsxwriter

from billing.usage.exports import Number, Value
from billing.usage.reports import Report
from billing.usage.rows import Row, asked, by_bucket, by_series, columns, columns_in_all, in_all

WIDTH = 16  # characters of a column
HELD = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}


def write(report: Report) -> bytes:
    """Rows are written as they come and held on the disk. Texts are texts: none is read as a formula."""
    out = BytesIO()
    with xlsxwriter.Workbook(out, HELD) as book:
        bold = book.add_format({"bold": True})
        about = book.add_worksheet("Question")
        about.set_column(0, 1, 2 * WIDTH)
        for number, (name, value) in enumerate(asked(report).items()):
            about.write_string(number, 0, name, bold)
            about.write_string(number, 1, _text(value))
        _table(book.add_worksheet("Buckets"), columns(report), by_bucket(report), bold)
        _table(book.add_worksheet("Breakdown"), columns_in_all(report), [*by_series(report), in_all(report)], bold)
    return out.getvalue()


def _table(sheet: Any, names: list[str], rows: Iterable[Row], bold: Any) -> None:
    sheet.set_column(0, len(names) - 1, WIDTH)
    sheet.freeze_panes(1, 0)
    for place, name in enumerate(names):
        sheet.write_string(0, place, name, bold)
    for number, row in enumerate(rows, start=1):
        for place, name in enumerate(names):
            _cell(sheet, number, place, row[name])


def _cell(sheet: Any, number: int, place: int, value: Value) -> None:
    if value is None:
        return
    if isinstance(value, Number | int):
        sheet.write_number(number, place, float(value) if isinstance(value, Number) else value)
    else:
        sheet.write_string(number, place, value)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {', '.join(map(str, values))}" for name, values in value.items())
    return "" if value is None else str(value)
