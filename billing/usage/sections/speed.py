"""How long answers took: per column of a chart and per model, from the histograms that the roll-ups hold."""

from dataclasses import dataclass

from billing.ledger.histograms import percentiles, size, total
from billing.usage.sections.answers import Answers, OfModel
from billing.usage.sums import Percentiles

SHARES = (0.5, 0.95, 0.99)


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


def speed(answers: Answers) -> Speed:
    models = answers.models
    return Speed(
        first_token=tuple(map(read, answers.ttft)),
        whole=tuple(map(read, answers.duration)),
        of_first_token=read(sum(one.ttft for one in models.values())),
        of_whole=read(sum(one.duration for one in models.values())),
        models=_fastest_first(models),
    )


def read(packed: int | str) -> Percentiles:
    return Percentiles(*percentiles(packed, SHARES))


def _fastest_first(sums: dict[str, OfModel]) -> tuple[ModelSpeed, ...]:
    models = (_speed(model, one) for model, one in sums.items() if one.ttft or one.duration)
    return tuple(sorted(models, key=lambda one: (one.first_token.p50 or one.whole.p50 or 0, one.model)))


def _speed(model: str, sums: OfModel) -> ModelSpeed:
    seconds = total(sums.answered) / 1000
    return ModelSpeed(
        model=model,
        first_token=read(sums.ttft),
        whole=read(sums.duration),
        measured=size(sums.ttft),
        per_second=sums.written / seconds if sums.written and seconds else None,
    )
