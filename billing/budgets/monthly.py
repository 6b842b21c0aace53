"""Monthly budgets: made and changed by a team's admins, and how they stand.

What a budget has spent is what the log says of its month, so a new one begins with what the month has come to.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone
from psycopg import sql

from accounts import audit, revision
from accounts.models import ApiKey, Team, User
from billing.budgets.settling import spent_by_log
from billing.models import CREDITS_MONTH, Budget, BudgetAccount, Period, Reservation, Unit
from billing.usage.periods import midnight

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class BudgetBook:
    """Whose calls a hard budget or credit binds: only those ask the database before they begin."""

    teams: frozenset[int]
    keys: frozenset[int]
    members: frozenset[tuple[int, int]]  # team and user

    def binds(self, *, team_id: int, key_id: int | None, member_id: int | None) -> bool:
        return team_id in self.teams or key_id in self.keys or (team_id, member_id) in self.members


def load_budgets() -> BudgetBook:
    hard = list(Budget.objects.filter(hard=True))
    return BudgetBook(
        teams=frozenset(one.team_id for one in hard if one.key_id is None and one.member_id is None),
        keys=frozenset(one.key_id for one in hard if one.key_id is not None),
        members=frozenset((one.team_id, one.member_id) for one in hard if one.member_id is not None),
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """A budget and what its month, or its credit, has come to. Amounts are tokens or money."""

    budget: Budget
    spent: Decimal
    reserved: Decimal
    renews: datetime | None  # None: a credit, which does not

    @property
    def left(self) -> Decimal:
        return self.budget.amount - self.spent - self.reserved

    @property
    def in_tokens(self) -> bool:
        return self.budget.unit == Unit.TOKENS

    @property
    def spent_part(self) -> float:
        """0 to 1; everything of a budget of nothing is spent."""
        return _part(self.spent, self.budget.amount)

    @property
    def reserved_part(self) -> float:
        return min(_part(self.spent + self.reserved, self.budget.amount) - self.spent_part, 1.0)


def budgets_of(team: Team, *, now: datetime, member: User | None = None) -> list[Standing]:
    """The team's own first, then its keys' and its members', by name. Credit is not among them.

    `member`: of keys and members only his.
    """
    rows = Budget.objects.filter(team=team, period=Period.MONTH).select_related("key", "member", "team")
    if member is not None:
        rows = rows.filter(Q(key=None, member=None) | Q(key__owner=member) | Q(member=member))
    ordered = sorted(rows, key=lambda one: (bool(one.key_id) + 2 * bool(one.member_id), str(one).casefold(), one.unit))
    return standings(ordered, team=team, now=now)


def budgets_of_key(key: ApiKey, *, now: datetime) -> list[Standing]:
    """The key's own."""
    rows = Budget.objects.filter(key=key, period=Period.MONTH).select_related("key", "team").order_by("unit")
    return standings(rows, team=key.team, now=now)


def budgets_binding(team: Team, *, key: ApiKey, now: datetime) -> list[Standing]:
    """Those that calls with this key count in: its own, its owner's and the team's."""
    return [
        standing
        for standing in budgets_of(team, now=now)
        if standing.budget.key_id in {None, key.pk} and standing.budget.member_id in {None, key.owner_id}
    ]


def standings(budgets: Iterable[Budget], *, team: Team, now: datetime) -> list[Standing]:
    found = list(budgets)
    if not found:
        return []
    zone = ZoneInfo(team.time_zone)
    month = month_in(zone, now)
    accounts = {
        (account.budget_id, account.month): account
        for account in BudgetAccount.objects.filter(budget__in=found, month__in=[month, CREDITS_MONTH])
    }
    standing = []
    for budget in found:
        credit = budget.period == Period.CREDIT
        account = accounts.get((budget.pk, CREDITS_MONTH if credit else month))
        spent, reserved = (account.spent, account.reserved) if account else (ZERO, ZERO)
        standing.append(Standing(budget, spent, reserved, None if credit else midnight(next_month(month), zone)))
    return standing


@transaction.atomic
def set_budget(
    *,
    team: Team,
    unit: Unit,
    amount: Decimal,
    hard: bool,
    by: User | None,
    key: ApiKey | None = None,
    member: User | None = None,
) -> Budget:
    """Make or change the monthly budget of the team, one of its keys or one of its members, in tokens or money.

    In force in every process within a second. Calls that run keep what they hold, also beyond a lower amount.
    """
    hold_accounts()
    subject = {"team": team, "key": key, "member": member, "period": Period.MONTH, "unit": unit}
    month = month_in(ZoneInfo(team.time_zone), timezone.now())
    budget = Budget.objects.filter(**subject).first()
    before = (str(budget.amount.normalize()), budget.hard) if budget else (None, None)
    if budget is None:
        begin = midnight(month, ZoneInfo(team.time_zone))
        budget = Budget.objects.create(**subject, amount=amount, hard=hard, counts_from=begin)
        BudgetAccount.objects.create(budget=budget, month=month, ceiling=amount)
        recount([budget])
    elif (budget.amount, budget.hard) == (amount, hard):
        return budget
    else:
        budget.amount, budget.hard = amount, hard
        budget.save(update_fields=["amount", "hard"])
        BudgetAccount.objects.filter(budget=budget, month__gte=month).update(ceiling=amount)
    audit.record(
        "budget.set", by=by, team=team, subject=budget, unit=unit, amount=f"{amount.normalize():f}", hard=hard,
        amount_before=before[0], hard_before=before[1],
    )  # fmt: skip
    revision.bump()
    return budget


@transaction.atomic
def remove_budget(*, budget: Budget, by: User | None) -> None:
    """Its calls go on and count nowhere any more; what they hold of other budgets stays held."""
    hold_accounts()
    budget = Budget.objects.select_related("team").get(pk=budget.pk, period=Period.MONTH)
    audit.record(
        "budget.removed", by=by, team=budget.team, subject=budget, unit=budget.unit,
        amount=f"{budget.amount.normalize():f}", hard=budget.hard,
    )  # fmt: skip
    Reservation.objects.filter(budget=budget).delete()
    BudgetAccount.objects.filter(budget=budget).delete()
    Budget.objects.filter(pk=budget.pk).delete()
    revision.bump()


@transaction.atomic
def move_months(*, team: Team, former_zone: str) -> None:
    """After the team's time zone has changed: its months begin elsewhere. Call it in the transaction that changes it.

    What running calls hold stays where it is held.
    """
    hold_accounts()
    budgets = list(Budget.objects.filter(team=team, period=Period.MONTH))
    for budget in budgets:
        first = budget.counts_from.astimezone(ZoneInfo(former_zone)).date()
        budget.counts_from = midnight(first, ZoneInfo(team.time_zone))
        budget.save(update_fields=["counts_from"])
    recount(budgets)


@transaction.atomic
def recount_all() -> None:
    """Accounts anew from the quarter hours and the open reservations."""
    hold_accounts()
    recount(Budget.objects.all())
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_budgetaccount account SET reserved = coalesce((SELECT sum(held.amount)"
            " FROM billing_reservation held"
            " WHERE held.budget_id = account.budget_id AND held.month = account.month), 0)"
        )


def hold_accounts() -> None:
    """Until the end of the transaction nobody else reserves or settles, so that no row counts twice or not at all."""
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE billing_budgetaccount IN SHARE ROW EXCLUSIVE MODE")


def recount(budgets: Iterable[Budget]) -> None:
    """What these budgets have spent, anew from the quarter hours. Hold the accounts before."""
    ids = [budget.pk for budget in budgets]
    if not ids:
        return
    which = sql.SQL("budget.id = ANY ({})").format(sql.Literal(ids))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_budgetaccount SET spent = 0 WHERE budget_id = ANY (%s)", [ids])
        cursor.execute(
            sql.SQL(
                "INSERT INTO billing_budgetaccount AS account (budget_id, month, ceiling, spent, reserved)"
                " SELECT owed.budget_id, owed.month, budget.amount, owed.spent, 0 FROM ({}) owed"
                " JOIN billing_budget budget ON budget.id = owed.budget_id"
                " ON CONFLICT (budget_id, month) DO UPDATE SET spent = excluded.spent"
            ).format(spent_by_log(which))
        )
        cursor.execute(
            "UPDATE billing_budgetaccount account SET spent = account.spent - budget.before FROM billing_budget budget"
            " WHERE budget.id = account.budget_id AND budget.id = ANY (%s) AND account.month = %s",
            [ids, CREDITS_MONTH],
        )


def month_in(zone: ZoneInfo, moment: datetime) -> date:
    return moment.astimezone(zone).date().replace(day=1)


def next_month(month: date) -> date:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def quarter(moment: datetime) -> datetime:
    """The beginning of its quarter hour."""
    moment = moment.astimezone(UTC)
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def _part(amount: Decimal, whole: Decimal) -> float:
    if whole <= 0:
        return 1.0
    return min(max(float(amount / whole), 0.0), 1.0)
