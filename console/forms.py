"""Forms that span rooms."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import uuid4

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.keys import IssuedKey, issue_key
from accounts.models import Dialect, Team, User

LIVES = [("90", _("In 90 days")), ("30", _("In 30 days")), ("365", _("In 365 days")), ("never", _("Never"))]


class NewKeyForm(forms.Form):
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

    def __init__(self, *args: object, team: Team, models: Iterable[str], may_serve: bool, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # Django's own signature
        teams = _("The team's: %(dialect)s") % {"dialect": team.get_dialect_display()}
        self.fields["dialect"].choices = [("", teams), *Dialect.choices]  # type: ignore[attr-defined]
        self.fields["models"].choices = [(model, model) for model in models]  # type: ignore[attr-defined]
        if not may_serve:
            del self.fields["owner"]  # members make keys of their own alone

    def save(self, *, team: Team, by: User) -> IssuedKey:
        chosen = self.cleaned_data
        return issue_key(
            team=team,
            name=chosen["name"],
            by=by,
            owner=None if chosen.get("owner") == "team" else by,
            models=chosen["models"] or None,
            expires_at=self._expires_at(),
            dialect=chosen["dialect"],
            form_id=chosen["form_id"],
        )

    def _expires_at(self) -> datetime | None:
        life = self.cleaned_data["life"]
        return None if life == "never" else timezone.now() + timedelta(days=int(life))
