from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _

from billing.models import Origin
from billing.usage.captions import Metric
from billing.usage.periods import Period, last_days, last_month, this_month
from billing.usage.reports import Group

LONGEST = 366  # days: a year, leap day included
EARLIEST = date(2000, 1, 1)


class Preset(TextChoices):
    TODAY = "today", _("Today")
    WEEK = "7d", _("7 days")
    MONTH = "30d", _("30 days")
    THIS_MONTH = "month", _("This month")
    LAST_MONTH = "last-month", _("Last month")
    CUSTOM = "custom", _("Other")


GROUPS = [
    (Group.MODEL.value, _("Group by model")),
    (Group.KEY.value, _("Group by key")),
    (Group.MEMBER.value, _("Group by person")),
    (Group.ORIGIN.value, _("Group by origin")),
]
METRICS = [
    (Metric.TOKENS.value, _("Tokens")),
    (Metric.REQUESTS.value, _("Requests")),
    (Metric.COST.value, _("Cost")),
]
ORIGINS = [("", _("Chat and API")), (Origin.CHAT.value, _("Chat only")), (Origin.API.value, _("API only"))]


@dataclass(frozen=True, slots=True)
class View:
    """What the page is asked to show."""

    period: Period
    group: Group
    metric: Metric
    origin: str


class UsageForm(forms.Form):
    """The state of the usage page, all of it in the address. What is absent or wrong falls back to the default."""

    period = forms.ChoiceField(label=_("Period"), choices=Preset.choices, required=False, widget=forms.RadioSelect)
    first = forms.DateField(label=_("From"), required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))
    last = forms.DateField(label=_("To"), required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))
    group = forms.ChoiceField(label=_("Group by"), choices=GROUPS, required=False)
    origin = forms.ChoiceField(label=_("Origin"), choices=ORIGINS, required=False)
    metric = forms.ChoiceField(label=_("Measure"), choices=METRICS, required=False, widget=forms.RadioSelect)

    def __init__(self, data: Any, *, today: date, zone: ZoneInfo) -> None:
        filled = data.copy()
        for name, value in (("period", Preset.MONTH), ("group", Group.MODEL), ("metric", Metric.TOKENS)):
            filled[name] = filled.get(name) or str(value)
        # The two days are there for whoever picks "other" next.
        filled["first"] = filled.get("first") or (today - timedelta(days=29)).isoformat()
        filled["last"] = filled.get("last") or today.isoformat()
        super().__init__(filled, use_required_attribute=False)
        self._today, self._zone = today, zone

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        first, last = cleaned.get("first"), cleaned.get("last")
        if cleaned.get("period") == Preset.CUSTOM and first and last:
            if first < EARLIEST or last > self._today + timedelta(days=LONGEST):
                self.add_error("first", _("There is nothing to show for these days."))
            elif last < first:
                self.add_error("last", _("This day is before the first one."))
            elif (last - first).days >= LONGEST:
                self.add_error("last", _("At most a year can be shown at once."))
        return cleaned

    def view(self) -> View:
        self.is_valid()
        cleaned = self.cleaned_data
        return View(
            period=self._period(),
            group=Group(cleaned.get("group") or Group.MODEL),
            metric=Metric(cleaned.get("metric") or Metric.TOKENS),
            origin=cleaned.get("origin") or "",
        )

    def _period(self) -> Period:
        cleaned, today, zone = self.cleaned_data, self._today, self._zone
        match cleaned.get("period"):
            case Preset.TODAY:
                return Period(today, today, zone)
            case Preset.WEEK:
                return last_days(7, today, zone)
            case Preset.THIS_MONTH:
                return this_month(today, zone)
            case Preset.LAST_MONTH:
                return last_month(today, zone)
            case Preset.CUSTOM if cleaned.get("first") and cleaned.get("last"):
                return Period(cleaned["first"], cleaned["last"], zone)
        return last_days(30, today, zone)
