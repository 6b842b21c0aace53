from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.db.models import TextChoices
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from billing.models import Origin, Outcome
from billing.usage.periods import Period, last_days, last_month, this_month
from billing.usage.questions import Bucket, Compared, Filters, Group, Metric, Question, Scope

LONGEST = 366  # days: a year, leap day included
EARLIEST = date(2000, 1, 1)
DAYS_UP_TO = 92  # a bar for each day; of more, one for each week
MOST_VALUES = 50  # of one filter
LONGEST_NAME = 200
LONGEST_NUMBER = 18  # digits: what a bigint holds


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


class Several(forms.Field):
    """Values that stand in the address once each. What cannot be one is left out, as what is absent."""

    widget = forms.MultipleHiddenInput

    def __init__(self, kind: Callable[[str], Any]) -> None:
        super().__init__(required=False)
        self._kind = kind

    def to_python(self, value: Any) -> tuple[Any, ...]:
        found = []
        for text in (value or [])[:MOST_VALUES]:
            with suppress(ValueError):
                found.append(self._kind(text))
        return tuple(dict.fromkeys(found))


def _name(text: str) -> str:
    if not text or len(text) > LONGEST_NAME or "\0" in text:
        raise ValueError(text)
    return text


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > LONGEST_NUMBER:
        raise ValueError(text)
    return int(text)


class UsageForm(forms.Form):
    """The state of the usage page, all of it in the address. What is absent or wrong falls back to the default."""

    period = forms.ChoiceField(label=_("Period"), choices=Preset.choices, required=False, widget=forms.RadioSelect)
    first = forms.DateField(label=_("From"), required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))
    last = forms.DateField(label=_("To"), required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))
    group = forms.ChoiceField(label=_("Group by"), choices=GROUPS, required=False)
    origin = forms.ChoiceField(label=_("Origin"), choices=ORIGINS, required=False)
    metric = forms.ChoiceField(label=_("Measure"), choices=METRICS, required=False, widget=forms.RadioSelect)
    zone = forms.ChoiceField(choices=[("", ""), ("UTC", "UTC")], required=False)
    bucket = forms.ChoiceField(choices=[("", ""), *((bucket.value, "") for bucket in Bucket)], required=False)
    compare = forms.ChoiceField(choices=[(compared.value, "") for compared in Compared], required=False)
    sort = forms.CharField(required=False, max_length=32)
    model = Several(_name)
    key = Several(_number)
    member = Several(_number)
    outcome = Several(Outcome)
    team = Several(_number)

    def __init__(self, data: QueryDict, *, scope: Scope, now: datetime) -> None:
        zone = ZoneInfo("UTC" if data.get("zone") == "UTC" else scope.zone)
        today = now.astimezone(zone).date()
        filled = data.copy()
        for name, value in (("period", Preset.MONTH), ("group", Group.MODEL), ("metric", Metric.TOKENS)):
            filled[name] = filled.get(name) or str(value)
        # The two days are there for whoever picks "other" next.
        filled["first"] = filled.get("first") or (today - timedelta(days=29)).isoformat()
        filled["last"] = filled.get("last") or today.isoformat()
        super().__init__(filled, use_required_attribute=False)
        self._scope, self._today, self._zone = scope, today, zone

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

    def question(self) -> Question:
        self.is_valid()
        cleaned = self.cleaned_data
        period = self._period()
        return Question(
            scope=self._scope,
            period=period,
            group=Group(cleaned.get("group") or Group.MODEL),
            metric=Metric(cleaned.get("metric") or Metric.TOKENS),
            bucket=Bucket(cleaned.get("bucket") or _fitting(period)),
            filters=Filters(
                models=cleaned["model"],
                keys=cleaned["key"],
                members=cleaned["member"],
                origins=(cleaned["origin"],) if cleaned.get("origin") else (),
                outcomes=tuple(map(str, cleaned["outcome"])),
                teams=cleaned["team"],
            ),
            compared=Compared(cleaned.get("compare") or Compared.NOT),
            sort=cleaned.get("sort") or "",
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


def _fitting(period: Period) -> Bucket:
    """So many bars that they can be told apart."""
    if period.by_hour:
        return Bucket.HOUR
    return Bucket.DAY if period.length <= DAYS_UP_TO else Bucket.WEEK
