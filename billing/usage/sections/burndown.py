"""How a budget of this month goes down day by day, and a credit; and by when it may be used up.

Days are the team's. What was spent on them comes from the roll-ups by day, and adds up to what the account has settled:
both are written with each row of the log, in one transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.db.models import F, Sum, Value

from accounts.models import Team
from billing.budgets.monthly import Standing, standings
from billing.models import Budget, CreditEntry, Period, UsageDay
from billing.usage.periods import DAY, midnight, whole_month
from billing.usage.questions import Scope
from billing.usage.sections.forecasts import SEEN, Day, Expected, forecast, reached

CREDIT_DAYS = 30  # to both sides of today
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Burndown:
    """A budget over the days of its chart. Amounts are tokens or money.

    `left` is what was left at the end of each day that is over, and now for today; reservations are not taken off.
    `ahead` says of today and each day after it what may be used more by its end; empty where it is too early to say.
    """

    standing: Standing
    days: tuple[date, ...]
    first: int  # the place of the day on which it began
    spent: tuple[Decimal, ...]  # of each day from `first` up to today
    left: tuple[Decimal, ...]
    today: int  # place
    elapsed: float  # of today, 0 to 1
    ahead: tuple[Expected, ...]

    @property
    def is_credit(self) -> bool:
        return self.standing.renews is None

    @property
    def left_now(self) -> Decimal:
        """What is not settled yet; running calls may hold a part of it."""
        return self.standing.budget.amount - self.standing.spent

    @property
    def used_up_on(self) -> date | None:
        """The first day at whose end nothing was left, if so until now."""
        if self.left_now > 0:
            return None
        place = len(self.left)
        while place > 0 and self.left[place - 1] <= 0:
            place -= 1
        return self.days[self.first + min(place, len(self.left) - 1)]

    def reached_on(self, amounts: Sequence[float]) -> date | None:
        """The day ahead on which these amounts, of the days ahead, come to what is left."""
        place = reached(amounts, float(self.left_now))
        return None if place is None else self.days[self.today + place]

    @property
    def likely_end(self) -> date | None:
        return self.reached_on([one.likely for one in self.ahead])

    @property
    def earliest_end(self) -> date | None:
        return self.reached_on([one.most for one in self.ahead])

    @property
    def latest_end(self) -> date | None:
        return self.reached_on([one.least for one in self.ahead])


def burndowns(scope: Scope, *, now: datetime) -> list[Burndown]:
    """Of the scope's own budgets, and of a team's credit. The platform has none."""
    team = scope.team
    if team is None:
        return []
    budgets = Budget.objects.filter(team=team, key=scope.key_id, member=scope.member_id).order_by("unit")
    if scope.key_id is not None or scope.member_id is not None:
        budgets = budgets.select_related("key", "member", "team")
    every = standings(budgets, team=team, now=now)
    if not every:
        return []
    spending = _spending(team, every, now)
    monthly = [_month(one, spending, now=now, team=team) for one in every if one.budget.period == Period.MONTH]
    credit = [_credit(one, spending, now=now, team=team) for one in every if one.budget.period == Period.CREDIT]
    return [*monthly, *credit]


def months(budgets: Sequence[Standing], *, team: Team, now: datetime) -> list[Burndown]:
    """Of these monthly budgets of the team, in their order; one query for all of them."""
    if not budgets:
        return []
    spending = _spending(team, budgets, now)
    return [_month(one, spending, now=now, team=team) for one in budgets]


@dataclass(frozen=True, slots=True)
class _Spent:
    day: date
    key_id: int
    member_id: int
    tokens: int
    money: Decimal


@dataclass(frozen=True, slots=True)
class _Spending:
    """What was spent on days up to today, by whom."""

    rows: tuple[_Spent, ...]

    def of(self, standing: Standing) -> dict[date, Decimal]:
        """By day, in the budget's unit; days that came to nothing may be absent."""
        budget = standing.budget
        found: dict[date, Decimal] = {}
        for row in self.rows:
            if budget.key_id in {None, row.key_id} and budget.member_id in {None, row.member_id}:
                amount = Decimal(row.tokens) if standing.in_tokens else row.money
                found[row.day] = found.get(row.day, ZERO) + amount
        return found


def _spending(team: Team, budgets: Sequence[Standing], now: datetime) -> _Spending:
    """Keys and members are told apart only where a budget is one's."""
    today = now.astimezone(ZoneInfo(team.time_zone)).date()
    since = min(today.replace(day=1), today - DAY * max(SEEN, CREDIT_DAYS))
    rows = UsageDay.objects.filter(team=team, day__gte=since, day__lte=today)
    keys, members = ({getattr(one.budget, which) for one in budgets} for which in ("key_id", "member_id"))
    if None not in keys:
        rows = rows.filter(key_id__in=keys)
    if None not in members:
        rows = rows.filter(member_id__in=members)
    sums = rows.values_list(
        "day",
        F("key_id") if keys != {None} else Value(0),
        F("member_id") if members != {None} else Value(0),
    ).annotate(tokens=Sum(F("prompt_tokens") + F("completion_tokens")), money=Sum("cost"))
    return _Spending(tuple(_Spent(*row) for row in sums))


def _month(standing: Standing, spending: _Spending, *, now: datetime, team: Team) -> Burndown:
    zone = ZoneInfo(team.time_zone)
    today = now.astimezone(zone).date()
    days = whole_month(today, zone).days
    each = spending.of(standing)
    spent = [each.get(day, ZERO) for day in days if day <= today]
    left, rest = [], standing.budget.amount
    for one in spent:
        rest -= one
        left.append(rest)
    return _made(standing, days, spent, left, each, now=now, zone=zone)


def _credit(standing: Standing, spending: _Spending, *, now: datetime, team: Team) -> Burndown:
    """From what it is now backwards, since it began with entries and goes up with them."""
    zone = ZoneInfo(team.time_zone)
    today = now.astimezone(zone).date()
    days = [today + DAY * number for number in range(-CREDIT_DAYS, CREDIT_DAYS + 1)]
    begin = standing.budget.counts_from.astimezone(zone).date()
    entered, each = _entered(team, midnight(days[0], zone), zone), spending.of(standing)
    past = [day for day in days if begin <= day <= today]
    left, rest = [], standing.budget.amount - standing.spent
    for day in reversed(past):
        left.append(rest)
        rest += each.get(day, ZERO) - entered.get(day, ZERO)
    spent = [each.get(day, ZERO) for day in past]
    return _made(standing, days, spent, left[::-1], each, now=now, zone=zone)


def _entered(team: Team, since: datetime, zone: ZoneInfo) -> dict[date, Decimal]:
    found: dict[date, Decimal] = {}
    for at, amount in CreditEntry.objects.filter(team=team, at__gte=since).values_list("at", "amount"):
        day = at.astimezone(zone).date()
        found[day] = found.get(day, ZERO) + amount
    return found


def _made(
    standing: Standing,
    days: Sequence[date],
    spent: Sequence[Decimal],
    left: Sequence[Decimal],
    each: dict[date, Decimal],
    *,
    now: datetime,
    zone: ZoneInfo,
) -> Burndown:
    today = now.astimezone(zone).date()
    begin, end = midnight(today, zone), midnight(today + timedelta(days=1), zone)
    elapsed = (now - begin) / (end - begin)
    place = days.index(today)
    ahead = [Day(day.weekday(), 1.0) for day in days[place + 1 :]]
    return Burndown(
        standing=standing,
        days=tuple(days),
        first=place + 1 - len(left),
        spent=tuple(spent),
        left=tuple(left),
        today=place,
        elapsed=elapsed,
        ahead=forecast(_whole_days(each, today), [Day(today.weekday(), 1 - elapsed), *ahead]),
    )


def _whole_days(each: dict[date, Decimal], today: date) -> list[Day]:
    """Up to yesterday, from the first day on which anything was used."""
    known = [day for day, amount in each.items() if amount and day < today]
    if not known:
        return []
    first = max(min(known), today - DAY * SEEN)
    return [
        Day(day.weekday(), float(each.get(day, ZERO)))
        for day in (first + DAY * number for number in range((today - first).days))
    ]
