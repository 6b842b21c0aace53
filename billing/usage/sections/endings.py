"""How requests ended that were not simply answered, and what was refused: per column, and against the time before."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Sum

from billing.models import ENDED_WELL, Outcome
from billing.usage.buckets import Moment
from billing.usage.columns import refused, refused_before, used_before
from billing.usage.questions import Question
from billing.usage.sections.answers import Answers

type Reason = tuple[str, str]  # code and what it was about, as `billing.records.Refusal` has them


@dataclass(frozen=True, slots=True)
class Ending:
    """Requests that ended this way, in each column, in all, and in the period before (None: not compared)."""

    outcome: str
    columns: tuple[int, ...]
    count: int
    before: int | None

    @property
    def is_error(self) -> bool:
        return self.outcome not in ENDED_WELL


@dataclass(frozen=True, slots=True)
class Endings:
    """Those that are no plain answer, the most frequent errors first, then what ended well. `requests` are all."""

    requests: tuple[int, ...]
    requests_before: int | None
    endings: tuple[Ending, ...]

    @property
    def errors(self) -> int:
        return sum(one.count for one in self.endings if one.is_error)

    @property
    def error_share(self) -> float:
        whole = sum(self.requests)
        return self.errors / whole if whole else 0.0

    @property
    def error_share_before(self) -> float | None:
        """None where nothing was asked before, or nothing is compared."""
        if not self.requests_before:
            return None
        return sum(one.before or 0 for one in self.endings if one.is_error) / self.requests_before


@dataclass(frozen=True, slots=True)
class Refused:
    code: str
    reason: str
    columns: tuple[int, ...]
    count: int
    before: int | None


@dataclass(frozen=True, slots=True)
class Refusals:
    """Most first. `keys` are the counts of each reason by key, most first; key 0 is the chat."""

    refused: tuple[Refused, ...]
    keys: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        return sum(one.count for one in self.refused)


def endings(question: Question, answers: Answers, begins: Sequence[Moment], *, now: datetime) -> Endings:
    requests = [0] * len(begins)
    columns: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(begins))
    for (place, outcome), number in answers.outcomes.items():
        requests[place] += number
        columns[outcome][place] = number
    tables = used_before(question, now=now)
    before: Counter[str] = Counter()
    for table in tables:
        before.update(dict(table.values_list("outcome").annotate(number=Sum("requests"))))
    made = (
        Ending(outcome, tuple(columns[outcome]), sum(columns[outcome]), before[outcome] if tables else None)
        for outcome in sorted((columns.keys() | before.keys()) - {Outcome.OK.value})
    )
    found = (one for one in made if one.count or one.before)
    ordered = sorted(found, key=lambda one: (not one.is_error, -one.count, -(one.before or 0), one.outcome))
    return Endings(tuple(requests), sum(before.values()) if tables else None, tuple(ordered))


def refusals(question: Question, begins: Sequence[Moment], *, now: datetime) -> Refusals:
    columns: defaultdict[Reason, list[int]] = defaultdict(lambda: [0] * len(begins))
    keys: Counter[int] = Counter()
    found = refused(question, begins).values_list("place", "key_id", "code", "reason").annotate(number=Sum("count"))
    for place, key_id, code, reason, number in found:
        columns[code, reason][place] += number
        keys[key_id] += number
    table = refused_before(question, now=now)
    before: dict[Reason, int] = {}
    if table is not None:
        sums = table.values_list("code", "reason").annotate(number=Sum("count"))
        before = {(code, reason): number for code, reason, number in sums}
    made = (
        Refused(*which, tuple(columns[which]), sum(columns[which]), None if table is None else before.get(which, 0))
        for which in sorted(columns.keys() | before.keys())
    )
    return Refusals(
        tuple(sorted(made, key=lambda one: (-one.count, -(one.before or 0), one.code, one.reason))),
        tuple(sorted(keys.items(), key=lambda one: (-one[1], one[0]))),
    )
