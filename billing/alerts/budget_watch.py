"""Budgets at half, four fifths and all of their month; credit that runs out."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.db.models import OuterRef, Subquery

from accounts.models import Team
from billing.alerts.noticed import Detail, Noticed
from billing.budgets.credit import Credit, credits_of
from billing.budgets.monthly import month_in
from billing.models import Budget, BudgetAccount, CreditEntry, Period, Rule, Severity, Watching

PARTS = (100, 80, 50)  # percent of a budget
SETTLED = timedelta(minutes=10)  # a month is over when all of its calls have come to the log
LOW = Decimal("0.1")  # of the last payment: what is left below it is little

_SEVERITY = {100: Severity.URGENT, 80: Severity.WARNING, 50: Severity.NOTE}


def budgets_and_credit(*, now: datetime) -> Iterator[Noticed]:
    unwanted = set(Watching.objects.filter(budgets=False).values_list("team_id", flat=True))
    yield from _budgets(unwanted, now)
    yield from _credits(unwanted, now)


def _budgets(unwanted: set[int], now: datetime) -> Iterator[Noticed]:
    """Of each budget the highest part that its month has come to; the month before too, while it may still grow. Two
    questions, however many there are.
    """
    rows = Budget.objects.filter(period=Period.MONTH, team__archived_at=None).exclude(team__in=unwanted)
    budgets = list(rows.select_related("team", "key", "member"))
    looked_at = [(budget, month) for budget in budgets for month in _months(budget, now)]
    accounts = BudgetAccount.objects.filter(budget__in=budgets, month__in={month for _budget, month in looked_at})
    spent = {(account.budget_id, account.month): account.spent for account in accounts}
    for budget, month in looked_at:
        used = spent.get((budget.pk, month), Decimal(0))
        part = next((part for part in PARTS if budget.amount > 0 and used * 100 >= budget.amount * part), None)
        if part is None:
            continue
        yield Noticed(
            budget.team_id,
            Rule.BUDGET,
            subject=_subject(budget),
            # Another amount is another budget: its parts are told of anew.
            occasion=f"{month:%Y-%m}:{part}:{budget.unit}:{budget.amount.normalize():f}",
            severity=_SEVERITY[part],
            name=str(budget.key or budget.member or ""),
            detail={
                "part": part,
                "spent": f"{used.normalize():f}",
                "amount": f"{budget.amount.normalize():f}",
                "unit": budget.unit,
                "hard": int(budget.hard),
                "month": month.isoformat(),
            },
        )


def _months(budget: Budget, now: datetime) -> list[date]:
    zone = ZoneInfo(budget.team.time_zone)
    return sorted({month_in(zone, now - SETTLED), month_in(zone, now)})


def _subject(budget: Budget) -> str:
    if budget.key_id:
        return f"key:{budget.key_id}"
    return f"member:{budget.member_id}" if budget.member_id else "team"


def _credits(unwanted: set[int], now: datetime) -> Iterator[Noticed]:
    """A payment is the occasion: after it, what is left may become little once, and nothing once.

    Operators, who take payments, hear of every team; the team hears of it as it wishes.
    """
    latest = CreditEntry.objects.filter(team=OuterRef("pk"), kind=CreditEntry.Kind.TOP_UP).order_by("-at", "-pk")
    credited = Budget.objects.filter(period=Period.CREDIT, team__archived_at=None).values("team")
    teams = Team.objects.filter(pk__in=credited).annotate(paid=Subquery(latest.values("amount")[:1]))
    payments = teams.annotate(payment=Subquery(latest.values("pk")[:1]))
    found = credits_of(payments, now=now)
    for team in payments:
        state = _state(found[team.pk], team.paid) if team.pk in found else None
        if state is None:
            continue
        detail: dict[str, Detail] = {
            "left": f"{found[team.pk].available:f}",
            "used_up": int(state == "used-up"),
            "binding": int(found[team.pk].binding),
        }
        severity = Severity.URGENT if state == "used-up" and found[team.pk].binding else Severity.WARNING
        occasion = f"{team.payment or 0}:{state}"
        if team.pk not in unwanted:
            yield Noticed(team.pk, Rule.CREDIT, "team", occasion, severity, detail=detail)
        yield Noticed(
            None, Rule.TEAM_CREDIT, f"team:{team.pk}", occasion, severity, team.name, detail | {"slug": team.slug}
        )


def _state(credit: Credit, paid: Decimal | None) -> str | None:
    if credit.available <= 0:
        return "used-up"
    return "low" if paid and credit.available < paid * LOW else None
