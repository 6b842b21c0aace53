"""The use of models in words, made from the numbers shown. They never claim a cause."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.urls import NoReverseMatch, reverse
from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import Team
from billing.moments import zone_in_words
from billing.numbers import compact, money, percent, seconds, whole
from billing.usage.captions import days_in_words
from billing.usage.charts import Spark, spark
from billing.usage.questions import address
from gateway.availability.captions import retires
from gateway.use.last import Last
from gateway.use.reports import Idle, InUse, ModelUse

NOTABLE = 0.4  # a model with this share of the tokens is named in the heading
MANY_FAILED = 0.05


@dataclass(frozen=True, slots=True)
class Named:
    label: str
    tokens: str
    url: str


@dataclass(frozen=True, slots=True)
class Row:
    """A used model. `marks` are what to mind about it, each with its look and what it says in full."""

    pk: int | None
    name: str
    url: str
    log_url: str
    marks: tuple[tuple[str, str, str], ...]
    share: str
    meter: str  # a width in per cent
    requests: str
    tokens: str
    flow: str
    spark: Spark
    users: tuple[Named, ...]
    others: str
    last: str
    cost: str
    failed: str
    failed_look: str
    first_token: str


@dataclass(frozen=True, slots=True)
class IdleRow:
    pk: int
    name: str
    marks: tuple[tuple[str, str, str], ...]
    last: str
    since: str


def lead(report: InUse) -> str:
    """The period, the zone and how fresh the numbers are."""
    period, read_at = report.question.period, report.read_at.astimezone(report.question.period.zone)
    said = {
        "days": days_in_words(period),
        "zone": zone_in_words(read_at, period.zone.key),
        "time": formats.time_format(read_at, "H:i:s"),
    }
    return _("%(days)s, %(zone)s. Data up to %(time)s.") % said


def heading(report: InUse) -> str:
    """The finding; a plain one when nothing stands out."""
    if not report.used:
        return _("No model was used")
    first, count = report.used[0], len(report.used)
    said = ngettext("%s model was used", "%s models were used", count) % whole(count)
    share = first.tokens / report.tokens if report.tokens else 0.0
    if count > 1 and share >= NOTABLE:
        said = _("%(said)s; %(name)s has %(part)s of the tokens") % {
            "said": said,
            "name": first.model,
            "part": percent(share),
        }
    return said


def farewells(report: InUse) -> list[tuple[str, str]]:
    """Deprecated models that are still used: the sentence, and who has to move."""
    told = []
    for one in report.on_the_way_out:
        offer = one.offer
        if offer is None:
            continue
        names = ", ".join(user.label for user in one.users)
        if one.others:
            names = ngettext("%(names)s and %(others)s more", "%(names)s and %(others)s more", one.others) % {
                "names": names,
                "others": whole(one.others),
            }
        told.append((f"{one.model} – {retires(offer.retires_on, offer.successor)}", _("Still used by %s.") % names))
    return told


def rows(report: InUse, given: dict[str, str], team: Team | None) -> list[Row]:
    """`given` is the page's own question of time, which every link carries on."""
    most = max((one.tokens for one in report.used), default=0)
    return [_row(one, report, given, team, most) for one in report.used]


def _row(one: ModelUse, report: InUse, given: dict[str, str], team: Team | None, most: int) -> Row:
    share = one.tokens / report.tokens if report.tokens else 0.0
    line = one.line if report.running is None else one.line[: report.running]
    thousand = one.cost_of_thousand
    more = ngettext("and %s more", "and %s more", one.others) % whole(one.others) if one.others else ""
    return Row(
        pk=one.offer.pk if one.offer else None,
        name=one.model,
        url=usage_url(team, {**given, "model": one.model}),
        log_url=_url("billing:log", team, {**given, "model": one.model}) if team else "",
        marks=tuple(_marks(one)),
        share=percent(share),
        meter=f"{100 * one.tokens / most:.1f}" if most else "0",
        requests=whole(one.requests),
        tokens=compact(one.tokens),
        flow=_("in %(read)s, out %(written)s")
        % {"read": compact(one.prompt_tokens), "written": compact(one.completion_tokens)},
        spark=spark([float(number) for number in line]),
        users=tuple(
            Named(user.label, compact(user.tokens), usage_url(team, {**given, "model": one.model, user.kind: user.id}))
            for user in one.users
        ),
        others=more,
        last=last_said(one.last, report.read_at, report.question.period.zone) if one.last else "–",
        cost=_("no price") if thousand is None else money(thousand),
        failed=percent(one.error_share),
        failed_look="bad" if one.error_share >= MANY_FAILED else "",
        first_token="–" if one.first_token is None else seconds(one.first_token),
    )


def _marks(one: ModelUse) -> Sequence[tuple[str, str, str]]:
    marks = []
    if one.offer is None:
        marks.append(("off", _("no longer offered"), ""))
    elif one.offer.retires_on:
        marks.append(("warn", _("deprecated"), retires(one.offer.retires_on, one.offer.successor)))
    if not one.has_price and one.offer is not None:
        marks.append(("off", _("no price"), ""))
    return marks


def idle_rows(report: InUse) -> list[IdleRow]:
    """Those never used first, then those whose last use lies longest back."""
    ordered = sorted(report.idle, key=lambda one: (one.last is not None, one.last, one.offer.model))
    return [_idle(one) for one in ordered]


def _idle(one: Idle) -> IdleRow:
    marks = []
    if one.offer.retires_on:
        marks.append(("warn", _("deprecated"), retires(one.offer.retires_on, one.offer.successor)))
    if not one.has_price:
        marks.append(("off", _("no price"), ""))
    last = formats.date_format(one.last, "DATE_FORMAT") if one.last else _("never used")
    return IdleRow(
        one.offer.pk, one.offer.model, tuple(marks), last, formats.date_format(one.offer.since, "DATE_FORMAT")
    )


def last_said(last: Last, now: datetime, zone: ZoneInfo) -> str:
    """Today and yesterday in words; to the minute where the log has the call."""
    local, today = last.at.astimezone(zone), now.astimezone(zone).date()
    time = formats.time_format(local, "H:i")
    if not last.exact:
        time = _("about %s") % time
    if local.date() == today:
        return _("today %s") % time
    if local.date() == today - timedelta(days=1):
        return _("yesterday %s") % time
    return f"{formats.date_format(local, 'SHORT_DATE_FORMAT')} {time}"


def usage_url(team: Team | None, fields: dict[str, object]) -> str:
    """The page that shows the same rows one by one; empty where there is none."""
    return _url("billing:usage" if team else "billing:platform-usage", team, fields)


def _url(name: str, team: Team | None, fields: dict[str, object] | dict[str, str]) -> str:
    try:
        place = reverse(name, args=[team.slug] if team else [])
    except NoReverseMatch:
        return ""
    return f"{place}?{address(**fields)}"
