"""Budgets and credit: reserved, settled by the log's rows, freed, and always what the log says."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Barrier, Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import ApiKey, AuditEntry, Team, User
from accounts.teams import remove_member
from billing.budgets import settling
from billing.budgets.credit import correct, credit_of, entries_of, set_binding, top_up
from billing.budgets.monthly import budgets_of, load_budgets, move_months, recount_all, remove_budget, set_budget
from billing.budgets.settling import Wanted
from billing.errors import AlreadyEntered, NoPrice, OverBudget
from billing.ids import new_request
from billing.ledger import log as ledger
from billing.ledger.auditing import audit
from billing.ledger.partitions import ensure_partitions
from billing.models import Budget, BudgetAccount, Reservation, SpoolMark, Unit
from billing.records import NOTHING
from billing.spool.shipper import Shipper
from billing.spool.writer import Spool
from tests.billing.traffic import PRICE, a_final, a_start, counts, ended, milliseconds
from tests.factories import make_key

TOTAL = timedelta(hours=1)
PROCESS = uuid4()
NOW = timezone.now()


@pytest.fixture
def key(red: Team) -> ApiKey:
    return make_key(red).key


def limit(team: Team, amount: float = 100, **more: Any) -> Budget:
    return set_budget(
        team=team, **{"unit": Unit.TOKENS, "amount": Decimal(str(amount)), "hard": True, "by": None, **more}
    )


def reserve(team: Team, tokens: int = 40, *, money: Decimal | None = None, **more: Any) -> UUID:
    request = more.pop("request_id", None) or new_request().id
    process, lease = more.pop("process", PROCESS), more.pop("lease", TOTAL)
    who = {"key_id": None, "member_id": None, "at": timezone.now(), **more}
    settling.reserve(
        Wanted(team_id=team.pk, tokens=tokens, money=money, **who), request_id=request, process=process, lease=lease
    )
    return request


def settle(team: Team, request: UUID | None = None, used: Any = None, **start: Any) -> None:
    start = start if request is None else {**start, "id": request}
    ledger.write([ended(team.pk, used or counts(), **start)])


def account(budget: Budget, month: date | None = None) -> tuple[Decimal, Decimal]:
    """Spent and reserved."""
    rows = BudgetAccount.objects.filter(budget=budget)
    row = rows.get(month=month) if month else rows.get()
    return row.spent, row.reserved


@pytest.mark.spec("F32", "U4")
def test_a_call_holds_the_most_it_may_cost_until_its_row_is_in_the_log(red: Team) -> None:
    budget = limit(red, 100)
    request = reserve(red, 40)
    assert account(budget) == (0, 40)
    settle(red, request, counts(10, 5))
    assert account(budget) == (15, 0)
    assert not Reservation.objects.exists()
    assert audit().agrees


@pytest.mark.spec("F32", "U4", "U6")
def test_a_call_that_may_cost_more_than_is_left_holds_nothing_and_learns_why(red: Team) -> None:
    budget = limit(red, 100)
    reserve(red, 60)
    settle(red, used=counts(10, 5))
    with pytest.raises(OverBudget) as refused:
        reserve(red, 26)
    error = refused.value
    assert (error.whose, error.left, error.reserved, error.wanted) == ("team", 25, 60, 26)
    assert account(budget) == (15, 60)
    reserve(red, 25)
    assert account(budget) == (15, 85)


@pytest.mark.spec("F32")
def test_a_call_is_held_in_all_its_budgets_or_in_none(red: Team, bob: User) -> None:
    team, hers, his = limit(red, 100), limit(red, 1000, key=make_key(red).key), limit(red, 30, member=bob)
    key_id = hers.key_id
    with pytest.raises(OverBudget) as refused:
        reserve(red, 40, key_id=key_id, member_id=bob.pk)
    assert refused.value.whose == "member"
    assert not Reservation.objects.exists()
    request = reserve(red, 30, key_id=key_id, member_id=bob.pk)
    assert [account(one) for one in (team, hers, his)] == [(0, 30)] * 3
    settle(red, request, counts(10, 5), key_id=key_id, member_id=bob.pk)
    assert [account(one) for one in (team, hers, his)] == [(15, 0)] * 3


@pytest.mark.spec("U4")
def test_what_is_counted_is_the_subjects_own(red: Team, blue: Team, bob: User, key: ApiKey) -> None:
    budgets = [limit(red), limit(red, key=key), limit(red, member=bob), limit(blue)]
    settle(red, used=counts(1, 0), key_id=key.pk)
    settle(red, used=counts(2, 0), key_id=make_key(red).key.pk, member_id=bob.pk)
    settle(red, used=counts(4, 0), origin="chat", member_id=bob.pk)
    settle(blue, used=counts(8, 0), member_id=bob.pk)
    assert [account(one)[0] for one in budgets] == [7, 1, 6, 8]
    assert audit().agrees


@pytest.mark.spec("U4")
def test_a_soft_budget_counts_and_refuses_nobody(red: Team) -> None:
    budget = limit(red, 1, hard=False)
    book = load_budgets()
    assert not book.binds(team_id=red.pk, key_id=None, member_id=None)
    reserve(red, 1_000_000)
    settle(red, used=counts(10, 5))
    assert account(budget) == (15, 0)


@pytest.mark.spec("U2", "U4", "U7")
def test_money_is_counted_as_the_log_has_it(red: Team) -> None:
    budget = limit(red, 1, unit=Unit.MONEY)
    request = reserve(red, money=Decimal("0.25"))
    settle(red, request, counts(1_000_000, 0), price=PRICE)
    assert account(budget) == (Decimal("0.9"), 0)
    settle(red, used=counts(1000, 0))  # no price was in force
    assert account(budget) == (Decimal("0.9"), 0)


@pytest.mark.spec("U4", "U6")
def test_in_money_a_model_without_a_price_is_refused_and_a_free_one_is_not(red: Team) -> None:
    limit(red, 0, unit=Unit.MONEY)
    with pytest.raises(NoPrice):
        reserve(red, money=None)
    reserve(red, money=Decimal(0))
    assert not Reservation.objects.exists()
    limit(red, 10)
    with pytest.raises(OverBudget):  # a price of zero disables no limit in tokens
        reserve(red, 11, money=Decimal(0))


@pytest.mark.spec("F32")
def test_a_row_that_arrives_twice_settles_once(red: Team) -> None:
    budget = limit(red)
    row = ended(red.pk, counts(10, 5))
    reserve(red, 40, request_id=row.start.id)
    assert [ledger.write([row]), ledger.write([row])] == [1, 0]
    assert account(budget) == (15, 0)


@pytest.mark.spec("U4")
def test_a_new_budget_begins_with_what_the_month_has_come_to(red: Team, key: ApiKey) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone="Asia/Kathmandu")
    red.refresh_from_db()
    now = timezone.now()
    ensure_partitions([now.date().replace(day=1) - timedelta(days=1)])
    settle(red, used=counts(3, 0), key_id=key.pk, price=PRICE)
    settle(red, used=counts(4, 0))
    settle(red, used=counts(500, 0), at_ms=milliseconds(now - timedelta(days=32)))
    assert account(limit(red))[0] == 7
    assert account(limit(red, key=key))[0] == 3
    assert account(limit(red, unit=Unit.MONEY))[0] == Decimal("0.0000027")
    assert audit().agrees


@pytest.mark.spec("U4")
def test_a_budget_may_change_and_go_while_calls_run(red: Team, alice: User) -> None:
    budget = limit(red, 100)
    first, second = reserve(red, 40), reserve(red, 40)
    assert limit(red, 50, by=alice) == budget
    with pytest.raises(OverBudget):
        reserve(red, 1)
    settle(red, first, counts(10, 5))
    assert account(budget) == (15, 40)
    remove_budget(budget=budget, by=alice)
    settle(red, second, counts(10, 5))
    assert not BudgetAccount.objects.exists()
    assert not Reservation.objects.exists()
    again = limit(red, 31, by=alice)
    assert account(again) == (30, 0)
    assert audit().agrees
    entries = AuditEntry.objects.filter(actor=alice).order_by("pk").values_list("action", "detail__amount")
    assert list(entries) == [("budget.set", "50"), ("budget.removed", "50"), ("budget.set", "31")]


@pytest.mark.spec("F37", "U4")
def test_who_leaves_or_is_revoked_is_booked_to_the_end(red: Team, bob: User, key: ApiKey) -> None:
    budgets = limit(red, member=bob), limit(red, key=key)
    request = reserve(red, 40, key_id=key.pk, member_id=bob.pk)
    remove_member(team=red, user=bob, by=None)
    ApiKey.objects.filter(pk=key.pk).update(revoked_at=timezone.now())
    settle(red, request, counts(10, 5), key_id=key.pk, member_id=bob.pk)
    assert [account(one) for one in budgets] == [(15, 0)] * 2


@pytest.mark.spec("U4")
@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/Mexico_City", "UTC"])
def test_a_call_counts_in_the_month_in_which_it_began_where_the_team_is(red: Team, zone: str) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone=zone)
    red.refresh_from_db()
    budget = limit(red, 100)
    turn = budgets_of(red, now=timezone.now())[0].renews
    assert turn is not None
    last, first = turn - timedelta(milliseconds=1), turn
    ensure_partitions([last.date(), first.date()])
    old, new = reserve(red, 60, at=last), reserve(red, 90, at=first)
    begun = budget.counts_from.astimezone(turn.tzinfo)
    months = sorted(BudgetAccount.objects.values_list("month", "reserved"))
    assert [reserved for _, reserved in months] == [60, 90]
    settle(red, old, counts(50, 0), at_ms=milliseconds(last))
    settle(red, new, counts(70, 0), at_ms=milliseconds(first))
    assert [account(budget, month) for month, _ in months] == [(50, 0), (70, 0)]
    assert begun < last
    assert audit().agrees


@pytest.mark.spec("U4")
def test_a_team_that_moves_to_another_zone_is_counted_by_its_new_months(red: Team) -> None:
    budget = limit(red, 100)
    turn = budgets_of(red, now=timezone.now())[0].renews
    assert turn is not None
    ensure_partitions([turn.date()])
    held = reserve(red, 5, at=turn)
    settle(red, used=counts(30, 0), at_ms=milliseconds(turn + timedelta(hours=2)))
    settle(red, used=counts(1, 0), at_ms=milliseconds(turn + timedelta(hours=9)))
    Team.objects.filter(pk=red.pk).update(time_zone="America/Mexico_City")  # six hours behind
    assert not audit().agrees
    move_months(team=Team.objects.get(pk=red.pk), former_zone="UTC")
    assert [tuple(one) for one in BudgetAccount.objects.order_by("month").values_list("spent", "reserved")] == [
        (30, 0), (1, 5),
    ]  # fmt: skip
    settle(red, held, counts(2, 0), at_ms=milliseconds(turn))
    assert [tuple(one) for one in BudgetAccount.objects.order_by("month").values_list("spent", "reserved")] == [
        (32, 0), (1, 0),
    ]  # fmt: skip
    budget.refresh_from_db()
    assert budget.counts_from.astimezone(UTC).hour == 6


@pytest.mark.spec("F32")
def test_what_a_call_came_to_is_free_again_before_its_row_is_in_the_log(red: Team) -> None:
    tokens, money = limit(red, 100), limit(red, 1, unit=Unit.MONEY)
    some, none = reserve(red, 40, money=Decimal("0.5")), reserve(red, 50, money=Decimal("0.25"))
    settling.come_to([(some, 15, Decimal("0.125")), (none, 0, Decimal(0)), (uuid4(), 7, Decimal(7))])
    assert (account(tokens), account(money)) == ((0, 15), (0, Decimal("0.125")))
    assert set(Reservation.objects.values_list("request_id", flat=True)) == {some}
    assert audit().agrees
    settle(red, some, counts(10, 5), price=PRICE)
    settle(red, none, NOTHING)
    assert (account(tokens), account(money)[1]) == ((15, 0), 0)
    settling.come_to([(some, 15, Decimal(1))])  # too late, and without effect
    assert account(tokens) == (15, 0)


class TestCallsWithoutAnEnd:
    """Reservations whose call leaves no row, and those whose row is only late."""

    @pytest.fixture
    def spool(self, tmp_path: Path) -> Iterator[Spool]:
        with closing(Spool(tmp_path, rotate_seconds=0)) as spool:
            yield spool

    @pytest.mark.spec("F21")
    def test_what_was_reserved_for_a_call_that_never_began_is_freed_once_it_can_no_longer_run(
        self, red: Team, spool: Spool
    ) -> None:
        budget = limit(red)
        reserve(red, 40, process=spool.process, lease=timedelta(seconds=-1))
        reserve(red, 30, process=spool.process)
        settling.free_expired()
        assert account(budget) == (0, 70)  # nobody knows yet how far its process has shipped
        Shipper(spool.root, spool).ship_once()
        settling.free_expired()
        assert account(budget) == (0, 30)
        assert audit().agrees

    @pytest.mark.spec("F17", "F21")
    def test_a_record_that_waits_in_a_spool_keeps_its_reservation_however_late(self, red: Team, spool: Spool) -> None:
        budget = limit(red)
        start = a_start(red.pk)
        shipper = Shipper(spool.root, spool)
        shipper.ship_once()  # up to now; then the database goes away for longer than the lease
        reserve(red, 40, request_id=start.id, process=spool.process, lease=timedelta(seconds=0))
        spool.start(start)
        spool.final(a_final(start.id, counts(10, 5)))
        settling.free_expired()
        assert account(budget) == (0, 40)
        shipper._marked_at = 0
        shipper.ship_once()
        assert account(budget) == (15, 0)

    @pytest.mark.spec("F17", "F21")
    def test_what_has_ended_in_the_live_file_is_not_taken_for_shipped(self, red: Team, tmp_path: Path) -> None:
        budget = limit(red)
        with closing(Spool(tmp_path, rotate_seconds=1e9)) as spool:
            start = a_start(red.pk)
            reserve(red, 40, request_id=start.id, process=spool.process, lease=timedelta(0))
            spool.start(start)
            spool.final(a_final(start.id, counts(10, 5)))
            Shipper(spool.root, spool).ship_once()
            settling.free_expired()
            assert account(budget) == (0, 40)
            spool.rotate(force=True)
            Shipper(spool.root, spool).ship_once()
            assert account(budget) == (15, 0)

    @pytest.mark.spec("F21")
    def test_a_dead_processes_calls_are_settled_and_what_it_held_besides_is_freed(
        self, red: Team, tmp_path: Path
    ) -> None:
        budget = limit(red)
        dead = Spool(tmp_path)
        running = a_start(red.pk)
        reserve(red, 40, request_id=running.id, process=dead.process)
        dead.start(running)
        reserve(red, 30, process=dead.process)  # killed before its start was written
        dead.close()
        Shipper(tmp_path).ship_once()
        assert account(budget) == (0, 0)
        assert not Reservation.objects.exists()
        assert not SpoolMark.objects.exists()

    def test_a_process_that_stops_leaves_nothing_held_but_for_calls_that_it_leaves_running(
        self, red: Team, transactional_db: None, tmp_path: Path
    ) -> None:
        budget = limit(red)
        for running in (False, True):
            with closing(Spool(tmp_path)) as spool:
                start = a_start(red.pk)
                reserve(red, 40, request_id=start.id, process=spool.process)
                if running:
                    spool.start(start)
                shipper = Shipper(spool.root, spool)
                shipper.start()
                shipper.stop()
            assert account(budget) == (0, 40 if running else 0)

    def test_a_record_that_comes_after_its_reservation_was_freed_still_counts(self, red: Team) -> None:
        budget = limit(red)
        request = reserve(red, 40, lease=-settling.LOST_AFTER * 2)
        settling.free_expired()
        assert account(budget) == (0, 0)
        settle(red, request, counts(10, 5))
        assert account(budget) == (15, 0)
        assert audit().agrees

    def test_a_record_that_the_log_refuses_does_not_hold_its_reservation_for_ever(self, red: Team) -> None:
        budget = limit(red)
        row = ended(red.pk, counts(10, 10**15))
        reserve(red, 40, request_id=row.start.id, lease=timedelta(seconds=-1))
        assert ledger.write([row]) == 0
        settling.shipped(PROCESS, timezone.now().timestamp())
        settling.free_expired()
        assert account(budget) == (0, 0)


class TestCredit:
    @pytest.mark.spec("U7", "U4")
    def test_a_balance_is_entries_less_costs(self, red: Team, alice: User) -> None:
        assert credit_of(red, now=NOW) is None
        top_up(team=red, amount=Decimal(10), by=alice, note="invoice 7")
        request = reserve(red, money=Decimal(4))
        credit = credit_of(red, now=NOW)
        assert credit is not None
        assert (credit.balance, credit.available) == (10, 6)
        settle(red, request, counts(1_000_000, 500_000), price=PRICE)
        correct(team=red, amount=Decimal("-0.1"), by=None, note="returned")
        credit = credit_of(red, now=NOW)
        assert credit is not None
        assert (credit.balance, credit.available) == (Decimal(7), Decimal(7))
        assert [(one.kind, one.amount, one.by_name) for one in entries_of(red)] == [
            ("correction", Decimal("-0.1"), ""), ("top_up", 10, "Alice"),
        ]  # fmt: skip
        assert audit().agrees

    @pytest.mark.spec("U7")
    def test_what_was_used_before_the_first_payment_is_not_taken_from_it(self, red: Team) -> None:
        settle(red, used=counts(1_000_000, 0), price=PRICE)
        top_up(team=red, amount=Decimal(10), by=None)
        settle(red, used=counts(1_000_000, 0), price=PRICE)
        credit = credit_of(red, now=NOW)
        assert credit is not None
        assert credit.balance == Decimal("9.1")
        assert audit().agrees
        recount_all()
        again = credit_of(red, now=NOW)
        assert again is not None
        assert again.balance == Decimal("9.1")

    @pytest.mark.spec("U6", "U7", "F32")
    def test_an_empty_credit_refuses_what_costs_and_may_be_told_not_to(self, red: Team, alice: User) -> None:
        top_up(team=red, amount=Decimal(1), by=None)
        reserve(red, money=Decimal(1))
        with pytest.raises(OverBudget) as refused:
            reserve(red, money=Decimal("0.000000000001"))
        assert (refused.value.credit, refused.value.left) == (True, 0)
        reserve(red, money=Decimal(0))
        set_binding(team=red, binding=False, by=alice)
        reserve(red, money=Decimal(5))
        assert list(AuditEntry.objects.filter(actor=alice).values_list("action", "detail")) == [
            ("credit.binding", {"binding": False})
        ]

    def test_a_form_that_is_sent_twice_pays_once(self, red: Team) -> None:
        form = uuid4()
        top_up(team=red, amount=Decimal(10), by=None, form_id=form)
        with pytest.raises(AlreadyEntered):
            top_up(team=red, amount=Decimal(10), by=None, form_id=form)
        assert len(entries_of(red)) == 1

    @pytest.mark.parametrize("amount", ["0", "-1", "1e15"])
    def test_nothing_that_is_no_amount_is_entered(self, red: Team, amount: str) -> None:
        with pytest.raises(ValueError):
            top_up(team=red, amount=Decimal(amount), by=None)


@pytest.mark.spec("R23")
def test_the_audit_finds_an_account_that_the_log_does_not_bear_out(red: Team) -> None:
    budget = limit(red)
    reserve(red, 40)
    settle(red)
    top_up(team=red, amount=Decimal(1), by=None)
    assert audit().agrees
    for change in ({"spent": 14}, {"reserved": 0}):
        BudgetAccount.objects.filter(budget=budget).update(**change)
        (found,) = audit().differences
        assert (found.table, found.groups) == ("billing_budgetaccount", 1)
        recount_all()
        assert audit().agrees
    Budget.objects.filter(period="credit").update(amount=2)
    assert not audit().agrees


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("F32", "R14")
def test_of_many_at_once_exactly_as_many_are_let_in_as_there_is_room_for(red: Team) -> None:
    budget = limit(red, 100)
    limit(red, 1000, key=make_key(red).key)
    granted: list[UUID] = []
    together = Barrier(8)

    def call() -> None:
        together.wait()
        for _ in range(5):
            try:
                granted.append(reserve(red, 10))
            except OverBudget:
                continue
        connection.close()

    threads = [Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 10
    assert account(budget) == (0, 100)


def test_a_reservation_is_one_question_to_the_database(red: Team, django_assert_num_queries: Any) -> None:
    limit(red)
    limit(red, 1, unit=Unit.MONEY)
    with django_assert_num_queries(4):  # with how to commit, and the two of its transaction, a savepoint in a test
        reserve(red, 5, money=Decimal("0.1"))


def test_the_days_of_a_budget_are_those_of_its_team(red: Team) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone="Pacific/Kiritimati")
    red.refresh_from_db()
    limit(red)
    (standing,) = budgets_of(red, now=datetime(2026, 11, 30, 10, 0, tzinfo=UTC))  # midnight there
    assert standing.renews == datetime(2026, 12, 31, 10, 0, tzinfo=UTC)
    (standing,) = budgets_of(red, now=datetime(2026, 11, 30, 9, 59, tzinfo=UTC))
    assert standing.renews == datetime(2026, 11, 30, 10, 0, tzinfo=UTC)
