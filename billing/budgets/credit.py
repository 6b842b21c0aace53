"""Prepaid credit of a team: entries that only grow in number, less what its calls have cost since the first.

A team without an entry has no credit and pays afterwards.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts import audit, revision
from accounts.models import Team, User
from billing.budgets.monthly import Standing, hold_accounts, quarter, recount, standings
from billing.errors import AlreadyEntered
from billing.models import CREDITS_MONTH, Budget, BudgetAccount, CreditEntry, Period, Unit

LARGEST = Decimal(10) ** 15  # of an entry, in the installation's currency


def top_up(*, team: Team, amount: Decimal, by: User | None, note: str = "", form_id: UUID | None = None) -> CreditEntry:
    """Raises ValueError for an amount that is none, and AlreadyEntered when the form has been sent before."""
    if not 0 < amount < LARGEST:
        raise ValueError(f"{amount} is no amount to top up with")
    return _enter(CreditEntry.Kind.TOP_UP, team=team, amount=amount, by=by, note=note, form_id=form_id)


def correct(
    *, team: Team, amount: Decimal, by: User | None, note: str = "", form_id: UUID | None = None
) -> CreditEntry:
    """Add to a credit or take from it, also below what was spent. Raises as `top_up`."""
    if not amount or abs(amount) >= LARGEST:
        raise ValueError(f"{amount} is no correction")
    return _enter(CreditEntry.Kind.CORRECTION, team=team, amount=amount, by=by, note=note, form_id=form_id)


@transaction.atomic
def set_binding(*, team: Team, binding: bool, by: User | None) -> None:
    """Whether calls beyond the credit are refused; if not, it is counted all the same."""
    hold_accounts()
    if Budget.objects.filter(team=team, period=Period.CREDIT).exclude(hard=binding).update(hard=binding):
        audit.record("credit.binding", by=by, team=team, subject=team, binding=binding)
        revision.bump()


@dataclass(frozen=True, slots=True)
class Credit:
    standing: Standing

    @property
    def balance(self) -> Decimal:
        """What was paid less what was spent; what running calls hold is still in it."""
        return self.standing.budget.amount - self.standing.spent

    @property
    def available(self) -> Decimal:
        return self.standing.left

    @property
    def binding(self) -> bool:
        return self.standing.budget.hard


def credit_of(team: Team, *, now: datetime) -> Credit | None:
    return credits_of([team], now=now).get(team.pk)


def credits_of(teams: Iterable[Team], *, now: datetime) -> dict[int, Credit]:
    """By team; those without one are absent."""
    by_id = {team.pk: team for team in teams}
    budgets = list(Budget.objects.filter(team__in=by_id, period=Period.CREDIT).select_related("team"))
    if not budgets:
        return {}
    # A credit has no month, so any team's zone will do.
    standing = standings(budgets, team=by_id[budgets[0].team_id], now=now)
    return {one.budget.team_id: Credit(one) for one in standing}


def entries_of(team: Team, *, limit: int = 50) -> list[CreditEntry]:
    """The latest first."""
    return list(CreditEntry.objects.filter(team=team).order_by("-at", "-pk")[:limit])


@transaction.atomic
def _enter(
    kind: CreditEntry.Kind, *, team: Team, amount: Decimal, by: User | None, note: str, form_id: UUID | None
) -> CreditEntry:
    hold_accounts()
    if form_id and CreditEntry.objects.filter(form_id=form_id).exists():
        raise AlreadyEntered(str(form_id))
    now = timezone.now()
    entry = CreditEntry.objects.create(
        team=team, at=now, kind=kind, amount=amount, note=note, by=by, by_name=str(by) if by else "", form_id=form_id
    )
    credit = Budget.objects.filter(team=team, period=Period.CREDIT).first() or _open(team, now)
    Budget.objects.filter(pk=credit.pk).update(amount=F("amount") + amount)
    BudgetAccount.objects.filter(budget=credit).update(ceiling=F("ceiling") + amount)
    audit.record(f"credit.{kind}", by=by, team=team, subject=team, amount=f"{amount.normalize():f}", note=note)
    revision.bump()
    return entry


def _open(team: Team, now: datetime) -> Budget:
    """The quarter hour that runs counts from here on: what it has come to already was not the credit's."""
    credit = Budget.objects.create(
        team=team, period=Period.CREDIT, unit=Unit.MONEY, amount=0, hard=True, counts_from=quarter(now)
    )
    account = BudgetAccount.objects.create(budget=credit, month=CREDITS_MONTH, ceiling=0)
    recount([credit])
    account.refresh_from_db()
    credit.before = account.spent
    credit.save(update_fields=["before"])
    recount([credit])
    return credit
