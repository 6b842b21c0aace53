from datetime import datetime, timedelta
from uuid import uuid4

from django import forms
from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.people import prefer, rename_person

THEME_COOKIE = "theme"
THEMES = [("", _("as the system")), ("light", _("light")), ("dark", _("dark"))]


class PreferencesForm(forms.Form):
    """Each field may come alone: the user menu has a button per choice."""

    language = forms.ChoiceField(choices=settings.LANGUAGES, required=False)
    theme = forms.ChoiceField(choices=[*THEMES, ("system", _("as the system"))], required=False)

    def save(self, user: User) -> None:
        theme = self.cleaned_data["theme"] or None
        prefer(user=user, language=self.cleaned_data["language"], theme="" if theme == "system" else theme)

    def cookies(self) -> dict[str, str]:
        chosen = {
            settings.LANGUAGE_COOKIE_NAME: self.cleaned_data["language"],
            THEME_COOKIE: self.cleaned_data["theme"],
        }
        return {name: value for name, value in chosen.items() if value}


class ProfileForm(forms.Form):
    name = forms.CharField(
        label=_("Name"),
        max_length=150,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
        help_text=_("What the console calls you, and what the others in your teams see."),
    )

    def save(self, user: User) -> None:
        rename_person(user=user, name=self.cleaned_data["name"])


class KeyFilterForm(forms.Form):
    q = forms.CharField(required=False, max_length=100, strip=True)
    state = forms.ChoiceField(
        choices=[("", _("All")), ("active", _("Active")), ("closed", _("Closed"))], required=False
    )


class AdminKeyForm(forms.Form):
    """A key that programs read usage and costs with."""

    form_id = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4, required=False)
    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        widget=forms.TextInput(attrs={"placeholder": _("What reads with it: monthly-costs"), "autocomplete": "off"}),
    )
    life = forms.ChoiceField(
        label=_("Expires"),
        choices=[("90", _("In 90 days")), ("30", _("In 30 days")), ("365", _("In 365 days")), ("never", _("Never"))],
    )

    use_required_attribute = False

    def expires_at(self) -> datetime | None:
        life = self.cleaned_data["life"]
        return None if life == "never" else timezone.now() + timedelta(days=int(life))
