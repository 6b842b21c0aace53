"""Lists of prices as files: all of one or nothing, as often as one likes."""

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import AuditEntry
from billing.errors import PriceListMistakes
from billing.models import Price
from billing.prices.lists import Change, import_prices, planned, read_list, write_list
from billing.prices.pricing import Rates, add_price

pytestmark = pytest.mark.django_db

LIST = """model,effective_from,input,cached_input,output,reasoning,currency
llama3.3:70b,2025-12-01,1.9,,8,,EUR
llama3.3:70b,2026-02-10,1.8,0.9,8,,EUR
"nvidia/nemo, large v1.5",2025-12-01T08:30:00.125+01:00,0.00000001,,1000000,8.5,
qwen turbo,,2,,3,,eur
"""


def take_in(text: str) -> list[Change]:
    return [step.change for step in import_prices(entries=read_list(text), by=None)]


def mistakes(text: str) -> list[tuple[int, str]]:
    with pytest.raises(PriceListMistakes) as refused:
        import_prices(entries=read_list(text), by=None)
    return list(refused.value.lines)


def prices() -> list[tuple[Any, ...]]:
    columns = ("model", "effective_from", "input", "cached_input", "output", "reasoning")
    return list(Price.objects.order_by("model", "effective_from").values_list(*columns))


@pytest.mark.spec("U2")
def test_a_list_is_taken_in_whole_with_its_history() -> None:
    before = timezone.now()
    assert take_in(LIST) == [Change.ADD] * 4
    *told, (name, since, *now) = prices()
    assert told == [
        ("llama3.3:70b", datetime(2025, 12, 1, tzinfo=UTC), Decimal("1.9"), None, Decimal(8), None),
        ("llama3.3:70b", datetime(2026, 2, 10, tzinfo=UTC), Decimal("1.8"), Decimal("0.9"), Decimal(8), None),
        (
            "nvidia/nemo, large v1.5",
            datetime(2025, 12, 1, 7, 30, 0, 125_000, tzinfo=UTC),
            Decimal("0.00000001"),
            None,
            Decimal(1_000_000),
            Decimal("8.5"),
        ),
    ]
    assert (name, now) == ("qwen turbo", [Decimal(2), None, Decimal(3), None])
    assert before - timedelta(seconds=1) < since <= timezone.now()


def test_taken_in_again_it_changes_nothing() -> None:
    take_in(LIST)
    before, written = prices(), AuditEntry.objects.count()
    assert take_in(LIST) == [Change.KEEP] * 4
    assert (prices(), AuditEntry.objects.count()) == (before, written)


def test_one_to_come_is_corrected_and_one_that_has_begun_is_not() -> None:
    line = "model,effective_from,input,output\nllama,{day},{price},8\n"
    tomorrow = (timezone.now() + timedelta(days=1)).date()
    take_in(line.format(day=tomorrow, price="1.9"))
    assert take_in(line.format(day=tomorrow, price="1.8")) == [Change.CHANGE]
    assert prices()[0][2] == Decimal("1.8")

    take_in(line.format(day="2025-12-01", price="2"))
    again = mistakes(line.format(day="2025-12-01", price="3"))
    assert again == [(2, "The price from this moment on has begun and is another one. Begin now or later.")]
    between = mistakes(line.format(day="2026-01-01", price="3"))
    assert between == [
        (2, "This moment has passed, and calls were counted by the price in force then. Begin now or later.")
    ]


def test_one_bad_line_keeps_all_out_and_every_bad_line_is_told() -> None:
    text = (
        "model,effective_from,input,output,currency\n"
        "good,,1,2,\n"
        'comma,,"1,9",2,\n'
        ",,1,2,\n"
        "day,30.11.2026,1,2,\n"
        "fine,2026-12-01T00:00:00.0001,1,2,\n"
        "dollars,,1,2,USD\n"
        "dear,,1000001,2,\n"
        "good,,1,3,\n"
    )
    assert mistakes(text) == [
        (3, "input: “1,9” is no number such as 1.8."),
        (4, "A price is for a model: give its id."),
        (5, "effective_from: “30.11.2026” is no moment such as 2026-12-01 or 2026-12-01T08:30:00+01:00."),
        (6, "effective_from: a moment has whole milliseconds."),
        (7, "Prices here are in EUR, not in USD."),
        (8, "A price is between 0 and 1000000 for a million tokens."),
        (9, "The same model and moment as in line 2."),
    ]
    assert prices() == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 0, "There is nothing in this list."),
        ("model,input,output\n", 0, "There is nothing in this list."),
        ("model,input\nllama,1\n", 1, "A price list needs the field output."),
        ("model,input,output,inputs\nllama,1,1,1\n", 1, "“inputs” is no field of a price list. There are: "),
        ("model,input,output,input\nllama,1,1,1\n", 1, "A field is named twice."),
        ("model,input,output\nllama,1\n", 2, "This line has 2 fields, the first one 3."),
        ('model,input,output\n"llama,1,1\n', 2, "This is no CSV: "),
        ("[{]", 1, "This is no JSON: "),
        ('[\n{"model": a}]', 2, "This is no JSON: "),
        ('{"model": "a"}', 0, "A list of prices in JSON is a list of objects."),
        ("[1]", 1, "A list of prices in JSON is a list of objects."),
        ('[{"model": "a", "input": NaN, "output": 1}]', 0, "This is no JSON: "),
        ('[{"model": "a", "input": -1, "output": 1}]', 1, "input: “-1” is no number such as 1.8."),
        ('[{"model": "a", "input": 1e3, "output": 1e999999}]', 1, "output: "),
        ('[{"model": "a", "input": true, "output": 1}]', 1, "input: “true” is no number such as 1.8."),
        ("[" * 100_000, 0, "This is no JSON: "),
        ("x" * 3_000_000, 0, "A list of prices has at most 2 MB."),
        ("model,input,output\n" + "a,1,1\n" * 10_001, 10_002, "A list of prices has at most 10000 lines."),
    ],
)
def test_what_is_no_list_is_refused_by_its_line(text: str, line: int, message: str) -> None:
    (found,) = mistakes(text)[:1]
    assert (found[0], found[1][: len(message)]) == (line, message)


def test_semicolons_come_with_decimal_commas_as_spreadsheets_write_them() -> None:
    take_in("\ufeffModel;Input;Output\r\nllama;1,8;8.25\r\n\r\n")
    assert [row[2:5] for row in prices()] == [(Decimal("1.8"), None, Decimal("8.25"))]


def test_json_keeps_every_digit() -> None:
    take_in('[{"model": "llama", "input": 0.12345678, "output": "8", "reasoning": null}]')
    assert [row[2:] for row in prices()] == [(Decimal("0.12345678"), None, Decimal(8), None)]


def test_a_day_begins_at_midnight_in_the_platforms_zone(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Madrid"
    (entry,) = read_list("model,effective_from,input,output\nllama,2026-12-01,1,1\n")
    assert entry.since == datetime(2026, 12, 1, tzinfo=ZoneInfo("Europe/Madrid"))


def test_a_plan_says_what_it_replaces_and_what_it_follows() -> None:
    now = timezone.now()
    tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    first = add_price(model="llama", rates=Rates(Decimal(1), Decimal(2)), by=None)
    coming = add_price(model="llama", rates=Rates(Decimal(3), Decimal(4)), since=tomorrow, by=None)
    text = f"model,effective_from,input,output\nllama,{tomorrow.date()},5,6\nllama,,7,8\nnew,,1,2\n"
    steps = planned(read_list(text), timezone.now())
    assert [(step.change, step.before) for step in steps] == [
        (Change.CHANGE, coming),
        (Change.ADD, first),
        (Change.ADD, None),
    ]
    assert Price.objects.count() == 2


names = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=30).filter(
    lambda name: name.isprintable() and name == name.strip()
)
amounts = st.decimals(min_value=0, max_value=1_000_000, places=8, allow_nan=False, allow_infinity=False)
moments = st.integers(1, 86_400_000).map(lambda ms: datetime(2030, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms))


@pytest.mark.parametrize("form", ["csv", "json"])
@given(rows=st.lists(st.tuples(names, moments, amounts, amounts, st.none() | amounts), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_exported_is_all_there_when_it_is_taken_in(form: str, rows: list[tuple[Any, ...]]) -> None:
    Price.objects.all().delete()
    for model, since, input_, output, cached in rows:
        Price.objects.get_or_create(
            model=model, effective_from=since, defaults={"input": input_, "output": output, "cached_input": cached}
        )
    out, before = io.StringIO(), prices()
    write_list(out, form=form)
    Price.objects.all().delete()
    take_in(out.getvalue())
    assert prices() == before
    assert set(take_in(out.getvalue())) == {Change.KEEP}


def test_the_commands_take_a_file_in_and_print_one(tmp_path: Path) -> None:
    file, out = tmp_path / "prices.csv", io.StringIO()
    file.write_text(LIST, encoding="utf-8")
    call_command("import_prices", str(file), stdout=out)
    assert out.getvalue() == "4 added, 0 changed, 0 there already\n"
    out = io.StringIO()
    call_command("export_prices", stdout=out)
    assert out.getvalue().splitlines()[:2] == [
        "model,effective_from,input,cached_input,output,reasoning,currency",
        "llama3.3:70b,2025-12-01T00:00:00.000+00:00,1.9,,8,,EUR",
    ]
    file.write_text(out.getvalue(), encoding="utf-8")
    again = io.StringIO()
    call_command("import_prices", str(file), stdout=again)
    assert again.getvalue() == "0 added, 0 changed, 4 there already\n"


def test_the_command_names_the_file_and_the_line_and_fails(tmp_path: Path) -> None:
    file, errors = tmp_path / "prices.csv", io.StringIO()
    file.write_text("model,input,output\nllama,1,8\nllama,x,8\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        call_command("import_prices", str(file), stderr=errors)
    assert ended.value.code == 1
    assert errors.getvalue().splitlines() == [
        f"{file}:3: input: “x” is no number such as 1.8.",
        "Nothing was taken in.",
    ]
    with pytest.raises(CommandError):
        call_command("import_prices", str(tmp_path / "absent.csv"))
    file.write_bytes(b"model,input,output\n\xff\xfe,1,8\n")
    with pytest.raises(CommandError):
        call_command("import_prices", str(file))
    assert prices() == []
