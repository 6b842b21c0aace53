"""Why there is nothing to see, and what to do about it."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from accounts.models import ApiKey
from billing.models import PlatformDay, UsageDay
from billing.usage.links import Links
from billing.usage.questions import Question
from billing.usage.reports import Report
from billing.usage.sums import NONE


class Why(StrEnum):
    FILTERED = "filtered"  # nothing fits the filters
    NO_KEYS = "no-keys"  # nobody could have called
    NO_CALLS = "no-calls"  # there is a key, and it was never used
    BEFORE = "before"  # the first usage is of a later day
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Empty:
    why: Why
    first: date | None = None  # the first day that anything was used
    key: ApiKey | None = None  # of which the first call is awaited

    @property
    def model(self) -> str:
        """One that the key may use, where its own list or its team's names any."""
        if self.key is None:
            return ""
        return next(iter(self.key.models or self.key.team.models or ()), "")


def why_empty(report: Report, links: Links) -> Empty | None:
    """None where there is something: requests, or adjustments of earlier ones."""
    if report.total != NONE:
        return None
    question = report.question
    if question.filters:
        return Empty(Why.FILTERED)
    first = first_day(question)
    if first is not None:
        return Empty(Why.BEFORE if report.period.last < first else Why.NOTHING, first)
    scope = question.scope
    if scope.team is None:
        return Empty(Why.NOTHING)
    keys = ApiKey.objects.filter(team=scope.team, revoked_at=None).select_related("team")
    if scope.key_id is not None:
        keys = keys.filter(pk=scope.key_id)
    if scope.member_id is not None:
        keys = keys.filter(owner_id=scope.member_id)
    key = keys.order_by("-created_at").first()
    return Empty(Why.NO_KEYS) if key is None else Empty(Why.NO_CALLS, key=key)


def first_day(question: Question) -> date | None:
    """Of the scope's usage, as far back as the roll-ups go, which outlive the log."""
    scope = question.scope
    rows = PlatformDay.objects.all() if scope.team is None else UsageDay.objects.filter(team=scope.team)
    wanted = {"key_id": scope.key_id, "member_id": scope.member_id}
    rows = rows.filter(**{column: value for column, value in wanted.items() if value is not None})
    return rows.order_by("day").values_list("day", flat=True).first()
