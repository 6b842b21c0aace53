from django import forms
from django.utils.translation import gettext_lazy as _

from gateway.models import EngineType

CONNECTABLE = [(kind.value, kind.label) for kind in EngineType if kind is not EngineType.DEMO]


class EngineForm(forms.Form):
    """What an operator says of an engine to connect."""

    name = forms.CharField(label=_("Name"), max_length=100)
    type = forms.ChoiceField(label=_("Type"), choices=CONNECTABLE)
    url = forms.CharField(
        label=_("Address"), max_length=500, help_text=_("Up to and without /v1, such as http://127.0.0.1:11434.")
    )
    secret = forms.CharField(
        label=_("API key"),
        max_length=1000,
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=_("Only if the engine asks for one. It is stored encrypted and not shown again."),
    )
    machine_name = forms.CharField(
        label=_("Machine name"),
        max_length=100,
        required=False,
        help_text=_("What callers see of the machine. Not its host name."),
    )
