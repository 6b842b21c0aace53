from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from gateway.models import Engine, EngineType, ServedModel
from gateway.rules import DEFAULTS, MOST

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


class EngineChangeForm(forms.Form):
    """What an operator changes of an engine. The demo has no address, no key and no fields to keep from it."""

    name = forms.CharField(label=_("Name"), max_length=100)
    url = forms.CharField(label=_("Address"), max_length=500, help_text=_("Up to and without /v1."))
    secret = forms.CharField(
        label=_("API key"),
        max_length=1000,
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )
    remove_secret = forms.BooleanField(label=_("Remove the stored key"), required=False)
    machine_name = forms.CharField(
        label=_("Machine name"),
        max_length=100,
        required=False,
        help_text=_("What callers see of the machine. Not its host name."),
    )
    weight = forms.IntegerField(
        label=_("Weight"),
        min_value=0,
        max_value=MOST,
        help_text=_("Its share of the calls to a model that several engines serve; 0: spare."),
    )
    max_concurrent = forms.IntegerField(
        label=_("Concurrent calls"),
        min_value=1,
        max_value=MOST,
        required=False,
        help_text=_("More wait for their turn. Empty: no limit."),
    )
    fields_open = forms.TypedChoiceField(
        label=_("Request fields that reach it"),
        choices=[("open", _("All but the denied ones")), ("closed", _("The documented ones, and those named here"))],
        coerce=lambda word: word == "open",
        widget=forms.RadioSelect,
    )
    allowed_fields = forms.CharField(
        label=_("Further fields"),
        required=False,
        max_length=10_000,
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono", "spellcheck": "false"}),
        help_text=_("One a line, such as guided_json. Only where not all are let through."),
    )

    def __init__(self, data: QueryDict | None = None, *, engine: Engine) -> None:
        initial = {
            "name": engine.name,
            "url": engine.url,
            "machine_name": engine.machine_name,
            "weight": engine.weight,
            "max_concurrent": engine.max_concurrent,
            "fields_open": "open" if engine.allowed_fields is None else "closed",
            "allowed_fields": "\n".join(engine.allowed_fields or []),
        }
        super().__init__(data, initial=initial)
        if engine.secret:
            self.fields["secret"].help_text = _("One is stored. Empty keeps it.")
        else:
            del self.fields["remove_secret"]
            self.fields["secret"].help_text = _("None is stored. It is kept encrypted and not shown again.")
        if engine.type == EngineType.DEMO:
            for name in ("url", "secret", "fields_open", "allowed_fields"):
                del self.fields[name]

    def words(self) -> dict[str, Any]:
        """As `change_engine` takes them."""
        given = self.cleaned_data
        return {
            "name": given["name"],
            "url": given.get("url", ""),
            "secret": given.get("secret") or ("" if given.get("remove_secret") else None),
            "machine_name": given["machine_name"],
            "weight": given["weight"],
            "max_concurrent": given["max_concurrent"],
            "allowed_fields": None if given.get("fields_open", True) else given["allowed_fields"].splitlines(),
        }


@dataclass(frozen=True, slots=True)
class Preset:
    """What a vendor gives a request that is silent, for those who come from there."""

    name: str
    title: str
    values: Mapping[str, float]


PRESETS = (
    Preset("cloud-temple", "Cloud Temple", {"temperature": 0.7, "top_p": 1.0, "max_tokens": 1024}),
    Preset("saptiva", "Saptiva", {"temperature": 0.7, "top_p": 0.9, "max_tokens": 600}),
)


class ModelForm(forms.Form):
    public_id = forms.CharField(
        label=_("Id"),
        max_length=200,
        widget=forms.TextInput(attrs={"class": "mono", "autocomplete": "off", "spellcheck": "false"}),
        help_text=_("What callers name. It may hold spaces, “:” and “/”."),
    )
    keep_old = forms.BooleanField(
        label=_("A former id stays as another name"),
        required=False,
        help_text=_("So that programs and conversations which name it go on."),
    )
    aliases = forms.CharField(
        label=_("Other names"),
        required=False,
        max_length=10_000,
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono", "spellcheck": "false"}),
        help_text=_("One a line. Upper and lower case are the same."),
    )
    enabled = forms.BooleanField(label=_("Offered to callers"), required=False)
    temperature = forms.FloatField(label="temperature", min_value=0, max_value=2, required=False)
    top_p = forms.FloatField(label="top_p", min_value=0, max_value=1, required=False)
    max_tokens = forms.IntegerField(
        label="max_tokens", min_value=1, max_value=DEFAULTS["max_tokens"][1], required=False
    )
    default_reserve = forms.IntegerField(
        label=_("The longest answer that a budget pays for unasked, in tokens"),
        min_value=1,
        max_value=DEFAULTS["max_tokens"][1],
        required=False,
        help_text=_("When a budget or credit binds the caller, and neither he nor the default says max_tokens."),
    )

    @classmethod
    def of(cls, model: ServedModel) -> "ModelForm":
        words = {"public_id": model.public_id, "aliases": "\n".join(model.aliases), "enabled": model.enabled}
        more = {"keep_old": True, "default_reserve": model.default_reserve}
        return cls(initial=model.defaults | words | more)

    @classmethod
    def with_preset(cls, given: Mapping[str, str], preset: Preset) -> "ModelForm":
        """What was typed, with the preset's defaults in their fields: to look at, not to save yet."""
        return cls(initial={name: given.get(name) for name in cls.base_fields} | dict(preset.values))

    def words(self) -> dict[str, Any]:
        """As `change_model` takes them."""
        given = self.cleaned_data
        return {
            "public_id": given["public_id"],
            "keep_old": given["keep_old"],
            "aliases": given["aliases"].splitlines(),
            "enabled": given["enabled"],
            "defaults": {name: given[name] for name in DEFAULTS if given[name] is not None},
            "default_reserve": given["default_reserve"],
        }

    def default_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in DEFAULTS]


class LifecycleForm(forms.Form):
    """How long callers may rely on a model, and what follows it."""

    retires_on = forms.DateField(
        label=_("Deprecated, and offered until"),
        required=False,
        widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"),
        help_text=_("Empty: not deprecated. On that day nothing is switched off by itself."),
    )
    successor = forms.ChoiceField(label=_("What to use in its stead"), required=False)
    on_status_page = forms.BooleanField(label=_("Shown on the public status page"), required=False)

    def __init__(self, data: QueryDict | None = None, *, model: ServedModel, others: Sequence[str]) -> None:
        fields = ("retires_on", "successor", "on_status_page")
        super().__init__(data, initial={name: getattr(model, name) for name in fields})
        names = dict.fromkeys([*others, *filter(None, [model.successor])])
        self.fields["successor"].choices = [("", _("Nothing in particular")), *((name, name) for name in names)]  # type: ignore[attr-defined]  # a ChoiceField


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
