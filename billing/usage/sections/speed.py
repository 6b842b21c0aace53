"""How long answers took: per column of a chart and per model, from the histograms that the roll-ups hold."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, IntegerField, Sum, TextField, Value, When
from django.db.models.functions import Cast

from billing.ledger.histograms import percentiles, size, total
from billing.models import Outcome
from billing.usage.buckets import Moment
from billing.usage.columns import used
from billing.usage.questions import Question
from billing.usage.sums import Percentiles

SHARES = (0.5, 0.95, 0.99)
NOTHING = "0"


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """`first_token` and `whole` are of every request that was measured; `measured` counts those with a first token.

    `per_second` is what answered requests wrote, by the whole time they took, waiting included; None where none wrote.
    """

    model: str
    first_token: Percentiles
    whole: Percentiles
    measured: int
    per_second: float | None


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds. For each column what was measured in it, and the same of the period; models by their middle
    first token, the fastest first.
    """

    first_token: tuple[Percentiles, ...]
    whole: tuple[Percentiles, ...]
    of_first_token: Percentiles
    of_whole: Percentiles
    models: tuple[ModelSpeed, ...]


def speed(question: Question, begins: Sequence[Moment]) -> Speed:
    rows = used(question, begins)
    ttft, duration = [NOTHING] * len(begins), [NOTHING] * len(begins)
    for place, first, whole in rows.values_list("place").annotate(first=_text("ttft"), whole=_text("duration")):
        ttft[place], duration[place] = first, whole
    models = _by_model(rows)
    return Speed(
        first_token=tuple(map(read, ttft)),
        whole=tuple(map(read, duration)),
        of_first_token=read(sum(one.ttft for one in models.values())),
        of_whole=read(sum(one.duration for one in models.values())),
        models=_fastest_first(models),
    )


def read(packed: int | str) -> Percentiles:
    return Percentiles(*percentiles(packed, SHARES))


def _text(column: str) -> Cast:
    """A sum of histograms, as text: see `billing.ledger.histograms.counts`."""
    return Cast(Sum(column), TextField())


@dataclass(slots=True)
class _Sums:
    ttft: int = 0
    duration: int = 0
    answered: int = 0  # the durations of what was answered
    written: int = 0  # tokens


def _by_model(rows: Any) -> dict[str, _Sums]:
    answered = Case(When(outcome=Outcome.OK, then=Value(1)), default=Value(0), output_field=IntegerField())
    sums: defaultdict[str, _Sums] = defaultdict(_Sums)
    each: Iterable[tuple[Any, ...]] = (
        rows.annotate(answered=answered)
        .values_list("model", "answered")
        .annotate(first=_text("ttft"), whole=_text("duration"), written=Sum("completion_tokens"))
    )
    for model, is_answered, first, whole, written in each:
        of_model = sums[model]
        of_model.ttft += int(first)
        of_model.duration += int(whole)
        if is_answered:
            of_model.answered += int(whole)
            of_model.written += int(written)
    return dict(sums)


def _fastest_first(sums: dict[str, _Sums]) -> tuple[ModelSpeed, ...]:
    models = (_speed(model, one) for model, one in sums.items() if one.ttft or one.duration)
    return tuple(sorted(models, key=lambda one: (one.first_token.p50 or one.whole.p50 or 0, one.model)))


def _speed(model: str, sums: _Sums) -> ModelSpeed:
    seconds = total(sums.answered) / 1000
    return ModelSpeed(
        model=model,
        first_token=read(sums.ttft),
        whole=read(sums.duration),
        measured=size(sums.ttft),
        per_second=sums.written / seconds if sums.written and seconds else None,
    )
