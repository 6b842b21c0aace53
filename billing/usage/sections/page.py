"""The lower half of the usage pages: the budget, the hours of the week, speed, errors, and what was refused.

Each section is read by a module that knows no words and told by one that has them; `plots/` draws them. A section that
has nothing to say is None, and left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billing.usage.axis_captions import columns
from billing.usage.buckets import moments, running
from billing.usage.questions import Question, address
from billing.usage.sections.answers import answers
from billing.usage.sections.burndown import burndowns
from billing.usage.sections.burndown_captions import ShownBurndown
from billing.usage.sections.burndown_captions import shown as shown_burndown
from billing.usage.sections.endings import endings, refusals
from billing.usage.sections.endings_captions import ShownEndings, ShownRefusals, shown_endings, shown_refusals
from billing.usage.sections.hours import week
from billing.usage.sections.hours_captions import ShownWeek
from billing.usage.sections.hours_captions import shown as shown_week
from billing.usage.sections.refused import of_answers_alone
from billing.usage.sections.speed import speed
from billing.usage.sections.speed_captions import ShownSpeed
from billing.usage.sections.speed_captions import shown as shown_speed

WEEK_AT_ONCE = 31  # days of quarter hours that are read with the page; of more, when somebody looks at them


@dataclass(frozen=True, slots=True)
class Sections:
    """`query` is the address of what is shown, without its filter by outcome, and `log_query` with one by all outcomes
    that are no plain answer. `week_query` is what the week is fetched with later, where it would be much to read; else
    empty.
    """

    budgets: tuple[ShownBurndown, ...]
    week: ShownWeek | None
    week_query: str
    speed: ShownSpeed | None
    errors: ShownEndings | None
    refused: ShownRefusals | None
    query: str
    log_query: str


def sections(question: Question, *, now: datetime, state: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """For a template's context. `state` is what the page's address says, for links; without it the question says it."""
    begins = moments(question.period, question.bucket)
    told = answers(question, begins, now=now)
    ended = endings(question, told, begins, now=now)
    kept_out = None if of_answers_alone(question) else refusals(question, begins, now=now)
    asked = any(ended.requests)
    named, here = columns(question, begins, now=now), running(begins, question.period, now)
    said = dict(_state(question) if state is None else state)
    later = _later(question)
    found = Sections(
        budgets=budgets(question, now=now),
        week=the_week(question) if asked and not later else None,
        week_query=address(**said) if asked and later else "",
        speed=shown_speed(speed(told), question, named) if asked else None,
        errors=shown_endings(ended, question, named, here) if asked else None,
        refused=(
            shown_refusals(kept_out, ended.requests, question, named, here) if kept_out and kept_out.count else None
        ),
        query=address(**{**said, "outcome": None}),
        log_query=address(**{**said, "outcome": [one.outcome for one in ended.endings if one.count]}),
    )
    return {"sections": found}


def budgets(question: Question, *, now: datetime) -> tuple[ShownBurndown, ...]:
    """Of the whole scope's budgets, whatever is filtered. The first stands in the upper half, beside the chart."""
    return tuple(
        shown_burndown(one, name=f"budget-{number}")
        for number, one in enumerate(burndowns(question.scope, now=now), start=1)
    )


def the_week(question: Question) -> ShownWeek | None:
    """None for the platform: it has days alone, and each team's have hours of their own."""
    return shown_week(week(question), question) if question.scope.team else None


def _later(question: Question) -> bool:
    """A team's hours unfiltered have a level of their own. A key's or a member's page has readers who may not open the
    team's, so that theirs comes at once.
    """
    scope = question.scope
    whole_team = scope.team is not None and scope.key_id is None and scope.member_id is None
    return whole_team and bool(question.filters) and question.period.length > WEEK_AT_ONCE


def _state(question: Question) -> dict[str, Any]:
    """The question as `billing.usage.forms.UsageForm` reads it, its days said one by one."""
    period, filters, team = question.period, question.filters, question.scope.team
    return {
        "period": "custom",
        "first": period.first.isoformat(),
        "last": period.last.isoformat(),
        "zone": "UTC" if team and period.zone.key == "UTC" != team.time_zone else None,
        "bucket": question.bucket.value,
        "group": question.group.value,
        "metric": question.metric.value,
        "compare": question.compared.value,
        "origin": filters.origins,
        "model": filters.models,
        "key": filters.keys,
        "member": filters.members,
        "outcome": filters.outcomes,
        "team": filters.teams,
    }
