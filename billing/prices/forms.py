"""What an operator says of a price, typed or as a list."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.utils.timezone import localtime
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _

from billing.amounts import NotAnAmount, TwoReadings, read_amount, write_amount
from billing.models import Price
from billing.prices.lists import MOST_BYTES
from billing.prices.pricing import LONGEST_NAME, Rates

MINUTES = "%Y-%m-%dT%H:%M"
EXACT = "%Y-%m-%dT%H:%M:%S.%f"
RATES = ("input", "cached_input", "output", "reasoning")


class AmountField(forms.CharField):
    """A price as its reader's language writes it, or another that cannot be mistaken."""

    def __init__(self, **more: Any) -> None:
        attrs = {"inputmode": "decimal", "autocomplete": "off", "class": "num"}
        super().__init__(max_length=40, widget=forms.TextInput(attrs), **more)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        return self.amount(text) if text else None

    def amount(self, text: str) -> Decimal:
        language = _language()
        try:
            return read_amount(text, language)
        except TwoReadings as two:
            small, large = write_amount(two.small, language), write_amount(two.large, language)
            said = _("This could be %(small)s or %(large)s. Write it so that it can only be one.")
            raise ValidationError(said % {"small": small, "large": large}) from two
        except NotAnAmount as error:
            said = _("Give an amount such as %s.") % write_amount(Decimal("1.8"), language)
            raise ValidationError(said) from error

    def prepare_value(self, value: Any) -> Any:
        return write_amount(value, _language()) if isinstance(value, Decimal) else value


class PriceForm(forms.Form):
    model = forms.CharField(
        label=gettext_lazy("Model"),
        max_length=LONGEST_NAME,
        widget=forms.TextInput({"class": "mono", "autocomplete": "off", "spellcheck": "false", "list": "priceless"}),
    )
    since = forms.DateTimeField(
        label=gettext_lazy("In force from"),
        required=False,
        input_formats=[MINUTES, "%Y-%m-%dT%H:%M:%S", EXACT, "%Y-%m-%d %H:%M"],
        widget=forms.DateTimeInput({"type": "datetime-local"}, MINUTES),
    )
    input = AmountField(label=gettext_lazy("Input"))
    cached_input = AmountField(
        label=gettext_lazy("Cached input"), required=False, help_text=gettext_lazy("Empty: as input.")
    )
    output = AmountField(label=gettext_lazy("Output"))
    reasoning = AmountField(
        label=gettext_lazy("Reasoning"), required=False, help_text=gettext_lazy("Empty: as output.")
    )

    use_required_attribute = False

    def __init__(self, data: Any = None, *, initial: Any = None, price: Price | None = None) -> None:
        """Of a price that is there, its model stays as it is."""
        if price is not None:
            initial = {"model": price.model, **Rates.of(price).columns(), "since": price.effective_from}
        super().__init__(data, initial=initial)
        self.fields["since"].help_text = _("Empty: from now on.")
        if price is not None:
            del self.fields["model"]
            self.fields["since"].required = True
            self.fields["since"].help_text = ""
            if localtime(price.effective_from).second or price.effective_from.microsecond:
                self.fields["since"].widget = forms.DateTimeInput(
                    {"type": "datetime-local", "step": "0.001"}, "%Y-%m-%dT%H:%M:%S"
                )
                self.initial["since"] = _exact(price.effective_from)

    def rates(self) -> Rates:
        return Rates(**{name: self.cleaned_data[name] for name in RATES})

    def rate_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in RATES]


class PriceListForm(forms.Form):
    """A file, or its text; the text wins, as it is what was shown before."""

    file = forms.FileField(
        label=gettext_lazy("A file"),
        required=False,
        widget=forms.FileInput({"accept": ".csv,.json,text/csv,application/json"}),
    )
    text = forms.CharField(
        label=gettext_lazy("Or its text"),
        required=False,
        strip=False,
        widget=forms.Textarea({"rows": 5, "class": "mono", "spellcheck": "false"}),
    )

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        example = f"model,effective_from,input,output,currency\nllama3.3:70b,2026-12-01,1.8,8,{_currency()}"
        self.fields["text"].widget.attrs["placeholder"] = example

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        if not (cleaned.get("text") or "").strip():
            cleaned["text"] = _read(cleaned.get("file"))
        return cleaned


def _read(file: "UploadedFile[bytes] | None") -> str:
    if file is None:
        raise ValidationError(_("Choose a file, or paste its text."))
    if (file.size or 0) > MOST_BYTES:
        raise ValidationError(_("A list of prices has at most 2 MB."))
    try:
        return str(file.read(), "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValidationError(_("The file is not text in UTF-8.")) from error


def _exact(moment: datetime) -> str:
    return localtime(moment).isoformat(timespec="milliseconds")[:23]


def _language() -> str:
    return (get_language() or settings.LANGUAGE_CODE)[:2]


def _currency() -> str:
    currency: str = settings.ENVIRONMENT.currency
    return currency
