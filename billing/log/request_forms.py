"""A request by its id, and what an operator corrects of it."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from billing.ledger.adjustments import LONGEST_REASON, MOST_TOKENS, Totals
from billing.prices.forms import AmountField

TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")


class FindForm(forms.Form):
    request_id = forms.UUIDField(
        label=_("Request id"),
        widget=forms.TextInput({"class": "mono", "autocomplete": "off", "spellcheck": "false"}),
        error_messages={"invalid": _("This is no request id. One has 32 digits and letters from a to f.")},
        help_text=_("From the header x-request-id of an answer, or from manage.py usage_export."),
    )

    use_required_attribute = False


class AdjustForm(forms.Form):
    """What the request comes to in all."""

    prompt_tokens = forms.IntegerField(label=_("Input"), min_value=0, max_value=MOST_TOKENS)
    cached_tokens = forms.IntegerField(label=_("Cached input"), min_value=0, max_value=MOST_TOKENS, required=False)
    completion_tokens = forms.IntegerField(label=_("Output"), min_value=0, max_value=MOST_TOKENS)
    reasoning_tokens = forms.IntegerField(label=_("Reasoning"), min_value=0, max_value=MOST_TOKENS, required=False)
    money = AmountField(
        label=_("Cost"), required=False, help_text=_("Empty: by the tokens and the prices of its time.")
    )
    reason = forms.CharField(
        label=_("Reason"), max_length=LONGEST_REASON, help_text=_("It stands beside the correction for good.")
    )

    use_required_attribute = False

    def __init__(self, data: Any = None, *, totals: Totals) -> None:
        super().__init__(data, initial={name: getattr(totals, name) for name in TOKENS})
        if totals.cost is None:
            del self.fields["money"]

    def token_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in TOKENS]
