"""What the usage page shows as a file to take away: CSV, JSON, or a workbook."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain
from typing import Any

from django.http import HttpResponse

from billing.usage.exports import Value, write_csv
from billing.usage.reports import Report
from billing.usage.rows import Row, asked, by_bucket, by_series, columns, columns_in_all, in_all

FORMS = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
BREAKDOWN = "breakdown"  # in the address of a CSV: the table in place of the chart
SERIES, TOTAL = "series", "total"  # what a line of that CSV is


def offered() -> list[str]:
    """XLSX only where its writer is installed, the extra `xlsx`."""
    return [form for form in FORMS if form != "xlsx" or has_xlsx()]


def has_xlsx() -> bool:
    return find_spec("xlsxwriter") is not None


def answer(report: Report, form: str, *, name: str, table: str = "") -> HttpResponse:
    if form == "xlsx" and not has_xlsx():
        told = "This installation writes no XLSX: its extra `xlsx` is not there. CSV holds the same."
        return HttpResponse(f"{told}\n", status=501, content_type="text/plain; charset=utf-8")
    response = HttpResponse(content_type=FORMS[form])
    period, what = report.period, f"-{BREAKDOWN}" if form == "csv" and table == BREAKDOWN else ""
    response["Content-Disposition"] = f'attachment; filename="{name}-{period.first}-{period.last}{what}.{form}"'
    if form == "csv":
        _write_csv(report, response, table)
    elif form == "json":
        json.dump(as_json(report), response, ensure_ascii=False, indent=1)
    else:
        from billing.usage.sheets import write  # xlsxwriter need not be there

        response.write(write(report))
    return response


def as_json(report: Report) -> dict[str, Any]:
    return asked(report) | {
        "buckets": list(by_bucket(report)),
        "breakdown": list(by_series(report)),
        "total": in_all(report),
    }


def _write_csv(report: Report, to: Any, table: str) -> None:
    """The chart's rows, which add up to the total, or the table's with the total; the last columns say what was asked.

    Never both in one file: whoever adds up a column would count twice.
    """
    question: Row = {name: _flat(value) for name, value in asked(report).items() if name in _SAID}
    rows: Iterator[Row]
    if table == BREAKDOWN:
        names = ["row", *columns_in_all(report), *_SAID]
        one: Row = {"row": SERIES}
        all_of_them: Row = {"row": TOTAL}
        rows = chain((one | row for row in by_series(report)), [all_of_them | in_all(report)])
    else:
        names = [*columns(report), *_SAID]
        rows = by_bucket(report)
    write_csv((row | question for row in rows), to, names)


_SAID = ("currency", "zone", "bucket", "filters", "generated_at")


def _flat(value: Any) -> Value:
    if isinstance(value, dict):
        return "; ".join(f"{name}={','.join(map(str, values))}" for name, values in value.items()) or None
    return value  # type: ignore[no-any-return]  # text
