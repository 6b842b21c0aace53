"""What the lower half tells of answers, read in one scan: how long they took, by column and by model, and how they
ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from billing.models import Outcome
from billing.usage.buckets import Moment
from billing.usage.questions import Compared, Group, Question
from billing.usage.sources import reader, sources

NOTHING = "0"


@dataclass(slots=True)
class OfModel:
    """Histograms (`billing.ledger.histograms`) of a model's first tokens, of its whole answers, and of those that were
    answered to their end, with the tokens that these wrote.
    """

    ttft: int = 0
    duration: int = 0
    answered: int = 0
    written: int = 0


@dataclass(slots=True)
class Answers:
    """`ttft` and `duration`: histograms as text, one for each column. `outcomes`: requests by column and outcome."""

    ttft: list[str]
    duration: list[str]
    models: dict[str, OfModel] = field(default_factory=dict)
    outcomes: dict[tuple[int, str], int] = field(default_factory=dict)


_PART = """model, outcome, sum(requests)::bigint AS requests, sum(completion_tokens)::bigint AS written,
    sum(ttft) AS ttft, sum(duration) AS duration"""
_READ = f"""
WITH part AS MATERIALIZED ({{part}})
SELECT 'column', place, NULL, NULL, 0, sum(ttft)::text, sum(duration)::text FROM part GROUP BY place
UNION ALL
SELECT 'model', NULL, model, outcome = '{Outcome.OK}', sum(written)::bigint, sum(ttft)::text, sum(duration)::text
    FROM part GROUP BY model, outcome = '{Outcome.OK}'
UNION ALL
SELECT 'outcome', place, outcome, NULL, sum(requests)::bigint, NULL, NULL FROM part GROUP BY place, outcome
"""  # noqa: S608  names of our own


def answers(question: Question, begins: Sequence[Moment], *, now: datetime) -> Answers:
    """Whatever the page groups by, models and outcomes are told apart."""
    asked = replace(question, group=Group.MODEL, compared=Compared.NOT)
    (source,) = sources(asked, tuple(begins), now)
    found = Answers([NOTHING] * len(begins), [NOTHING] * len(begins))
    with reader() as cursor:
        cursor.execute(_READ.format(part=source.select(_PART, "model, outcome")), source.given)
        for kind, place, name, answered, number, ttft, duration in cursor.fetchall():
            match kind:
                case "column":
                    found.ttft[place], found.duration[place] = ttft, duration
                case "model":
                    _add(found.models.setdefault(name, OfModel()), int(ttft), int(duration), answered, number)
                case _:
                    found.outcomes[place, name] = number
    return found


def _add(model: OfModel, ttft: int, duration: int, answered: bool, written: int) -> None:
    model.ttft += ttft
    model.duration += duration
    if answered:
        model.answered, model.written = duration, written
