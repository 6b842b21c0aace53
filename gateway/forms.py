from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from gateway.models import EngineType

TRIED = ("chat/completions", "completions", "embeddings")  # what the reference page tries out
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


class TrialForm(forms.Form):
    """A request to try. Nothing is checked here: what is wrong with it, the API says."""

    endpoint = forms.ChoiceField(label=_("Endpoint"), choices=[(path, f"/v1/{path}") for path in TRIED])
    model = forms.ChoiceField(label=_("Model"))
    text = forms.CharField(label=_("Text"), widget=forms.Textarea(attrs={"rows": 3}))
    temperature = forms.CharField(widget=forms.NumberInput(attrs={"step": "any"}))
    max_tokens = forms.CharField(widget=forms.NumberInput(attrs={"step": "any"}))
    stream = forms.BooleanField(label=_("As a stream"))

    use_required_attribute = False

    def __init__(self, *, models: Sequence[str], given: Mapping[str, Any]) -> None:
        super().__init__(initial={"text": _("Hello"), "max_tokens": 200, **given})
        self.fields["model"].choices = [(name, name) for name in models]  # type: ignore[attr-defined]  # a ChoiceField
        for name in ("temperature", "max_tokens"):
            self.fields[name].label = name


def trial(given: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The path and the body of the request that was asked for. Fields left empty are not sent."""
    path, text = given.get("endpoint", ""), given.get("text", "")
    path = path if path in TRIED else TRIED[0]
    body: dict[str, Any] = {"model": given.get("model", "")}
    match path:
        case "embeddings":
            return f"/v1/{path}", _filled({**body, "input": text})
        case "completions":
            body["prompt"] = text
        case _:
            body["messages"] = [{"role": "user", "content": text}] if text else ""
    numbers = {name: _number(given.get(name, "")) for name in ("temperature", "max_tokens")}
    return f"/v1/{path}", _filled({**body, **numbers, "stream": "stream" in given or ""})


def _filled(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value != ""}


def _number(text: str) -> int | float | str:
    """What JSON would call it; the text itself when it is no number, for the API to refuse."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
