"""Prices in words, as their reader's language writes them."""

from dataclasses import dataclass
from decimal import Decimal

from babel.numbers import format_decimal, get_currency_symbol
from django.conf import settings
from django.utils.translation import gettext as _

from billing.moments import moment_in_words
from billing.numbers import locale
from billing.prices.pricing import PricesOfModel


@dataclass(frozen=True, slots=True)
class PriceSaid:
    """What a model costs, for those who use it. `more` are what differs from input and output, and what is coming."""

    input: str
    output: str
    more: tuple[str, ...]


def price_said(prices: PricesOfModel) -> PriceSaid | None:
    """None where nothing is in force."""
    now = prices.now
    if now is None:
        return None
    more = []
    if now.cached_input is not None and now.cached_input != now.input:
        more.append(_("cached input %s") % price(now.cached_input))
    if now.reasoning is not None and now.reasoning != now.output:
        more.append(_("reasoning %s") % price(now.reasoning))
    for coming in prices.coming[:1]:
        said = _("from %(moment)s on %(input)s / %(output)s")
        words = {"moment": moment_in_words(coming.effective_from)}
        more.append(said % {**words, "input": price(coming.input), "output": price(coming.output)})
    return PriceSaid(price(now.input), price(now.output), tuple(more))


def price_unit() -> str:
    """“€/M”: the currency for a million tokens."""
    return f"{get_currency_symbol(settings.ENVIRONMENT.currency, locale=locale())}/M"


def price(amount: Decimal) -> str:
    """Of a million tokens, without the currency: every decimal that it has, and two at least."""
    return format_decimal(amount, format="#,##0.00######", locale=locale(), decimal_quantization=False)
