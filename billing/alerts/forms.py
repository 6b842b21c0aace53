"""Forms of the alerts pages."""

from typing import Any

from django import forms
from django.utils.translation import gettext as now_
from django.utils.translation import gettext_lazy as _

from accounts.models import Team, User
from billing.alerts.show import REASONS
from billing.alerts.webhooks import MOST, add_webhook
from billing.alerts.wishes import Hearer, choose, watch
from billing.errors import AddressRefused, TooManyWebhooks
from billing.models import Watching, Webhook

MOST_TOKENS = 10**15


class WatchForm(forms.Form):
    """What a team is told of, and from where on."""

    budgets = forms.BooleanField(label=_("Budgets at 50, 80 and 100 %, and credit that runs out"), required=False)
    keys = forms.BooleanField(label=_("Keys unused for 90 days, and keys that expire"), required=False)
    spikes = forms.BooleanField(label=_("A key is suddenly used much"), required=False)
    spike_times = forms.IntegerField(label=_("Times the usual"), min_value=2, max_value=1000)
    spike_floor = forms.IntegerField(label=_("And at least, in tokens"), min_value=0, max_value=MOST_TOKENS)
    error_percent = forms.IntegerField(
        label=_("Failed requests, in percent"), min_value=1, max_value=100, required=False, help_text=_("Empty: never.")
    )
    first_token_ms = forms.IntegerField(
        label=_("First token, in milliseconds"),
        min_value=1,
        max_value=3_600_000,
        required=False,
        help_text=_("What 95 in 100 requests stay below. Empty: never."),
    )
    window_minutes = forms.TypedChoiceField(
        label=_("Measured over"),
        choices=[(15, _("15 minutes")), (30, _("30 minutes")), (60, _("an hour"))],
        coerce=int,
    )
    least_requests = forms.IntegerField(label=_("Of at least so many requests"), min_value=1, max_value=1_000_000)
    monthly_report = forms.BooleanField(label=_("A report of each month by mail"), required=False)

    @classmethod
    def of(cls, watching: Watching, data: Any = None) -> "WatchForm":
        return cls(data, initial={name: getattr(watching, name) for name in cls.base_fields})

    def save(self, *, team: Team, by: User) -> None:
        watch(team=team, by=by, **self.cleaned_data)


class HearersForm(forms.Form):
    """Who of the team gets which mails: a box for each person and kind."""

    def __init__(self, data: Any = None, *, people: list[Hearer]) -> None:
        super().__init__(data)
        choices = [(one.user.pk, str(one.user)) for one in people]
        for name in ("alerts", "reports"):
            self.fields[name] = forms.TypedMultipleChoiceField(choices=choices, coerce=int, required=False)

    def save(self, *, team: Team, by: User) -> None:
        given = self.cleaned_data
        choose(team=team, alerts=set(given["alerts"]), reports=set(given["reports"]), by=by)


class WebhookForm(forms.Form):
    url = forms.CharField(
        label=_("Address"),
        max_length=500,
        widget=forms.TextInput(
            attrs={"inputmode": "url", "autocomplete": "off", "spellcheck": "false", "placeholder": "https://"}
        ),
        help_text=_("It gets each alert as JSON, signed as Standard Webhooks are."),
    )

    def save(self, *, team: Team | None, by: User) -> tuple[Webhook, str] | None:
        """The webhook and its secret; None, and the form says why."""
        try:
            return add_webhook(team=team, url=self.cleaned_data["url"], by=by)
        except AddressRefused as error:
            self.add_error("url", now_(REASONS[error.reason]))
        except TooManyWebhooks:
            self.add_error("url", now_("There are %(most)s already; remove one first.") % {"most": MOST})
        return None
