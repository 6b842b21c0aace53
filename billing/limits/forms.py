"""Forms for limits. An empty field is no limit."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from accounts.models import Team
from billing.limits.windows import BY_FIELD, Bounds
from billing.models import Tier

MOST = 10**12
# What stands in one line of a form.
LINES = (
    ("requests_per_minute", "requests_per_day", "concurrent_requests"),
    ("tokens_per_minute", "tokens_per_day"),
    ("output_tokens_per_hour", "output_tokens_per_day"),
)


class LimitsForm(forms.Form):
    """The seven limits. A form with fields of its own too extends it."""

    def __init__(self, *args: Any, bounds: Bounds | None = None, **kwargs: Any) -> None:
        kwargs["initial"] = {**(asdict(bounds) if bounds else {}), **(kwargs.get("initial") or {})}
        super().__init__(*args, **kwargs)
        for line in LINES:
            for name in line:
                self.fields[name] = forms.IntegerField(
                    label=Tier._meta.get_field(name).verbose_name,  # type: ignore[union-attr]  # columns
                    min_value=1,
                    max_value=MOST,
                    required=False,
                    widget=forms.NumberInput(attrs={"inputmode": "numeric", "placeholder": _("unlimited")}),
                )

    def limit_lines(self) -> list[list[forms.BoundField]]:
        return [[self[name] for name in line] for line in LINES]

    def has_limits(self) -> bool:
        """Whether any field of a limit holds something or is wrong."""
        return any(self[name].value() or self[name].errors for name in BY_FIELD)

    def bounds(self) -> Bounds:
        return Bounds(**{name: self.cleaned_data.get(name) for name in BY_FIELD})


class TierForm(LimitsForm):
    name = forms.CharField(label=_("Name"), max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    is_default = forms.BooleanField(
        label=_("For teams without a tier"), required=False, help_text=_("Also for those that will be made.")
    )

    @classmethod
    def of(cls, tier: Tier, data: QueryDict | None = None) -> "TierForm":
        return cls(data, bounds=tier.bounds, initial={"name": tier.name, "is_default": tier.is_default})


class GiveTierForm(forms.Form):
    team = forms.ModelChoiceField(label=_("Team"), queryset=Team.objects.none(), empty_label=None)

    def __init__(self, data: QueryDict | None = None, *, teams: Iterable[int]) -> None:
        super().__init__(data)
        self.fields["team"].queryset = Team.objects.filter(pk__in=teams).order_by("name", "pk")  # type: ignore[attr-defined]
