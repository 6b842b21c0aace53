"""Amounts as people type them: a factor of a thousand is never guessed."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.amounts import NotAnAmount, TwoReadings, read_amount, write_amount

prices = st.decimals(min_value=0, max_value=1_000_000, places=8, allow_nan=False, allow_infinity=False)
languages = st.sampled_from(["en", "es", "fr"])


@pytest.mark.parametrize(
    ("text", "english", "spanish", "french"),
    [
        ("1.9", "1.9", "1.9", "1.9"),
        ("1,9", "1.9", "1.9", "1.9"),
        (" 1.8 ", "1.8", "1.8", "1.8"),
        ("0.125", "0.125", "0.125", "0.125"),
        ("0,125", "0.125", "0.125", "0.125"),
        ("12.3456", "12.3456", "12.3456", "12.3456"),
        ("1 250,5", "1250.5", "1250.5", "1250.5"),
        ("1\u202f250,5", "1250.5", "1250.5", "1250.5"),
        ("1.250,50", "1250.5", "1250.5", "1250.5"),
        ("1,250.50", "1250.5", "1250.5", "1250.5"),
        ("1.250.000", "1250000", "1250000", "1250000"),
        ("1.250", "1.25", None, None),
        ("1,250", "1250", None, "1.25"),
        ("1250", "1250", "1250", "1250"),
    ],
)
@pytest.mark.spec("U2")
def test_each_language_reads_points_commas_and_thousands(
    text: str, english: str, spanish: str | None, french: str | None
) -> None:
    for language, expected in (("en", english), ("es", spanish), ("fr", french)):
        if expected is None:
            with pytest.raises(TwoReadings) as refused:
                read_amount(text, language)
            assert (refused.value.small, refused.value.large) == (Decimal("1.25"), Decimal(1250))
        else:
            assert read_amount(text, language) == Decimal(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-1",
        "+1",
        "1e5",
        "abc",
        "1..2",
        "1.2.3",
        "1,2,3",
        "1 9",
        "1 9000",
        ".5",
        "1,900,",
        "١",
        "NaN",
        "9" * 50,
    ],
)
@pytest.mark.parametrize("language", ["en", "es", "fr"])
def test_what_is_no_amount_is_refused(text: str, language: str) -> None:
    with pytest.raises(NotAnAmount):
        read_amount(text, language)


@given(prices, languages)
def test_what_stands_in_a_field_is_read_as_the_same_amount(price: Decimal, language: str) -> None:
    assert read_amount(write_amount(price, language), language) == price
