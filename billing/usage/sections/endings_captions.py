"""Requests that failed or ended early, and calls that were refused, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from babel.numbers import format_decimal
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import Team
from billing.models import Outcome
from billing.numbers import compact, locale, percent, whole
from billing.usage.axis_captions import each, first_head
from billing.usage.charts import Chart, Column, Values, stacked
from billing.usage.data_tables import DataTable, table, written
from billing.usage.marking import CHOSEN, turn_of_refusal
from billing.usage.names import key_labels
from billing.usage.questions import Bucket, Group, Question
from billing.usage.sections.endings import Ending, Endings, Refusals, Refused
from billing.usage.sections.refusal_captions import why_refused

OUTCOMES = CHOSEN[Group.OUTCOME]
SHOWN_KEYS = 5  # whose calls were refused
LEAST_POINTS = 0.05


@dataclass(frozen=True, slots=True)
class Line:
    """One outcome or reason: how often, and how that has changed. `value` is what filters for it, empty for none;
    `mark` that of its bars, 0 without.
    """

    label: str
    note: str
    value: str
    count: str
    part: str
    change: str
    mark: int


@dataclass(frozen=True, slots=True)
class ShownEndings:
    heading: str
    description: str
    plot: Chart
    table: DataTable
    lines: tuple[Line, ...]
    compared: bool


def shown_endings(found: Endings, question: Question, columns: Sequence[Column], running: int | None) -> ShownEndings:
    """`running` is the place of the column that is not over yet."""
    series = [
        Values(outcome_label(one.outcome), one.outcome, one.columns, OUTCOMES.get(one.outcome, 0))
        for one in found.endings
        if one.count
    ]
    plot = _stacks(columns, series, running)
    return ShownEndings(
        heading=endings_heading(found),
        description=_("Requests %(each)s that did not end with the whole answer, by how they ended.")
        % {"each": each(question.bucket)}
        + (_hatched(question.bucket) if running is not None else ""),
        plot=plot,
        table=_table(question, columns, Values(_("Requests"), "", found.requests), series),
        lines=tuple(_ending_line(one, sum(found.requests), _marks(series, plot)) for one in found.endings),
        compared=found.requests_before is not None,
    )


def endings_heading(found: Endings) -> str:
    """How many failed, by how much that has changed, and how most of them ended."""
    if not found.errors:
        early = sum(one.count for one in found.endings)
        if not early:
            return _("Every request was answered")
        told = ngettext("%s ended early", "%s ended early", early) % whole(early)
        return _("No request failed; %(early)s") % {"early": told}
    told = _("%(share)s of the requests failed") % {"share": percent(found.error_share)}
    before = found.error_share_before
    if before is not None and (change := _points(found.error_share - before)):
        told = _("%(told)s, %(change)s") % {"told": told, "change": change}
    errors = [one for one in found.endings if one.is_error and one.count]
    if errors[0].count * 2 > found.errors:
        words = {"told": told, "outcome": outcome_label(errors[0].outcome)}
        return _("%(told)s; most often: %(outcome)s") % words
    return told


@dataclass(frozen=True, slots=True)
class ShownRefusals:
    heading: str
    description: str
    plot: Chart
    table: DataTable
    lines: tuple[Line, ...]
    keys: tuple[tuple[str, str], ...]  # names and counts of those that were refused most
    compared: bool


def shown_refusals(
    found: Refusals, used: Sequence[int], question: Question, columns: Sequence[Column], running: int | None
) -> ShownRefusals:
    """Beside `used`, what was let in for each column."""
    series = [
        Values(why_refused(one.code, one.reason), _reason_key(one), one.columns, turn_of_refusal(one.code, one.reason))
        for one in found.refused
        if one.count
    ]
    plot = _stacks(columns, series, running)
    return ShownRefusals(
        heading=refusals_heading(found, sum(used)),
        description=_("Calls %(each)s that were not admitted, by reason. They cost nothing.")
        % {"each": each(question.bucket)}
        + (_hatched(question.bucket) if running is not None else ""),
        plot=plot,
        table=_table(question, columns, Values(_("Let in"), "", tuple(used)), series),
        lines=tuple(_refused_line(one, found.count, _marks(series, plot)) for one in found.refused),
        keys=_keys(found, question.scope.team),
        compared=any(one.before is not None for one in found.refused),
    )


def refusals_heading(found: Refusals, used: int) -> str:
    """How many, beside those that were let in, and the reason of most."""
    if not found.count:
        return _("No call was refused")
    told = ngettext("%s call was refused", "%s calls were refused", found.count) % whole(found.count)
    if used:
        admitted = ngettext("%s was let in", "%s were let in", used) % whole(used)
        told = _("%(refused)s, %(admitted)s") % {"refused": told, "admitted": admitted}
    most = found.refused[0]
    if most.count * 2 > found.count:
        return _("%(told)s; most often: %(reason)s") % {"told": told, "reason": why_refused(most.code, most.reason)}
    return told


def outcome_label(outcome: str) -> str:
    """Old months of the roll-ups hold the class of all that failed."""
    return str(Outcome(outcome).label) if outcome in Outcome else _("error, not told which")


def changed(now: int, before: int | None) -> str:
    """Against the period before: in per cent, or in number where there was none or few."""
    if before is None:
        return ""
    if now == before:
        return _("same")
    arrow = "↑" if now > before else "↓"
    if before < 10:
        return f"{arrow} {whole(abs(now - before))}"
    return f"{arrow} {percent(abs(now - before) / before)}"


def _points(difference: float) -> str:
    """Of percentages; empty for what would be rounded to nothing."""
    points = abs(difference) * 100
    if points < LEAST_POINTS:
        return ""
    number = format_decimal(points, format="#,##0.0", locale=locale())
    if difference > 0:
        return _("%s points more than before") % number
    return _("%s points less than before") % number


def _marks(series: Sequence[Values], plot: Chart) -> dict[str, int]:
    """By key, as they are drawn; those that share the last stack share its mark."""
    last = plot.stacks[-1].mark if plot.stacks else 0
    own = [stack.mark for stack in plot.stacks]
    return {one.key: own[place] if place < len(own) else last for place, one in enumerate(series)}


def _ending_line(one: Ending, requests: int, marks: dict[str, int]) -> Line:
    return Line(
        label=outcome_label(one.outcome),
        note="" if one.is_error else _("no error"),
        value=one.outcome,
        count=whole(one.count),
        part=percent(one.count / requests) if requests else "",
        change=changed(one.count, one.before),
        mark=marks.get(one.outcome, 0),
    )


def _refused_line(one: Refused, refused: int, marks: dict[str, int]) -> Line:
    return Line(
        label=why_refused(one.code, one.reason),
        note=one.code,
        value="",
        count=whole(one.count),
        part=percent(one.count / refused) if refused else "",
        change=changed(one.count, one.before),
        mark=marks.get(_reason_key(one), 0),
    )


def _reason_key(one: Refused) -> str:
    return f"{one.code} {one.reason}"


def _keys(found: Refusals, team: Team | None) -> tuple[tuple[str, str], ...]:
    if team is None or len(found.keys) < 2:
        return ()
    shown = found.keys[:SHOWN_KEYS]
    labels = key_labels(team, [key for key, _count in shown])
    return tuple((labels[key], whole(count)) for key, count in shown)


def _stacks(named: Sequence[Column], series: Sequence[Values], here: int | None) -> Chart:
    return stacked(
        named, series, running=here, write=lambda number, _top: compact(number), other=_("others"), whole=True
    )


def _table(question: Question, columns: Sequence[Column], used: Values, series: Sequence[Values]) -> DataTable:
    each_one = [used, *series]
    words = written((number for one in each_one for number in one.numbers), lambda number: whole(int(number)))
    rows = [(column.title, [words[one.numbers[place]] for one in each_one]) for place, column in enumerate(columns)]
    return table(first_head(question.bucket), [one.name for one in each_one], rows)


def _hatched(bucket: Bucket) -> str:
    hatched = {
        Bucket.HOUR: _("The hour hatched is not over."),
        Bucket.DAY: _("The day hatched is not over."),
        Bucket.WEEK: _("The week hatched is not over."),
        Bucket.MONTH: _("The month hatched is not over."),
    }
    return f" {hatched[bucket]}"
