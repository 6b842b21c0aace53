"""The six figures of a report: how much, how it changed, and how it went from bucket to bucket."""

from dataclasses import dataclass
from decimal import Decimal

from babel.numbers import format_decimal
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing import numbers
from billing.usage import captions
from billing.usage.charts import Spark, spark
from billing.usage.questions import Compared, Group, Question
from billing.usage.reports import Report
from billing.usage.sums import Sums

LEAST_POINTS = 0.05  # of a hundred
LEAST_WAIT = 0.02  # of the time before: histograms tell no finer


@dataclass(frozen=True, slots=True)
class Delta:
    """A change in words: the arrow and the amount, then what it is compared with. `tone`: "good", "warn" or neither."""

    amount: str = ""
    words: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A number and, set smaller, its unit."""

    value: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    name: str  # by which the page knows what it leads to
    label: str
    parts: tuple[Part, ...]
    delta: Delta
    note: str
    spark: Spark


def figures(report: Report, refused: int | None) -> list[Figure]:
    """`refused`: calls that were not admitted; None where they cannot be told apart as the question does."""
    return [
        _tokens(report),
        _requests(report),
        _cost(report),
        _active(report),
        _errors(report, refused),
        _first_token(report),
    ]


def _tokens(report: Report) -> Figure:
    total = report.total
    note = _("in %(read)s, out %(written)s") % {
        "read": numbers.compact(total.prompt_tokens),
        "written": numbers.compact(total.completion_tokens),
    }
    delta = change(total.tokens, report.before.tokens, report.question, short=True)
    part = Part(*numbers.compact_parts(total.tokens))
    return Figure("tokens", _("Tokens"), (part,), delta, note, _spark(report, [one.tokens for one in report.buckets]))


def _requests(report: Report) -> Figure:
    total = report.total.requests
    delta = change(total, report.before.requests, report.question)
    drawn = _spark(report, [one.requests for one in report.buckets])
    return Figure("requests", _("Requests"), (Part(numbers.whole(total)),), delta, "", drawn)


def _cost(report: Report) -> Figure:
    total = report.total
    drawn = _spark(report, [float(one.cost) for one in report.buckets])
    if not total.priced:
        said = Delta(words=_("No price was in force for these models"))
        return Figure("cost", _("Cost"), (Part("–"),), said, "", drawn)
    # That it costs less is no good news by itself, and that it costs more no bad one.
    delta = change(total.cost, report.before.cost, report.question, short=True)
    return Figure("cost", _("Cost"), (Part(numbers.money(total.cost)),), delta, _cost_note(total), drawn)


def _cost_note(total: Sums) -> str:
    notes = []
    if total.estimated_tokens:
        notes.append(_("%s of the tokens estimated") % numbers.percent(total.estimated_share))
    if unpriced := total.requests - total.priced_requests:
        without = ngettext("%s request without a price", "%s requests without a price", unpriced)
        notes.append(without % numbers.whole(unpriced))
    return " · ".join(notes)


def _active(report: Report) -> Figure:
    active = report.active
    parts = tuple(Part(numbers.whole(one.now), _unit(group, one.now)) for group, one in active.items())
    last = report.question.scope.counted[-1]
    now, before = active[last].now, active[last].before
    drawn = _spark(report, [active[last].buckets.get(place, 0) for place in range(len(report.moments))])
    if not report.compared or now == before:
        delta = Delta(words=_("as before") if report.compared else "")
    else:
        more = abs(now - before)
        delta = Delta(f"{_arrow(now - before)} {numbers.whole(more)}", _more(last, more, up=now > before))
    label = {
        Group.MEMBER: _("Keys and people"),
        Group.TEAM: _("Models and teams"),
        Group.MODEL: _("Keys and models") if len(active) > 1 else _("Models"),
    }[last]
    return Figure("active", label, parts, delta, "", drawn)


def _unit(group: Group, number: int) -> str:
    match group:
        case Group.KEY:
            return ngettext("key", "keys", number)
        case Group.MEMBER:
            return ngettext("person", "people", number)
        case Group.TEAM:
            return ngettext("team", "teams", number)
        case _:
            return ngettext("model", "models", number)


def _more(group: Group, number: int, *, up: bool) -> str:
    match group:
        case Group.MEMBER:
            more = ngettext("more person than before", "more people than before", number)
            less = ngettext("person less than before", "people less than before", number)
        case Group.TEAM:
            more = ngettext("more team than before", "more teams than before", number)
            less = ngettext("team less than before", "teams less than before", number)
        case _:
            more = ngettext("more model than before", "more models than before", number)
            less = ngettext("model less than before", "models less than before", number)
    return more if up else less


def _errors(report: Report, refused: int | None) -> Figure:
    total, before = report.total, report.before
    points = (total.error_share - before.error_share) * 100
    delta = Delta()
    if before.requests and total.requests and abs(points) >= LEAST_POINTS:
        number = format_decimal(abs(points), format="#,##0.0", locale=numbers.locale())
        words = _("%(arrow)s %(number)s points") % {"arrow": _arrow(points), "number": number}
        delta = Delta(words, tone="warn" if points > 0 else "good")
    notes = [ngettext("%s request failed", "%s requests failed", total.errors) % numbers.whole(total.errors)]
    if refused:
        notes.append(ngettext("%s refused", "%s refused", refused) % numbers.whole(refused))
    value, unit = _split(numbers.percent(total.error_share))
    drawn = _spark(report, [one.error_share for one in report.buckets])
    return Figure("errors", _("Errors"), (Part(value, unit),), delta, " · ".join(notes), drawn)


def _first_token(report: Report) -> Figure:
    now, before = report.latency.first_token_p95, report.latency_before.first_token_p95
    label = _("First token, p95")
    drawn = _spark(report, [one.first_token_p95 or 0 for one in report.latencies])
    if now is None:
        return Figure("speed", label, (Part("–"),), Delta(words=_("Nothing was measured")), "", drawn)
    value, unit = _split(numbers.seconds(now))
    delta = Delta()
    if before is not None and abs(now - before) >= LEAST_WAIT * before:
        words = _("slower") if now > before else _("faster")
        amount = f"{_arrow(now - before)} {numbers.seconds(abs(now - before))}"
        delta = Delta(amount, words, "warn" if now > before else "good")
    return Figure("speed", label, (Part(value, unit),), delta, _("approx."), drawn)


def change(now: float | Decimal, before: float | Decimal, question: Question, *, short: bool = False) -> Delta:
    """Against what the question compares with, which `short` leaves out."""
    if question.compared == Compared.NOT:
        return Delta()
    if not before:
        return Delta(words=_("Nothing in the period before") if now else "")
    part = float(now) / float(before) - 1
    days = question.period.length
    if abs(part) < captions.LEAST_CHANGE:
        return Delta(words=ngettext("as on the day before", "as in the %(days)s days before", days) % {"days": days})
    amount = f"{_arrow(part)} {numbers.percent(abs(part))}"
    if short:
        return Delta(amount, _("more") if part > 0 else _("less"))
    if question.compared == Compared.WEEKDAYS:
        return Delta(amount, _("more than on the same weekdays") if part > 0 else _("less than on the same weekdays"))
    words = (
        ngettext("more than the day before", "more than in the %(days)s days before", days)
        if part > 0
        else ngettext("less than the day before", "less than in the %(days)s days before", days)
    )
    return Delta(amount, words % {"days": days})


def changed(now: float | Decimal, before: float | Decimal) -> str:
    """In a cell of a table."""
    if not before:
        return _("new") if now else ""
    part = float(now) / float(before) - 1
    return _("equal") if abs(part) < captions.LEAST_CHANGE else f"{_arrow(part)} {numbers.percent(abs(part))}"


def _arrow(number: float) -> str:
    return "↑" if number > 0 else "↓"


def _spark(report: Report, numbers: list[float]) -> Spark:
    """Up to the last bucket that is over."""
    return spark(numbers if report.running is None else numbers[: report.running])


def _split(said: str) -> tuple[str, str]:
    """The number, and the sign or unit at its end."""
    value = said.rstrip("".join(letter for letter in set(said) if not letter.isdigit()))
    return value, said[len(value) :].strip()
