"""Whatever the order of reserving, ending, settling, expiring and changing: accounts are what the log and the open
reservations say, and nothing is granted beyond a limit."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import ApiKey, Team, User
from billing.budgets import settling
from billing.budgets.credit import correct, top_up
from billing.budgets.monthly import remove_budget, set_budget
from billing.budgets.settling import Wanted
from billing.errors import OverBudget
from billing.ids import new_request
from billing.ledger import log as ledger
from billing.ledger.auditing import audit
from billing.ledger.partitions import ensure_partitions
from billing.models import Budget, BudgetAccount, Period, Reservation, Unit, UsageRecord
from billing.records import Counts, UnitPrices
from tests.billing.traffic import ended
from tests.factories import make_key

EACH = UnitPrices(Decimal(1), Decimal(1), Decimal(1), Decimal(1))  # a million tokens cost 1
MICRO = Decimal("0.000001")

# What happens, to which of the calls so far, and how many tokens are in it.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["reserve", "reserve", "end", "settle", "settle", "stray", "expire", "change", "pay", "remove"]
        ),
        st.integers(0, 7),
        st.integers(0, 60),
    ),
    max_size=40,
)


class World:
    """A team with a key and a member, each with budgets, and the calls that were let in."""

    def __init__(self, team: Team, key: ApiKey, member: User) -> None:
        self.team, self.key, self.member = team, key, member
        self.process = uuid4()
        self.calls: list[tuple[UUID, int]] = []  # request and what it reserved
        self.used: dict[UUID, int] = {}
        self.limit(200)
        set_budget(team=team, unit=Unit.MONEY, amount=150 * MICRO, hard=True, by=None, key=key)
        set_budget(team=team, unit=Unit.TOKENS, amount=Decimal(10), hard=False, by=None, member=member)
        top_up(team=team, amount=300 * MICRO, by=None)

    def limit(self, amount: int) -> None:
        set_budget(team=self.team, unit=Unit.TOKENS, amount=Decimal(amount), hard=True, by=None)

    def reserve(self, _: int, tokens: int) -> None:
        wanted = Wanted(
            self.team.pk, self.key.pk, self.member.pk, timezone.now(), tokens, tokens * MICRO
        )  # fmt: skip
        request = new_request().id
        before = accounts()
        try:
            settling.reserve(wanted, request_id=request, process=self.process, lease=timedelta(0))
        except OverBudget:
            assert accounts() == before
            return
        self.calls.append((request, tokens))
        for budget in Budget.objects.filter(hard=True):
            spent, reserved = accounts().get(budget.pk, (Decimal(0), Decimal(0)))
            assert not tokens or spent + reserved <= budget.amount

    def end(self, which: int, used: int) -> None:
        if self.calls:
            request, _ = self.calls[which % len(self.calls)]
            used = self.used.setdefault(request, used)
            settling.come_to([(request, used, used * MICRO)])

    def settle(self, which: int, used: int) -> None:
        if self.calls:
            request, _ = self.calls[which % len(self.calls)]
            self.book(request, self.used.setdefault(request, used))

    def stray(self, _: int, used: int) -> None:
        """A row without a reservation, such as one that was freed long ago."""
        self.book(new_request().id, used)

    def book(self, request: UUID, used: int) -> None:
        counts = Counts(used // 2, used - used // 2, "upstream", "upstream")
        # The request's own moment, or a second arrival would be another row.
        at_ms = request.int >> 80
        row = ended(
            self.team.pk, counts, id=request, at_ms=at_ms, key_id=self.key.pk, member_id=self.member.pk, price=EACH
        )
        ledger.write([row])

    def expire(self, *_: int) -> None:
        settling.shipped(self.process, timezone.now().timestamp() + 1)
        settling.free_expired()
        assert not Reservation.objects.exists()

    def change(self, _: int, amount: int) -> None:
        """Also below what is used and held."""
        self.limit(amount * 5)

    def pay(self, _: int, amount: int) -> None:
        correct(team=self.team, amount=(amount - 20) * MICRO or MICRO, by=None)

    def remove(self, *_: int) -> None:
        remove_budget(budget=Budget.objects.filter(period=Period.MONTH, key=None, member=None).get(), by=None)
        self.limit(100)


def accounts() -> dict[int, tuple[Decimal, Decimal]]:
    return {one.budget_id: (one.spent, one.reserved) for one in BudgetAccount.objects.all()}


def check(world: World) -> None:
    rows = list(UsageRecord.objects.all())
    tokens = sum(row.prompt_tokens + row.completion_tokens for row in rows)
    money = sum((row.cost or Decimal(0) for row in rows), Decimal(0))
    for budget in Budget.objects.all():
        spent, reserved = accounts().get(budget.pk, (Decimal(0), Decimal(0)))
        held = sum((one.amount for one in Reservation.objects.filter(budget=budget)), Decimal(0))
        assert spent == (tokens if budget.unit == Unit.TOKENS else money)
        assert reserved == held
    assert audit().agrees


@pytest.mark.spec("F32", "R14", "R23", "U7")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_accounts_are_the_log_and_the_open_reservations_after_any_order(
    red: Team, bob: User, steps: list[tuple[str, int, int]]
) -> None:
    key = ApiKey.objects.filter(team=red).first() or make_key(red).key
    ensure_partitions()
    with transaction.atomic():
        world = World(red, key, bob)
        for name, which, amount in steps:
            getattr(world, name)(which, amount)
            check(world)
        transaction.set_rollback(True)
