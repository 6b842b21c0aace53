"""Accounts of budgets and credit: reserved before a call, settled by its row of the log, freed when there is none.

A reservation is one statement for all accounts of a call: each is raised only if what is spent, reserved and wanted
fit its ceiling, so that no two calls can both take what is left. Rows of the log settle in the very statement that
writes them, those without a reservation too: what is spent is what the log says, never a count of its own.

Accounts are locked in the order of their keys, and reservations before accounts, by everybody here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone
from psycopg import sql

from billing.errors import NoPrice, OverBudget
from billing.models import CREDITS_MONTH, BudgetAccount, Period, Reservation, SpoolMark, Unit

LOST_AFTER = timedelta(days=7)  # a process that has shipped nothing for so long will ship nothing any more

_QUARTER = sql.SQL("date_bin('15 minutes', log.booked_at, timestamptz '2000-01-01 00:00+00')")
_SUBJECTS = (
    sql.SQL("budget.team_id = bill.team_id AND budget.key_id IS NULL AND budget.member_id IS NULL"),
    sql.SQL("budget.team_id = bill.team_id AND budget.key_id = bill.key_id"),
    sql.SQL("budget.team_id = bill.team_id AND budget.member_id = bill.member_id"),
)
_ALL = sql.SQL("TRUE")
# An account is locked until its change is committed, and waiting for the disk would be most of that. If PostgreSQL's
# machine dies, reservations of its last moment are forgotten; what is spent is not: that is the ledger's to write.
_UNHURRIED = "SET LOCAL synchronous_commit TO off"
_MOVE = sql.SQL(
    "ON CONFLICT (budget_id, month) DO UPDATE"
    " SET spent = account.spent + excluded.spent, reserved = account.reserved + excluded.reserved"
)


def month_of(moment: sql.Composable) -> sql.Composed:
    """The month, in the zone of `team`, of an account of `budget` at that moment."""
    return sql.SQL(
        "CASE budget.period WHEN {credit} THEN {always}"
        " ELSE date_trunc('month', {moment} AT TIME ZONE team.time_zone)::date END"
    ).format(credit=sql.Literal(str(Period.CREDIT)), always=sql.Literal(CREDITS_MONTH), moment=moment)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call may come to at most. `money` None: its model has no price."""

    team_id: int
    key_id: int | None
    member_id: int | None
    at: datetime  # when the call began
    tokens: int
    money: Decimal | None


@dataclass(frozen=True, slots=True)
class Taken:
    """How one budget stood to a call. `wanted` None: in money, and the call has no price."""

    budget_id: int
    month: date
    period: str
    unit: str
    wanted: Decimal | None
    amount: Decimal
    granted: bool
    key_id: int | None
    member_id: int | None
    time_zone: str


def reserve(wanted: Wanted, *, request_id: UUID, process: UUID, lease: timedelta) -> bool:
    """Hold the most that a call may cost in every hard budget and credit that binds it. False: none does.

    All or nothing. The lease counts from now, by this process's clock, and must outlast the call.
    Raises OverBudget for the first that has not enough left, and NoPrice where money is wanted and there is no price.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_UNHURRIED)
        cursor.execute(
            _reserving(),
            {
                "team": wanted.team_id,
                "key": wanted.key_id,
                "member": wanted.member_id,
                "at": wanted.at,
                "tokens": wanted.tokens,
                "money": wanted.money,
                "request": request_id,
                "process": process,
                "expires_at": timezone.now() + lease,
            },
        )
        budgets = [Taken(*row) for row in cursor.fetchall()]
        refused = next((budget for budget in budgets if not budget.granted), None)
        if refused is not None:
            transaction.set_rollback(True)
    if refused is not None:
        raise _refusal(refused)
    return any(budget.wanted for budget in budgets)


def come_to(ended: Iterable[tuple[UUID, int, Decimal]]) -> None:
    """What calls that have ended came to, in tokens and money: their reservations hold that, and no more, until the
    log's rows settle them. What came to nothing is let go of.
    """
    ids, tokens, money = zip(*ended, strict=True)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_UNHURRIED)
        cursor.execute(_shrinking(), {"ids": list(ids), "tokens": list(tokens), "money": list(money)})


def settling() -> sql.Composed:
    """The parts of the ledger's statement that settle `fresh`, the rows of the log that are new."""
    return sql.SQL(
        "freed AS (DELETE FROM billing_reservation held USING fresh WHERE held.request_id = fresh.id"
        " RETURNING held.budget_id, held.month, held.amount),"
        " bills AS (SELECT log.team_id, log.key_id, log.member_id, {quarter} AS quarter,"
        " sum(log.prompt_tokens + log.completion_tokens) AS tokens, coalesce(sum(log.cost), 0) AS money"
        " FROM fresh log GROUP BY 1, 2, 3, 4),"
        " spent AS ({bound}),"
        " accounts AS (INSERT INTO billing_budgetaccount AS account (budget_id, month, ceiling, spent, reserved)"
        " SELECT move.budget_id, move.month, budget.amount, sum(move.spent), sum(move.reserved)"
        " FROM (SELECT budget_id, month, spent, 0 AS reserved FROM spent"
        " UNION ALL SELECT budget_id, month, 0, -amount FROM freed) move"
        " JOIN billing_budget budget ON budget.id = move.budget_id"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2 {move})"
    ).format(quarter=_QUARTER, bound=_spendings(sql.SQL("bills")), move=_MOVE)


def shipped(process: UUID, until: float) -> None:
    """What of this process ended before `until`, seconds since the epoch by its own clock, is in the log."""
    moment = datetime.fromtimestamp(until, UTC)
    SpoolMark.objects.update_or_create(process=process, defaults={"shipped_until": moment})


def all_shipped(process: UUID) -> None:
    """Everything of a dead process is in the log. What it still holds was reserved for calls that never began."""
    _free(sql.SQL("held.process = %(process)s"), {"process": process})
    SpoolMark.objects.filter(process=process).delete()


def free_expired() -> None:
    """Let go of what calls hold that have ended without a row in the log: those whose process was killed between the
    reservation and the start record, and those whose record the log refused.

    A call has ended when its lease is over, and its record is not on its way when its process has shipped all up to
    that moment: so long as a process cannot ship, or its machine is down, its reservations stay. What a machine holds
    that never came back is let go of after LOST_AFTER.
    """
    lost = timezone.now() - LOST_AFTER
    over = sql.SQL(
        "held.expires_at < %(lost)s OR EXISTS (SELECT FROM billing_spoolmark mark"
        " WHERE mark.process = held.process AND held.expires_at < mark.shipped_until)"
    )
    _free(over, {"lost": lost})
    SpoolMark.objects.filter(shipped_until__lt=lost).exclude(process__in=Reservation.objects.values("process")).delete()


def spent_by_log(budgets: sql.Composable) -> sql.Composed:
    """SELECT budget_id, month, spent out of the quarter hours, for the budgets of a condition on `budget`.

    It has no row where nothing was spent, and `before` is not taken off yet.
    """
    bills = sql.SQL(
        "(SELECT team_id, nullif(key_id, 0) AS key_id, nullif(member_id, 0) AS member_id, bucket AS quarter,"
        " prompt_tokens + completion_tokens AS tokens, cost AS money FROM billing_usagequarter)"
    )
    return _spendings(bills, budgets)


def accounts_differing() -> int:
    """How many accounts hold other than the log and the open reservations say, or have a credit that its entries do
    not come to.

    The log by way of the quarter hours, which the audit compares with it as far as it goes back.
    """
    with connection.cursor() as cursor:
        cursor.execute(_DIFFERING.format(spent=spent_by_log(_ALL), always=sql.Literal(CREDITS_MONTH)))
        return int(cursor.fetchone()[0])


_DIFFERING = sql.SQL(
    "WITH owed AS ({spent}),"
    " held AS (SELECT budget_id, month, sum(amount) AS reserved FROM billing_reservation GROUP BY 1, 2),"
    " paid AS (SELECT team_id, sum(amount) AS amount FROM billing_creditentry GROUP BY 1)"
    " SELECT (SELECT count(*) FROM owed FULL JOIN billing_budgetaccount account USING (budget_id, month)"
    " FULL JOIN held USING (budget_id, month) LEFT JOIN billing_budget budget ON budget.id = budget_id"
    " WHERE coalesce(account.spent, 0) <> coalesce(owed.spent, 0)"
    " - CASE WHEN account.month = {always} THEN budget.before ELSE 0 END"
    " OR coalesce(account.reserved, 0) <> coalesce(held.reserved, 0))"
    " + (SELECT count(*) FROM paid FULL JOIN (SELECT * FROM billing_budget WHERE period = 'credit') budget"
    " USING (team_id) WHERE coalesce(paid.amount, 0) <> coalesce(budget.amount, 0))"
)


def _spendings(bills: sql.Composable, which: sql.Composable = _ALL) -> sql.Composed:
    """By account, what of `bills` counts there. One equality for each kind of subject, so that none is a loop."""
    one = sql.SQL(
        "SELECT budget.id AS budget_id, {month} AS month,"
        " CASE budget.unit WHEN {tokens} THEN bill.tokens ELSE bill.money END AS spent"
        " FROM {bills} bill JOIN billing_budget budget ON {subject} JOIN accounts_team team ON team.id = bill.team_id"
        " WHERE bill.quarter >= budget.counts_from AND {which}"
    )
    parts = [
        one.format(
            month=month_of(sql.SQL("bill.quarter")),
            tokens=sql.Literal(str(Unit.TOKENS)),
            bills=bills,
            subject=subject,
            which=which,
        )
        for subject in _SUBJECTS
    ]
    return sql.SQL("SELECT budget_id, month, sum(spent) AS spent FROM ({}) each GROUP BY 1, 2").format(
        sql.SQL(" UNION ALL ").join(parts)
    )


@cache
def _reserving() -> str:
    """What a budget wants nothing of is granted unasked: free models go on when it is used up."""
    return (
        sql.SQL(
            "WITH due AS (SELECT budget.id, {month} AS month, budget.period, budget.unit, budget.amount, budget.key_id,"
            " budget.member_id, team.time_zone,"
            " CASE budget.unit WHEN {tokens} THEN %(tokens)s::numeric ELSE %(money)s::numeric END AS wanted"
            " FROM billing_budget budget JOIN accounts_team team ON team.id = budget.team_id"
            " WHERE budget.team_id = %(team)s AND budget.hard"
            " AND (budget.key_id IS NULL OR budget.key_id = %(key)s::bigint)"
            " AND (budget.member_id IS NULL OR budget.member_id = %(member)s::bigint)),"
            " taken AS (INSERT INTO billing_budgetaccount AS account (budget_id, month, ceiling, spent, reserved)"
            " SELECT id, month, amount, 0, wanted FROM due WHERE wanted > 0 AND wanted <= amount ORDER BY 1, 2"
            " ON CONFLICT (budget_id, month) DO UPDATE SET reserved = account.reserved + excluded.reserved"
            " WHERE account.spent + account.reserved + excluded.reserved <= account.ceiling"
            " RETURNING budget_id, month),"
            " held AS (INSERT INTO billing_reservation (request_id, budget_id, month, amount, process, expires_at)"
            " SELECT %(request)s, taken.budget_id, taken.month, due.wanted, %(process)s, %(expires_at)s"
            " FROM taken JOIN due ON due.id = taken.budget_id)"
            " SELECT due.id, due.month, due.period, due.unit, due.wanted, due.amount,"
            " coalesce(due.wanted = 0, FALSE) OR taken.budget_id IS NOT NULL, due.key_id, due.member_id, due.time_zone"
            " FROM due LEFT JOIN taken ON taken.budget_id = due.id ORDER BY due.id"
        )
        .format(month=month_of(sql.SQL("%(at)s")), tokens=sql.Literal(str(Unit.TOKENS)))
        .as_string()
    )


@cache
def _shrinking() -> str:
    return (
        sql.SQL(
            "WITH came AS (SELECT * FROM unnest(%(ids)s::uuid[], %(tokens)s::numeric[], %(money)s::numeric[])"
            " AS came (id, tokens, money)),"
            " was AS (SELECT held.request_id, held.budget_id, held.month, held.amount,"
            " CASE budget.unit WHEN {tokens} THEN came.tokens ELSE came.money END AS now"
            " FROM billing_reservation held JOIN came ON came.id = held.request_id"
            " JOIN billing_budget budget ON budget.id = held.budget_id"
            " ORDER BY held.request_id, held.budget_id FOR UPDATE OF held),"
            " gone AS (DELETE FROM billing_reservation held USING was WHERE was.now = 0"
            " AND held.request_id = was.request_id AND held.budget_id = was.budget_id),"
            " kept AS (UPDATE billing_reservation held SET amount = was.now FROM was WHERE was.now > 0"
            " AND held.request_id = was.request_id AND held.budget_id = was.budget_id)"
            " INSERT INTO billing_budgetaccount AS account (budget_id, month, ceiling, spent, reserved)"
            " SELECT budget_id, month, 0, 0, sum(now - amount) FROM was GROUP BY 1, 2 ORDER BY 1, 2 {move}"
        )
        .format(tokens=sql.Literal(str(Unit.TOKENS)), move=_MOVE)
        .as_string()
    )


def _free(which: sql.Composable, words: Mapping[str, UUID | datetime]) -> None:
    """Reservations that a condition on `held` finds, back to their accounts."""
    statement = sql.SQL(
        "WITH freed AS (DELETE FROM billing_reservation held WHERE {which} RETURNING budget_id, month, amount)"
        " INSERT INTO billing_budgetaccount AS account (budget_id, month, ceiling, spent, reserved)"
        " SELECT budget_id, month, 0, 0, -sum(amount) FROM freed GROUP BY 1, 2 ORDER BY 1, 2 {move}"
    ).format(which=which, move=_MOVE)
    with connection.cursor() as cursor:
        cursor.execute(statement, words)


def _refusal(budget: Taken) -> OverBudget | NoPrice:
    if budget.wanted is None:
        return NoPrice("The model has no price.")
    account = BudgetAccount.objects.filter(budget_id=budget.budget_id, month=budget.month).first()
    return OverBudget(
        whose="key" if budget.key_id else "member" if budget.member_id else "team",
        credit=budget.period == Period.CREDIT,
        money=budget.unit == Unit.MONEY,
        amount=budget.amount,
        left=budget.amount - (account.spent + account.reserved if account else 0),
        reserved=account.reserved if account else Decimal(0),
        wanted=budget.wanted,
        month=budget.month,
        time_zone=budget.time_zone,
    )
