"""Forms that span rooms."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django import forms
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.keys import IssuedKey, issue_key
from accounts.models import Dialect, Team, User
from billing.budgets.forms import AmountForm
from billing.budgets.monthly import set_budget
from billing.limits.forms import LimitsForm
from billing.limits.tiers import limit_key
from billing.limits.windows import BY_FIELD
from billing.models import Unit
from console.zones import zone_names

LIVES = [("90", _("In 90 days")), ("30", _("In 30 days")), ("365", _("In 365 days")), ("never", _("Never"))]


class DialectForm(forms.Form):
    dialect = forms.TypedChoiceField(
        label=_("API dialect"), choices=Dialect.choices, coerce=Dialect, widget=forms.RadioSelect
    )


class TimeZoneForm(forms.Form):
    """A field to search in: browsers look through its list while one types, and without them one types a name."""

    time_zone = forms.CharField(
        label=_("Time zone"),
        max_length=64,
        widget=forms.TextInput(attrs={"list": "zones", "autocomplete": "off", "spellcheck": "false"}),
        help_text=_("Type a city or a part of its name, as in Madrid or Mexico."),
    )

    def clean_time_zone(self) -> str:
        """As the list has it, whatever its case; a city alone is enough where only one is called so."""
        wanted = self.cleaned_data["time_zone"].replace(" ", "_").casefold()
        names = {name.casefold(): name for name in zone_names()}
        if wanted in names:
            return names[wanted]
        alike = [name for folded, name in names.items() if folded.rpartition("/")[2] == wanted]
        if len(alike) != 1:
            raise forms.ValidationError(_("Choose a time zone of the list, such as Europe/Madrid."))
        return alike[0]


class NewKeyForm(LimitsForm, AmountForm):
    form_id = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4, required=False)
    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        widget=forms.TextInput(attrs={"placeholder": _("What it is for: web-search"), "autocomplete": "off"}),
    )
    owner = forms.ChoiceField(label=_("Whose"), choices=[("me", _("Mine")), ("team", _("A service's"))])
    life = forms.ChoiceField(label=_("Expires"), choices=LIVES)
    models = forms.MultipleChoiceField(
        label=_("Models"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("None chosen: all of the team's."),
    )

    dialect = forms.ChoiceField(
        label=_("API dialect"),
        required=False,
        help_text=_("OpenAI's is what every client expects. Choose another only for a program written for Saptiva."),
    )

    def __init__(self, *args: Any, team: Team, models: Iterable[str], may_serve: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        teams = _("The team's: %(dialect)s") % {"dialect": team.get_dialect_display()}
        self.fields["dialect"].choices = [("", teams), *Dialect.choices]  # type: ignore[attr-defined]
        self.fields["models"].choices = [(model, model) for model in models]  # type: ignore[attr-defined]
        amount, unit = self.fields["amount"], self.fields["unit"]
        amount.required = unit.required = False
        amount.label = _("Budget a month")
        amount.widget.attrs["placeholder"] = _("none")
        if not may_serve:
            del self.fields["owner"]  # members make keys of their own alone

    def main_fields(self) -> list[forms.BoundField]:
        """What everybody looks at; the rest is folded away."""
        folded = {"dialect", "amount", "unit", *BY_FIELD}
        return [field for field in self.visible_fields() if field.name not in folded]

    def unfolded(self) -> bool:
        """Whether what is folded away holds something."""
        folded = (self["dialect"], self["amount"])
        return self.has_limits() or any(field.errors or field.value() for field in folded)

    @transaction.atomic
    def save(self, *, team: Team, by: User) -> IssuedKey:
        """The key with its limits and its budget: it is without them for no moment. Raises AlreadyIssued."""
        chosen = self.cleaned_data
        issued = issue_key(
            team=team,
            name=chosen["name"],
            by=by,
            owner=None if chosen.get("owner") == "team" else by,
            models=chosen["models"] or None,
            expires_at=self._expires_at(),
            dialect=chosen["dialect"],
            form_id=chosen["form_id"],
        )
        limit_key(key=issued.key, bounds=self.bounds(), by=by)
        if chosen["amount"] is not None:
            unit = Unit(chosen["unit"] or Unit.TOKENS)
            set_budget(team=team, unit=unit, amount=chosen["amount"], hard=True, by=by, key=issued.key)
        return issued

    def _expires_at(self) -> datetime | None:
        life = self.cleaned_data["life"]
        return None if life == "never" else timezone.now() + timedelta(days=int(life))
