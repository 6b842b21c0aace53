"""Prices by model and moment: what begun is history, what comes may be corrected, and no cost changes afterwards."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import AuditEntry, Team, User
from accounts.revision import current
from billing.errors import PriceMistake
from billing.ids import moment
from billing.ledger import log as ledger
from billing.ledger.auditing import audit
from billing.models import Price, UsageRecord
from billing.prices.pricing import (
    PriceBook,
    Rates,
    UnitPrices,
    add_price,
    change_price,
    cost,
    load_prices,
    milliseconds,
    price_list,
    remove_price,
    used_without_price,
)
from billing.records import Counts
from tests.billing.traffic import counts, ended, now_ms

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
ODD_NAMES = ["llama3.3:70b", "qwen turbo", "nvidia/llama-3.3-nemotron:49b v1.5", "модель · é", "=1+1"]


def rates(input_: str = "1.9", output: str = "8", **more: str) -> Rates:
    return Rates(Decimal(input_), Decimal(output), **{name: Decimal(value) for name, value in more.items()})


def in_force(model: str, at_ms: int) -> Decimal | None:
    found = load_prices().at(model, at_ms)
    return found.input if found else None


@pytest.mark.spec("U2")
def test_a_price_that_falls_changes_no_cost_from_before(red: Team) -> None:
    """1.9 becomes 1.8, as it did at Cloud Temple."""
    falls = timezone.now().replace(microsecond=0) + HOUR
    add_price(model="llama", rates=rates("1.9"), since=falls - 2 * HOUR, by=None)
    add_price(model="llama", rates=rates("1.8"), since=falls, by=None)
    book, at = load_prices(), milliseconds(falls)
    calls = [
        ended(red.pk, counts(1_000_000, 0), at_ms=moment_ms, price=book.at("llama", moment_ms))
        for moment_ms in (at - 1, at, at + 1)
    ]
    ledger.write(calls)

    costs = dict(UsageRecord.objects.values_list("id", "cost"))
    assert [costs[call.start.id] for call in calls] == [Decimal("1.9"), Decimal("1.8"), Decimal("1.8")]
    assert audit().agrees


@pytest.mark.spec("U2")
@pytest.mark.parametrize("model", ODD_NAMES)
def test_a_price_holds_from_its_millisecond_on_for_any_name(model: str) -> None:
    since = timezone.now().replace(microsecond=123_000) + HOUR
    add_price(model=model, rates=rates(), since=since, by=None)
    at = milliseconds(since)
    assert [in_force(model, at - 1), in_force(model, at), in_force("other", at)] == [None, Decimal("1.9"), None]


@given(st.integers(0, 4_102_444_800_000))
def test_a_moment_comes_back_as_the_same_millisecond(at_ms: int) -> None:
    assert milliseconds(moment(at_ms)) == at_ms


def test_an_added_price_is_announced_and_written_down(alice: User) -> None:
    before = current()
    add_price(model=" llama ", rates=rates("1.8", cached_input="0.9"), by=alice)
    entry = AuditEntry.objects.get(action="price.added")
    price = Price.objects.get()
    assert (entry.actor, entry.subject_id) == (alice, str(price.pk))
    assert {**entry.detail, "since": ""} == {"since": "", "input": "1.8", "output": "8", "cached_input": "0.9"}
    assert (price.model, price.reasoning, current()) == ("llama", None, before + 1)
    assert price.effective_from.microsecond % 1000 == 0


@pytest.mark.spec("U2")
def test_one_that_has_begun_is_neither_changed_nor_removed_nor_preceded(alice: User) -> None:
    price = add_price(model="llama", rates=rates(), by=alice)
    attempts: list[Any] = [
        lambda: change_price(price=price, rates=rates("1"), since=timezone.now() + HOUR, by=alice),
        lambda: remove_price(price=price, by=alice),
        lambda: add_price(model="llama", rates=rates("1"), since=timezone.now() - HOUR, by=alice),
    ]
    for attempt in attempts:
        with pytest.raises(PriceMistake):
            attempt()
    assert list(Price.objects.values_list("input", "effective_from")) == [(Decimal("1.9"), price.effective_from)]
    assert AuditEntry.objects.filter(action__startswith="price.").count() == 1


def test_one_that_begins_this_very_second_counts_as_begun(alice: User) -> None:
    price = add_price(model="llama", rates=rates(), since=timezone.now() + timedelta(seconds=1), by=alice)
    with pytest.raises(PriceMistake):
        remove_price(price=price, by=alice)


def test_one_to_come_is_corrected_and_removed(alice: User) -> None:
    tomorrow = timezone.now().replace(microsecond=0) + 24 * HOUR
    price = add_price(model="llama", rates=rates(), since=tomorrow, by=alice)
    change_price(price=price, rates=rates("1.8", reasoning="9"), since=tomorrow + HOUR, by=alice)
    price.refresh_from_db()
    assert (price.input, price.reasoning, price.effective_from) == (Decimal("1.8"), Decimal(9), tomorrow + HOUR)
    told = AuditEntry.objects.get(action="price.changed").detail
    assert (told["input"], told["reasoning"], told["output"]) == ("1.9 → 1.8", "– → 9", "8 → 8")
    remove_price(price=price, by=alice)
    assert not Price.objects.exists()
    assert AuditEntry.objects.get(action="price.removed").detail["input"] == "1.8"
    with pytest.raises(PriceMistake):
        remove_price(price=price, by=alice)


def test_nothing_is_corrected_to_begin_in_the_past_or_where_another_begins(alice: User) -> None:
    tomorrow = timezone.now().replace(microsecond=0) + 24 * HOUR
    first = add_price(model="llama", rates=rates(), since=tomorrow, by=alice)
    add_price(model="llama", rates=rates(), since=tomorrow + HOUR, by=alice)
    for since in (timezone.now() - HOUR, tomorrow + HOUR):
        with pytest.raises(PriceMistake) as refused:
            change_price(price=first, rates=rates(), since=since, by=alice)
        assert refused.value.param == "since"


def test_the_history_of_a_model_without_a_price_may_be_told_later() -> None:
    add_price(model="llama", rates=rates("1.9"), since=datetime(2025, 12, 1, tzinfo=UTC), by=None)
    assert in_force("llama", now_ms()) == Decimal("1.9")


@pytest.mark.parametrize(
    ("model", "wrong", "since", "param"),
    [
        ("", rates(), None, "model"),
        ("a\0b", rates(), None, "model"),
        ("x" * 201, rates(), None, "model"),
        ("llama", rates("-1"), None, "input"),
        ("llama", rates("1000000.01"), None, "input"),
        ("llama", rates("NaN"), None, "input"),
        ("llama", rates("1.123456789"), None, "input"),
        ("llama", rates("1", "Infinity"), None, "output"),
        ("llama", rates(cached_input="-0.01"), None, "cached_input"),
        ("llama", rates(), datetime(9999, 1, 1, tzinfo=UTC), "since"),
        ("llama", rates(), datetime(1, 1, 1, tzinfo=UTC), "since"),
    ],
)
def test_a_price_that_cannot_be_is_refused_at_its_field(
    model: str, wrong: Rates, since: datetime | None, param: str
) -> None:
    with pytest.raises(PriceMistake) as refused:
        add_price(model=model, rates=wrong, since=since, by=None)
    assert refused.value.param == param
    assert not Price.objects.exists()


def test_the_list_tells_what_is_in_force_what_comes_and_what_was(red: Team) -> None:
    now = timezone.now()
    for days in (-20, -10, 10, 20):
        since = now + timedelta(days=days)
        Price.objects.create(model="llama", effective_from=since, input=Decimal(100 + days), output=Decimal(1))
    Price.objects.create(model="soon", effective_from=now + HOUR, input=Decimal(1), output=Decimal(1))
    llama, soon = price_list(now)
    assert llama.now is not None
    assert (llama.now.input, soon.now) == (90, None)
    assert [price.input for price in llama.coming] == [110, 120]
    assert [price.input for price in llama.past] == [80]


def test_models_that_are_used_without_a_price_are_found(red: Team) -> None:
    month = 31 * 24 * 3_600_000
    ledger.write([ended(red.pk, model=name) for name in ("free", "free", "paid", "soon")])
    ledger.write([ended(red.pk, model="old", at_ms=now_ms() - 2 * month)])
    add_price(model="paid", rates=rates(), by=None)
    add_price(model="soon", rates=rates(), since=timezone.now() + HOUR, by=None)
    assert used_without_price(timezone.now()) == [("free", 2), ("soon", 1)]


unit = st.decimals(min_value=0, max_value=1_000_000, places=8, allow_nan=False, allow_infinity=False)
tokens = st.integers(0, 10_000_000)


@given(unit, unit, unit, unit, tokens, tokens, tokens, tokens)
@pytest.mark.spec("U2")
def test_a_cost_is_exact_to_twelve_decimals(
    input_: Decimal,
    cached_input: Decimal,
    output: Decimal,
    reasoning: Decimal,
    prompt: int,
    completion: int,
    cached: int,
    thought: int,
) -> None:
    cached, thought = min(cached, prompt), min(thought, completion)
    prices = UnitPrices(input_, cached_input, output, reasoning)
    exact = (
        (prompt - cached) * Fraction(input_)
        + cached * Fraction(cached_input)
        + (completion - thought) * Fraction(output)
        + thought * Fraction(reasoning)
    ) / 1_000_000
    found = cost(prices, Counts(prompt, completion, "upstream", "upstream", thought, cached))
    assert abs(Fraction(found) - exact) <= Fraction(1, 2 * 10**12)


def test_a_book_without_the_model_has_no_price() -> None:
    assert PriceBook({}, {}).at("llama", 0) is None
