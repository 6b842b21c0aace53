"""How long answers took, in words. All of it is approximate, for it is read from histograms."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from babel.numbers import format_decimal
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing.numbers import decimal, locale, seconds, whole
from billing.usage.axis_captions import each, first_head
from billing.usage.charts import Column
from billing.usage.data_tables import DataTable, table, written
from billing.usage.plots.lines import Lines, Numbers, lines
from billing.usage.plots.ranges import Ranges, Spread, ranges
from billing.usage.questions import Question
from billing.usage.sections.speed import ModelSpeed, Speed
from billing.usage.sums import Percentiles

MOST_MODELS = 8  # in the range chart; the table has all
ENOUGH = 10  # requests with a first token, from which on a model is called faster than others
CLEARLY = 1.25  # how much slower the next one must be


@dataclass(frozen=True, slots=True)
class ShownLines:
    heading: str
    description: str
    plot: Lines
    table: DataTable


@dataclass(frozen=True, slots=True)
class ShownModels:
    heading: str
    description: str
    note: str
    plot: Ranges
    table: DataTable


@dataclass(frozen=True, slots=True)
class ShownSpeed:
    """None where nothing was measured."""

    first_token: ShownLines | None
    whole: ShownLines | None
    models: ShownModels | None


def shown(found: Speed, question: Question, columns: Sequence[Column]) -> ShownSpeed:
    each_time = {"each": each(question.bucket)}
    return ShownSpeed(
        first_token=_lines(
            found.first_token,
            heading=first_token_heading(found.of_first_token),
            description=_("Seconds until the first token, percentiles %(each)s (approx.).") % each_time,
            question=question,
            columns=columns,
        ),
        whole=_lines(
            found.whole,
            heading=whole_heading(found.of_whole),
            description=_("Seconds until the end of the answer, percentiles %(each)s (approx.).") % each_time,
            question=question,
            columns=columns,
        ),
        models=_models(found.models),
    )


def first_token_heading(found: Percentiles) -> str:
    if found.p50 is None or found.p95 is None:
        return _("First token")
    words = {"half": seconds(found.p50), "slow": seconds(found.p95)}
    return _("Half wait less than %(half)s for the first token; one in twenty, more than %(slow)s") % words


def whole_heading(found: Percentiles) -> str:
    if found.p50 is None or found.p95 is None:
        return _("Whole answer")
    words = {"half": seconds(found.p50), "slow": seconds(found.p95)}
    return _("Half of the answers end within %(half)s; one in twenty takes more than %(slow)s") % words


def models_heading(models: Sequence[ModelSpeed]) -> str:
    """Who begins first or last, where that is clear."""
    measured = [one for one in models if one.first_token.p50 is not None and one.measured >= ENOUGH]
    middle = [one.first_token.p50 or 0.0 for one in measured]
    if len(measured) < 2:
        return _("First token by model")
    if middle[0] * CLEARLY < middle[1]:
        return _("%(model)s begins to answer before all others") % {"model": measured[0].model}
    if middle[-2] * CLEARLY < middle[-1]:
        return _("%(model)s takes longest to begin its answer") % {"model": measured[-1].model}
    return _("First token by model")


def _lines(
    found: Sequence[Percentiles],
    *,
    heading: str,
    description: str,
    question: Question,
    columns: Sequence[Column],
) -> ShownLines | None:
    if all(one.p50 is None for one in found):
        return None
    words = written((_figures(value) for one in found for value in _all(one)), _told)
    rows = [
        (column.title, [words[_figures(value)] for value in _all(one)])
        for column, one in zip(columns, found, strict=True)
    ]
    return ShownLines(
        heading,
        description,
        lines(
            columns,
            [
                Numbers("p99", "thin k-ink3", tuple(one.p99 for one in found)),
                Numbers("p95", "dash k-warn", tuple(one.p95 for one in found)),
                Numbers("p50", "k-acc", tuple(one.p50 for one in found)),
            ],
            write=_scale,
        ),
        table(first_head(question.bucket), ("p50", "p95", "p99"), rows),
    )


def _models(models: Sequence[ModelSpeed]) -> ShownModels | None:
    measured = [one for one in models if one.first_token.p50 is not None]
    if not measured:
        return None
    drawn = measured[:MOST_MODELS]
    left_out = len(models) - len(drawn)
    more = ngettext("%s model more is in the table.", "%s models more are in the table.", left_out) % whole(left_out)
    marks = _("Dot: half of the requests; lozenge: 95 in 100; bar: 99 in 100.")
    head = ("p50", "p95", "p99", _("Whole answer, p50"), _("Tokens a second"))
    return ShownModels(
        heading=models_heading(models),
        description=_(
            "First token by model, from the middle request to the slowest in a hundred, and tokens written a"
            " second, by the whole time that answers took (approx.)."
        ),
        note=f"{marks} {more}" if left_out else marks,
        plot=ranges([_spread(one) for one in drawn], write=_scale),
        table=table(_("Model"), head, [(one.model, _cells(one)) for one in (*drawn, *_rest(models, drawn))]),
    )


def _rest(models: Sequence[ModelSpeed], drawn: Sequence[ModelSpeed]) -> list[ModelSpeed]:
    return [one for one in models if one not in drawn]


def _spread(one: ModelSpeed) -> Spread:
    values = (one.first_token.p50 or 0.0, one.first_token.p95 or 0.0, one.first_token.p99 or 0.0)
    told = ", ".join(f"p{share} {seconds(value)}" for share, value in zip((50, 95, 99), values, strict=True))
    note = "" if one.per_second is None else _("%s tok/s") % _per_second(one.per_second)
    return Spread(one.model, values, note, f"{one.model} · {told}")


def _cells(one: ModelSpeed) -> list[str]:
    first = one.first_token
    written = _("does not write") if one.per_second is None else _per_second(one.per_second)
    return [*map(_told, (first.p50, first.p95, first.p99, one.whole.p50)), written]


def _all(found: Percentiles) -> tuple[float | None, float | None, float | None]:
    return found.p50, found.p95, found.p99


def _figures(milliseconds: float | None) -> float | None:
    """The two that are told of it."""
    return None if milliseconds is None else float(f"{milliseconds:.2g}")


def _told(milliseconds: float | None) -> str:
    """What was not measured is not called 0."""
    return "–" if milliseconds is None else _seconds(milliseconds, locale())


@lru_cache(maxsize=4096)
def _seconds(milliseconds: float, _locale: str) -> str:
    """Of two figures there are so few that most were told before."""
    return seconds(milliseconds)


def _per_second(number: float) -> str:
    return format_decimal(number, format="#,##0" if number >= 10 else "#,##0.#", locale=locale())


def _scale(milliseconds: float, top: bool) -> str:
    number = decimal(milliseconds / 1000)
    return _("%s s") % number if top else number
