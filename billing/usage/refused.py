"""Calls that were not admitted, by key and reason, as the usage page's question asks for them."""

from dataclasses import dataclass

from django.db.models import F, Sum, Value
from django.utils.translation import gettext as _

from billing.ledger.refusals import Refused
from billing.usage.names import key_labels
from billing.usage.questions import Question, refusals
from billing.usage.refusal_captions import why_refused

SHOWN = 20  # keys and reasons


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """How often the calls of a key were refused, and why, in words."""

    key: str
    why: str
    code: str
    count: int


def refused_calls(question: Question) -> list[Refused] | None:
    """Most first. None where the question filters by what they do not have: a model that answered, or an outcome."""
    if question.filters.models or question.filters.outcomes:
        return None
    # What a team's keys are called is the team's business, not the platform's.
    key = Value(0) if question.scope.team is None else F("key_id")
    found = refusals(question).annotate(key=key).values_list("key", "code", "reason").annotate(number=Sum("count"))
    return sorted((Refused(*row) for row in found), key=lambda one: (-one.count, one.code, one.reason, one.key_id))


def refused_rows(question: Question, found: list[Refused]) -> list[RefusedRow]:
    """The most frequent ones, and what the others come to."""
    shown, others = found[:SHOWN], sum(one.count for one in found[SHOWN:])
    labels = key_labels(question.scope.team, {one.key_id for one in shown}) if shown else {}
    rows = [RefusedRow(labels[one.key_id], why_refused(one.code, one.reason), one.code, one.count) for one in shown]
    return [*rows, RefusedRow(_("others"), "", "", others)] if others else rows
