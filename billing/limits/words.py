"""Limits in the words of their reader."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from billing.limits.windows import MINUTE, WINDOWS, Bounds, Standing, Window
from billing.models import Tier

# What a number of it in its time is called. Functions, since each has a plural of its own.
_PHRASES: dict[str, Callable[[int], str]] = {
    "requests_per_minute": lambda n: ngettext("%(n)s request a minute", "%(n)s requests a minute", n),
    "requests_per_day": lambda n: ngettext("%(n)s request a day", "%(n)s requests a day", n),
    "tokens_per_minute": lambda n: ngettext("%(n)s token a minute", "%(n)s tokens a minute", n),
    "tokens_per_day": lambda n: ngettext("%(n)s token a day", "%(n)s tokens a day", n),
    "output_tokens_per_hour": lambda n: ngettext("%(n)s output token an hour", "%(n)s output tokens an hour", n),
    "output_tokens_per_day": lambda n: ngettext("%(n)s output token a day", "%(n)s output tokens a day", n),
    "concurrent_requests": lambda n: ngettext("%(n)s request at once", "%(n)s requests at once", n),
}
WHOSE = {
    "team": gettext_lazy("of the team"),
    "key": gettext_lazy("of the key"),
    "member": gettext_lazy("of yours"),
}
_NAMES = {window.name: window for window in WINDOWS}
SOON = 120  # seconds


@dataclass(frozen=True, slots=True)
class Shown:
    """One window as a page shows it. `share` is what is used, in whole percent; `resets` is None where nothing does."""

    label: str
    used: int
    limit: int
    share: int
    resets: dt.datetime | None

    @property
    def is_soon(self) -> bool:
        return self.resets is not None and (self.resets - timezone.now()).total_seconds() < MINUTE

    @property
    def state(self) -> str:
        """How near its end it is: a class of the meter's."""
        return "warn" if self.share >= 80 else ""


def shown(standing: Standing) -> Shown:
    at = dt.datetime.fromtimestamp(standing.reset, dt.UTC) if standing.rule.window.span else None
    share = min(100, standing.used * 100 // standing.limit)
    return Shown(label(standing.rule.window), standing.used, standing.limit, share, at)


def label(window: Window) -> str:
    return str(Tier._meta.get_field(window.field).verbose_name)  # type: ignore[union-attr]  # a column, no relation


def phrases(bounds: Bounds) -> list[str]:
    """Each limit in words, in the order of the forms."""
    return [
        _PHRASES[field](value) % {"n": number_format(value, use_l10n=True, force_grouping=True)}
        for field in _PHRASES
        if (value := getattr(bounds, field)) is not None
    ]


def refused(limit: str) -> str:
    """A sentence on a full window, from `gateway.errors.OverLimit.limit`; empty for what is none."""
    whose, _colon, rest = limit.partition(":")
    name, _colon, until = rest.partition(":")
    if whose not in WHOSE or name not in _NAMES or not until.isdigit():
        return ""
    words = {"window": label(_NAMES[name]).lower(), "whose": WHOSE[whose], "when": _when(int(until))}
    return _("A limit %(whose)s is reached: %(window)s. Your question is kept; ask again %(when)s.") % words


def _when(until: int) -> str:
    now, then = timezone.localtime(), timezone.localtime(dt.datetime.fromtimestamp(until, dt.UTC))
    if (then - now).total_seconds() <= SOON:
        return _("in a moment")
    if then.date() == now.date():
        return _("after %(time)s") % {"time": date_format(then, "TIME_FORMAT")}
    return _("after %(time)s") % {"time": date_format(then, "SHORT_DATETIME_FORMAT")}
