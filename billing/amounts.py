"""Amounts as people write them, in three languages: “1.9”, “1,9”, “1 250,50”. What could be two amounts is refused.

A mistake here is a factor of a thousand on every bill. A point or comma that stands alone before exactly three digits
is a decimal sign in one country and groups thousands in the next; Spanish alone has both, in Spain and in Mexico.
"""

import re
from decimal import Decimal

DECIMAL_SIGN = {"en": ".", "fr": ","}  # Spanish: either
THOUSANDS_SIGN = {"en": ","}  # beside spaces, which every language has
LONGEST = 40  # characters

_SPACES = re.compile(r"[ \u00a0\u2009\u202f'’]")
_GROUPED = re.compile(r"[0-9]{1,3}([ \u00a0\u2009\u202f'’][0-9]{3})+(?![0-9])|[0-9]+(?![0-9 \u00a0\u2009\u202f'’])")
_DIGITS = re.compile(r"[0-9]+")


class NotAnAmount(ValueError):
    pass


class TwoReadings(NotAnAmount):
    """It may be either of `small` and `large`."""

    def __init__(self, small: Decimal, large: Decimal) -> None:
        super().__init__(f"either {small} or {large}")
        self.small, self.large = small, large


def read_amount(text: str, language: str) -> Decimal:
    """Raises NotAnAmount, and TwoReadings for what could be two amounts. Never negative; all digits count."""
    text = text.strip()
    if len(text) > LONGEST or not _GROUPED.match(text):
        raise NotAnAmount(text)
    digits = _SPACES.sub("", text)
    signs = [sign for sign in digits if sign in ".,"]
    if not signs:
        return _whole(digits)
    if len(signs) == 1:
        return _with_one_sign(digits, signs[0], language)
    grouping, last = signs[0], signs[-1]
    if last != grouping and signs.count(last) > 1:
        raise NotAnAmount(text)
    return _with_groups(digits, grouping, decimal_sign="" if last == grouping else last)


def write_amount(amount: Decimal, language: str) -> str:
    """As `read_amount` takes it, every digit kept: what stands in a field."""
    text = f"{amount.normalize():f}"
    whole, _, decimals = text.partition(".")
    if len(decimals) == 3 and language not in DECIMAL_SIGN:
        decimals += "0"  # else it had two readings
    return f"{whole}{DECIMAL_SIGN.get(language, ',')}{decimals}" if decimals else whole


def _with_one_sign(digits: str, sign: str, language: str) -> Decimal:
    whole, _, decimals = digits.partition(sign)
    small = _decimal(whole, decimals)
    if len(decimals) != 3 or not 0 < len(whole) < 4 or whole.startswith("0"):
        return small
    if DECIMAL_SIGN.get(language) == sign:
        return small
    if THOUSANDS_SIGN.get(language) == sign:
        return _whole(whole + decimals)
    raise TwoReadings(small, _whole(whole + decimals))


def _with_groups(digits: str, grouping: str, *, decimal_sign: str) -> Decimal:
    whole, _, decimals = digits.partition(decimal_sign) if decimal_sign else (digits, "", "")
    first, *groups = whole.split(grouping)
    if not 0 < len(first) < 4 or any(len(group) != 3 for group in groups) or (decimal_sign and not decimals):
        raise NotAnAmount(digits)
    return _decimal("".join((first, *groups)), decimals)


def _whole(digits: str) -> Decimal:
    return _decimal(digits, "")


def _decimal(whole: str, decimals: str) -> Decimal:
    if not _DIGITS.fullmatch(whole + decimals) or not whole:
        raise NotAnAmount(f"{whole} {decimals}")
    return Decimal(f"{whole}.{decimals or 0}")
