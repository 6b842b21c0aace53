"""A team's month in figures, from the same rows as its usage page. The one place here that knows how they are read."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Sum
from django.utils import timezone

from accounts.models import Team
from billing.ledger.histograms import percentile
from billing.models import Budget, BudgetAccount
from billing.models import Period as Renewal
from billing.usage.buckets import moments
from billing.usage.empty import first_day
from billing.usage.names import key_labels, member_labels
from billing.usage.periods import Period, whole_month
from billing.usage.questions import Bucket, Compared, Question, Scope, days
from billing.usage.sections.endings import Refusals, refusals
from billing.usage.sums import ANNOTATIONS, Sums, added, sums_of

TOP = 5
P95 = 0.95


@dataclass(frozen=True, slots=True)
class Part:
    """What one model, key or person used; without a label, all others."""

    label: str
    sums: Sums


@dataclass(frozen=True, slots=True)
class Spent:
    """What a budget came to in the month. Amounts are tokens or money."""

    budget: Budget
    amount: Decimal
    spent: Decimal


@dataclass(frozen=True, slots=True)
class MonthFigures:
    """`before`: the month before. `began`: the day of the team's first usage of all. `days`: by day and model, what had
    something. `first_token`: p95, milliseconds.
    """

    team: Team
    period: Period
    total: Sums
    before: Sums
    began: date | None
    days: tuple[tuple[date, str, Sums], ...]
    models: tuple[Part, ...]
    keys: tuple[Part, ...]
    people: tuple[Part, ...]
    refused: Refusals
    budgets: tuple[Spent, ...]
    first_token: float | None

    @property
    def month(self) -> date:
        return self.period.first

    @property
    def whole_before(self) -> bool:
        """Whether there was usage from the first day of the month before on, which else is no measure for this one."""
        return self.began is not None and self.began <= (self.month - timedelta(days=1)).replace(day=1)

    @property
    def has_something(self) -> bool:
        return bool(self.total.requests or self.total.tokens or self.refused.count)


def month_figures(team: Team, month: date) -> MonthFigures:
    """Of the month of the team's calendar that begins on this day."""
    period = whole_month(month, ZoneInfo(team.time_zone))
    asked = Question(Scope(team), period, compared=Compared.NOT)
    now = timezone.now()
    rows = _rows(asked, "day", "model")
    total = added([sums for _of, sums in rows])
    before = asked.over(whole_month(month - timedelta(days=1), period.zone))
    by_model: defaultdict[Any, Sums] = defaultdict(Sums)
    for (_day, model), sums in rows:
        by_model[model] += sums
    keys, people = _by(asked, "key_id"), _by(asked, "member_id")
    key_names, names = key_labels(team, keys), member_labels(people)
    ttft = days(asked).aggregate(found=Sum("ttft"))["found"]
    return MonthFigures(
        team=team,
        period=period,
        total=total,
        before=added([sums for _of, sums in _rows(before)]),
        began=first_day(asked),
        days=tuple((day, model, sums) for (day, model), sums in sorted(rows, key=lambda row: row[0])),
        models=_top({model: model for model in by_model}, by_model),
        keys=_top(key_names, keys),
        people=_top(names, people),
        refused=refusals(asked, moments(period, Bucket.MONTH), now=now),
        budgets=_budgets(team, month),
        first_token=percentile(int(ttft or 0), P95),
    )


def _rows(asked: Question, *columns: str) -> list[tuple[tuple[Any, ...], Sums]]:
    """Sums by these columns, or of all."""
    rows = days(asked)
    found = rows.values(*columns).annotate(**ANNOTATIONS) if columns else [rows.aggregate(**ANNOTATIONS)]
    return [(tuple(row[column] for column in columns), sums_of(row)) for row in found]


def _by(asked: Question, column: str) -> dict[Any, Sums]:
    return {key: sums for (key,), sums in _rows(asked, column)}


def _top(labels: dict[Any, str], found: dict[Any, Sums]) -> tuple[Part, ...]:
    """Most tokens first; so many that they can be read, and all others as one."""
    ordered = sorted(found.items(), key=lambda one: (-one[1].tokens, -one[1].requests, labels[one[0]]))
    parts = [Part(labels[key], sums) for key, sums in ordered[:TOP]]
    if others := [sums for _key, sums in ordered[TOP:]]:
        parts.append(Part("", added(others)))
    return tuple(parts)


def _budgets(team: Team, month: date) -> tuple[Spent, ...]:
    rows = Budget.objects.filter(team=team, period=Renewal.MONTH).select_related("key", "member")
    accounts = {one.budget_id: one for one in BudgetAccount.objects.filter(budget__in=rows, month=month)}
    ordered = sorted(rows, key=lambda one: (bool(one.key_id) + 2 * bool(one.member_id), str(one).casefold(), one.unit))
    return tuple(
        Spent(budget, accounts[budget.pk].ceiling, accounts[budget.pk].spent)
        for budget in ordered
        if budget.pk in accounts
    )
