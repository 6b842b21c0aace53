"""Numbers, money and durations as people of each language write them."""

from collections.abc import Callable
from decimal import Decimal
from functools import cache, lru_cache

from babel.numbers import format_compact_decimal, format_currency, format_decimal, format_percent
from django.conf import settings
from django.utils import formats
from django.utils.translation import get_language, to_locale
from django.utils.translation import gettext as _

LEAST = 0.001  # the smallest share that is told
WHOLE_PERCENT, TENTH_OF_PERCENT = Decimal("0.01"), Decimal("0.001")
SMALL = Decimal("0.01")  # money below this gets more decimals


def seconds(milliseconds: float) -> str:
    """No more figures than an interpolated one has; the unit stays on the number's line."""
    if milliseconds < 1000:
        said = _("%s ms") % format_decimal(_two_figures(milliseconds), format="#,##0", locale=locale())
    elif milliseconds < 120_000:
        said = _("%s s") % format_decimal(_two_figures(milliseconds / 1000), format="#,##0.#", locale=locale())
    else:
        said = _("%s min") % format_decimal(_two_figures(milliseconds / 60_000), format="#,##0.#", locale=locale())
    return said.replace(" ", "\u00a0")


def _two_figures(number: float) -> float:
    return float(f"{number:.2g}")


def locale() -> str:
    return to_locale(get_language() or settings.LANGUAGE_CODE)


def compact(number: float) -> str:
    return format_compact_decimal(number, locale=locale(), fraction_digits=1)


def compact_parts(number: float) -> tuple[str, str]:
    """The number and its unit (M, k, mil …), which a figure sets smaller."""
    said = compact(number)
    value = said.rstrip("".join(letter for letter in set(said) if not letter.isdigit()))
    return value, said[len(value) :].strip()


def whole(number: int) -> str:
    """As Django's `number_format` has it, a tenth of its time: tables are full of them."""
    return writing_whole()(number)


def writing_whole() -> Callable[[int], str]:
    """`whole` in the language of this moment, for who has hundreds to write: which language it is takes longest."""
    sign = _grouping_sign(get_language() or settings.LANGUAGE_CODE)
    return lambda number: f"{number:,}".replace(",", sign)


@cache
def _grouping_sign(language: str) -> str:
    return str(formats.get_format("THOUSAND_SEPARATOR", lang=language))


def decimal(number: float) -> str:
    return format_decimal(number, format="#,##0.###", locale=locale())


def percent(part: float) -> str:
    """A tenth of a percent at the finest; what is less and not nothing is said to be less."""
    if 0 < part < LEAST / 2:
        return f"< {percent(LEAST)}"
    whole_ones = part >= 0.1 or part == 0
    return _percent(Decimal(part).quantize(WHOLE_PERCENT if whole_ones else TENTH_OF_PERCENT), whole_ones, locale())


@lru_cache(maxsize=4096)
def _percent(part: Decimal, whole_ones: bool, locale_: str) -> str:
    return format_percent(part, format=None if whole_ones else _one_decimal(), locale=locale_)


def _one_decimal() -> str:
    space = "\u00a0" if locale()[:2] in {"es", "fr"} else ""
    return f"#,##0.#{space}%"


def money(sum_: Decimal) -> str:
    """In the installation's currency; small sums keep the decimals that say something."""
    return _money(sum_, settings.ENVIRONMENT.currency, locale())


@lru_cache(maxsize=4096)  # a chart of costs and its table tell hundreds, each twice, most of days that are over
def _money(sum_: Decimal, currency: str, locale_: str) -> str:
    digits = 2 if not sum_ or abs(sum_) >= SMALL else 6
    pattern = None if digits == 2 else f"¤#,##0.{'0' * digits}" if locale_[:2] == "en" else f"#,##0.{'0' * digits} ¤"
    return format_currency(sum_, currency, format=pattern, locale=locale_, currency_digits=digits == 2)


def exact_money(amount: Decimal) -> str:
    """Every decimal of a cost, and two at least."""
    pattern = "¤#,##0.00##########" if locale()[:2] == "en" else "#,##0.00##########\u00a0¤"
    return format_currency(
        amount,
        settings.ENVIRONMENT.currency,
        format=pattern,
        locale=locale(),
        currency_digits=False,
        decimal_quantization=False,
    )
