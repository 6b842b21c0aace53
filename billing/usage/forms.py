from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.db.models import TextChoices
from django.forms.utils import flatatt
from django.http import QueryDict
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from billing.models import Origin, Outcome
from billing.moments import city
from billing.usage.names import ERROR
from billing.usage.periods import Period, last_days, last_month, this_month
from billing.usage.questions import Bucket, Compared, Filters, Group, Metric, Question, Scope

LONGEST = 366  # days: a year, leap day included
EARLIEST = date(2000, 1, 1)
DAYS_UP_TO = 92  # a bar for each day; of more, one for each week
MOST_DAYS = {Bucket.HOUR: 14, Bucket.DAY: 186}  # that are drawn in such bars: more could not be pointed at
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


GROUPS = {
    Group.MODEL: _("Group by model"),
    Group.KEY: _("Group by key"),
    Group.MEMBER: _("Group by person"),
    Group.ORIGIN: _("Group by origin"),
    Group.OUTCOME: _("Group by outcome"),
    Group.TOKENS: _("Group by token type"),
    Group.TEAM: _("Group by team"),
}
METRICS = [
    (Metric.TOKENS.value, _("Tokens")),
    (Metric.REQUESTS.value, _("Requests")),
    (Metric.COST.value, _("Cost")),
]
ORIGINS = [("", _("Chat and API")), (Origin.CHAT.value, _("Chat only")), (Origin.API.value, _("API only"))]
BUCKETS = [
    ("", _("Bars: automatic")),
    (Bucket.HOUR.value, _("Bars: hours")),
    (Bucket.DAY.value, _("Bars: days")),
    (Bucket.WEEK.value, _("Bars: weeks")),
    (Bucket.MONTH.value, _("Bars: months")),
]
OFF = "off"  # in the address, where nothing is the usual: compared with the days before


class Dropdown(forms.Select):
    """A select without groups, written at once: Django goes through two templates for each option of it."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        chosen = self.format_value(value)
        options = format_html_join(
            "",
            '<option value="{}"{}>{}</option>',
            ((key, mark_safe(" selected") if str(key) in chosen else "", label) for key, label in self.choices),
        )
        return format_html(
            "<select{}>{}</select>", flatatt({"name": name, **self.build_attrs(self.attrs, attrs)}), options
        )


class Measures(forms.RadioSelect):
    """`without`: what cannot be chosen here, and why in words."""

    def __init__(self) -> None:
        super().__init__()
        self.without: dict[str, str] = {}

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option = super().create_option(name, value, *args, **kwargs)
        if why := self.without.get(value):
            option["attrs"] |= {"disabled": True, "title": why}
        return option


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


def _outcome(text: str) -> str:
    return text if text == ERROR else Outcome(text).value


class UsageForm(forms.Form):
    """The state of the usage page, all of it in the address. What is absent or wrong falls back to the default."""

    period = forms.ChoiceField(label=_("Period"), choices=Preset.choices, required=False, widget=forms.RadioSelect)
    first = forms.DateField(label=_("From"), required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))
    last = forms.DateField(label=_("To"), required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))
    group = forms.ChoiceField(label=_("Group by"), required=False, widget=Dropdown)
    origin = forms.ChoiceField(label=_("Origin"), choices=ORIGINS, required=False, widget=Dropdown)
    metric = forms.ChoiceField(label=_("Measure"), choices=METRICS, required=False, widget=Measures)
    zone = forms.ChoiceField(label=_("Time zone"), required=False, widget=Dropdown)
    bucket = forms.ChoiceField(label=_("Bars"), choices=BUCKETS, required=False, widget=Dropdown)
    compare = forms.ChoiceField(label=_("Comparison"), required=False, widget=Dropdown)
    sort = forms.CharField(required=False, max_length=32)
    model = Several(_name)
    key = Several(_number)
    member = Several(_number)
    outcome = Several(_outcome)
    team = Several(_number)

    def __init__(self, data: QueryDict, *, scope: Scope, now: datetime) -> None:
        zone = ZoneInfo("UTC" if data.get("zone") == "UTC" and scope.team else scope.zone)
        today = now.astimezone(zone).date()
        filled = data.copy()
        for name, value in (
            ("period", Preset.MONTH), ("group", scope.groups[0]), ("metric", Metric.TOKENS),
            ("compare", Compared.BEFORE),
        ):  # fmt: skip
            filled[name] = filled.get(name) or str(value)
        # The two days are there for whoever picks "other" next.
        filled["first"] = filled.get("first") or (today - timedelta(days=29)).isoformat()
        filled["last"] = filled.get("last") or today.isoformat()
        super().__init__(filled, use_required_attribute=False)
        self._scope, self._today, self._zone, self._filled = scope, today, zone, filled
        self._choices("group", [(group.value, GROUPS[group]) for group in scope.groups])
        self._choices("zone", [("", _("Days of %s") % city(scope.zone)), ("UTC", _("Days of UTC"))])
        self._choices("compare", [(Compared.BEFORE, ""), (Compared.WEEKDAYS, ""), (OFF, "")])
        self.zones = scope.team is not None and scope.zone != "UTC"  # whether there is anything to choose
        self.instead = ""  # why it is not as it was asked, in words

    def _choices(self, name: str, choices: list[tuple[str, Any]]) -> None:
        chosen = self.fields[name]
        assert isinstance(chosen, forms.ChoiceField)  # noqa: S101  # for the types: it is one
        chosen.choices = choices

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
        cleaned, scope = self.cleaned_data, self._scope
        period = self._period()
        group = Group(cleaned.get("group") or scope.groups[0])
        question = Question(
            scope=scope,
            period=period,
            group=group,
            metric=self._metric(group),
            bucket=self._bucket(period),
            filters=self._filters(),
            compared=_compared(cleaned.get("compare")),
            sort=cleaned.get("sort") or "",
        )
        self._say_comparison(question)
        return question

    def state(self) -> dict[str, Any]:
        """What the address needs to say the same again: what is not as usual, in one order. After `question`."""
        said: dict[str, Any] = {}
        usual = {"period": Preset.MONTH, "group": self._scope.groups[0], "metric": Metric.TOKENS,
                 "compare": Compared.BEFORE}  # fmt: skip
        for name in self.fields:
            value = self.cleaned_data.get(name)
            if name in {"first", "last"}:
                value = value and value.isoformat() if self.cleaned_data.get("period") == Preset.CUSTOM else None
            said[name] = "" if value == usual.get(name) else value
        return said

    def _metric(self, group: Group) -> Metric:
        """A request has tokens of several types, so there is none of one type: tokens are shown, and it is said."""
        metric = Metric(self.cleaned_data.get("metric") or Metric.TOKENS)
        if group != Group.TOKENS:
            return metric
        widget = self.fields["metric"].widget
        assert isinstance(widget, Measures)  # noqa: S101  # for the types: it is one
        widget.without = {Metric.REQUESTS.value: gettext("A request has tokens of several types")}
        if metric == Metric.REQUESTS:
            self.instead = gettext("A request has tokens of several types, so these are tokens, not requests.")
            metric = self.cleaned_data["metric"] = self._filled["metric"] = Metric.TOKENS
        return metric

    def _bucket(self, period: Period) -> Bucket:
        """More bars than can be pointed at are not drawn, and it is said."""
        asked = Bucket(self.cleaned_data["bucket"]) if self.cleaned_data.get("bucket") else None
        if asked and period.length <= MOST_DAYS.get(asked, LONGEST):
            return asked
        if asked:
            by_hour = gettext("Bars by hour are for %s days at most.")
            by_day = gettext("Bars by day are for %s days at most.")
            said = (by_hour if asked == Bucket.HOUR else by_day) % MOST_DAYS[asked]
            self.instead = f"{self.instead} {said}".strip()
            self.cleaned_data["bucket"] = self._filled["bucket"] = ""
        return _fitting(period)

    def _filters(self) -> Filters:
        """Only by what the scope can be filtered by."""
        cleaned, scope = self.cleaned_data, self._scope
        if Group.KEY not in scope.groups:
            cleaned["key"] = ()
        if Group.MEMBER not in scope.groups:
            cleaned["member"] = ()
        if Group.TEAM not in scope.groups:
            cleaned["team"] = ()
        return Filters(
            models=cleaned["model"],
            keys=cleaned["key"],
            members=cleaned["member"],
            origins=(cleaned["origin"],) if cleaned.get("origin") else (),
            outcomes=cleaned["outcome"],
            teams=cleaned["team"],
        )

    def _say_comparison(self, question: Question) -> None:
        """How many days are compared depends on the period."""
        days = question.period.length
        before = ngettext("Compare with the day before", "Compare with the %(days)s days before", days)
        self._choices("compare", [
            (Compared.BEFORE, before % {"days": days}),
            (Compared.WEEKDAYS, _("Compare on the same weekdays")),
            (OFF, _("No comparison")),
        ])  # fmt: skip

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


def _compared(said: str | None) -> Compared:
    if said == OFF:
        return Compared.NOT
    return Compared(said) if said else Compared.BEFORE


def _fitting(period: Period) -> Bucket:
    """So many bars that they can be told apart."""
    if period.by_hour:
        return Bucket.HOUR
    return Bucket.DAY if period.length <= DAYS_UP_TO else Bucket.WEEK
