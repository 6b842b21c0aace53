"""What is left of budgets and credit, day by day: the account's own figures, and what may come."""

import random
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.db import transaction
from django.utils import translation

from accounts.models import ApiKey, Team, User
from billing.budgets.credit import correct, top_up
from billing.budgets.monthly import budgets_of, hold_accounts, recount, set_budget
from billing.ledger import log as ledger
from billing.models import Budget, BudgetAccount, CreditEntry, Unit
from billing.usage.periods import DAY, midnight
from billing.usage.questions import Scope
from billing.usage.sections.burndown import Burndown, burndowns, months
from billing.usage.sections.burndown_captions import description, heading, shown
from tests.billing.traffic import counts, ended, milliseconds, random_traffic
from tests.factories import join, make_key, make_person

pytestmark = pytest.mark.spec("U4")
MADRID = "Europe/Madrid"
NOON = datetime(2026, 11, 20, 11, tzinfo=UTC)  # in Madrid, a Friday


@pytest.fixture
def madrid(red: Team) -> Team:
    Team.objects.filter(pk=red.pk).update(time_zone=MADRID)
    red.refresh_from_db()
    return red


def budget(team: Team, amount: int, *, unit: Unit = Unit.TOKENS, **whose: ApiKey | User) -> Budget:
    """One that has counted from before all the traffic of these tests."""
    key, member = whose.get("key"), whose.get("member")
    made = set_budget(team=team, unit=unit, amount=Decimal(amount), hard=True, by=None, key=key, member=member)  # type: ignore[arg-type]
    with transaction.atomic():
        hold_accounts()
        Budget.objects.filter(pk=made.pk).update(counts_from=datetime(2025, 12, 31, 23, tzinfo=UTC))
        recount([made])
    return made


def spend(team: Team, days: Iterable[tuple[date, int]], **changed: object) -> None:
    """Tokens on each day, at ten in the morning."""
    ledger.write([
        ended(team.pk, counts(tokens, 0), at_ms=milliseconds(midnight(day, ZoneInfo(team.time_zone))) + 36_000_000,
              **changed)
        for day, tokens in days
    ])  # fmt: skip


def evenly(tokens: int, *, days: int = 28) -> list[tuple[date, int]]:
    return [(NOON.date() - DAY * ago, tokens) for ago in range(1, days + 1)]


def only(team: Team, *, now: datetime = NOON, **whose: int) -> Burndown:
    (found,) = burndowns(Scope(team, **whose), now=now)
    return found


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "Asia/Kolkata", "Europe/Paris", "America/Mexico_City"])
@pytest.mark.parametrize("now", [datetime(2026, 3, 30, 15, tzinfo=UTC), datetime(2026, 10, 27, 2, tzinfo=UTC)])
@pytest.mark.parametrize("unit", list(Unit))
def test_the_days_add_up_to_what_the_account_has_settled(
    red: Team, blue: Team, zone: str, now: datetime, unit: Unit
) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone=zone)
    red.refresh_from_db()
    made = budget(red, 10**9, unit=unit)
    chance = random.Random(f"{zone}{now}")
    for team in (red, blue):
        ledger.write(random_traffic(team.pk, 300, begin=now - DAY * 40, end=now, chance=chance, keys=[1]))
    found = only(red, now=now)
    local = now.astimezone(ZoneInfo(zone)).date()
    account = BudgetAccount.objects.get(budget=made, month=local.replace(day=1))
    assert sum(found.spent) == account.spent == found.standing.spent
    assert found.left[-1] == found.left_now == made.amount - account.spent
    assert (found.days[0], found.days[found.today], len(found.spent)) == (local.replace(day=1), local, local.day)
    assert 0 <= found.elapsed < 1
    assert len(found.ahead) == len(found.days) - found.today


def test_an_even_month_is_used_up_on_the_day_that_follows_from_it(madrid: Team) -> None:
    spend(madrid, evenly(100))
    budget(madrid, 2400)
    found = only(madrid)
    assert found.left_now == 500
    assert (found.likely_end, found.earliest_end, found.latest_end) == (
        date(2026, 11, 25), date(2026, 11, 25), date(2026, 11, 25),
    )  # fmt: skip
    assert heading(found) == "At this pace the budget of 2,400 tokens is used up on November 25"
    assert description(found) == (
        "What is left of the budget of November 2026, day by day. Forecast for the end of the month: between"
        " 2.9K tokens and 3K tokens used."
    )


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (4000, "The budget of 4,000 tokens will be enough"),
        (2980, "The budget of 2,980 tokens may just not be enough"),
        (1850, "The budget of 1,850 tokens has been used up since November 19"),
        (0, "The budget of 0 tokens is used up"),
    ],
)
def test_a_heading_says_whether_the_budget_lasts(madrid: Team, amount: int, said: str) -> None:
    spend(madrid, evenly(100))
    budget(madrid, amount)
    assert heading(only(madrid)) == said


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("es", "A este ritmo, el presupuesto de 2.400 tokens se agota el 25 de noviembre"),
        ("fr", "À ce rythme, le budget de 2\u202f400 tokens est épuisé le 25 novembre"),
    ],
)
def test_it_is_said_in_the_readers_language(madrid: Team, language: str, said: str) -> None:
    spend(madrid, evenly(100))
    budget(madrid, 2400)
    with translation.override(language):
        assert heading(only(madrid)).replace("\xa0", "\u202f") == said


def test_days_that_differ_make_a_range_of_days_too(madrid: Team) -> None:
    spend(madrid, [(day, 20 + 160 * (day.toordinal() % 2)) for day, _tokens in evenly(1)])
    budget(madrid, 2400)
    found = only(madrid)
    assert found.earliest_end is not None
    assert found.likely_end is not None
    assert found.earliest_end < found.likely_end
    assert "It may be used up between November" in description(found)


def test_too_few_days_are_no_forecast(madrid: Team) -> None:
    budget(madrid, 1000)
    found = only(madrid)
    assert (found.ahead, found.left_now, heading(found)) == (
        (),
        1000,
        "1,000 tokens left of the budget of 1,000 tokens",
    )
    spend(madrid, evenly(10, days=2))
    assert only(madrid).ahead == ()
    assert "It is too early for a forecast." in description(only(madrid))
    spend(madrid, [(NOON.date() - DAY * 3, 10)])
    assert only(madrid).ahead != ()


def test_the_table_has_a_row_for_each_day_and_no_number_for_days_that_are_not_known(madrid: Team) -> None:
    spend(madrid, evenly(100))
    budget(madrid, 2400)
    table = shown(only(madrid), name="b").table
    assert table.head == ("Day", "Used", "Left")
    assert len(table.rows) == 30
    assert table.rows[0].said == "Sun, Nov 1: 100 tokens used, 2,300 tokens left"
    assert table.rows[19].said == "Fri, Nov 20: 0 tokens used, 500 tokens left"
    assert table.rows[20].cells[0] == "–"
    assert table.rows[20].said.startswith("Sat, Nov 21: between ")


def test_a_key_and_a_member_see_their_own_budget_and_spending(madrid: Team) -> None:
    bob = make_person("Bob")
    join(madrid, bob)
    key = make_key(madrid).key
    spend(madrid, evenly(100), key_id=key.pk)
    spend(madrid, evenly(7), member_id=bob.pk, origin="chat")
    budget(madrid, 10_000)
    budget(madrid, 5000, key=key)
    budget(madrid, 300, member=bob)
    assert [only(madrid).left_now, only(madrid, key_id=key.pk).left_now, only(madrid, member_id=bob.pk).left_now] == [
        10_000 - 19 * 107, 5000 - 1900, 300 - 133,
    ]  # fmt: skip
    assert burndowns(Scope(madrid, key_id=key.pk + 1), now=NOON) == []
    assert burndowns(Scope(None), now=NOON) == []


def test_budgets_that_are_read_together_have_each_its_own_spending(madrid: Team) -> None:
    bob = make_person("Bob")
    join(madrid, bob)
    keys = [make_key(madrid).key for _ in range(2)]
    for place, key in enumerate(keys):
        spend(madrid, evenly(100 + place), key_id=key.pk)
        budget(madrid, 5000, key=key)
    spend(madrid, evenly(7), member_id=bob.pk, origin="chat")
    budget(madrid, 5000, member=bob)
    budget(madrid, 5000)
    found = months(budgets_of(madrid, now=NOON), team=madrid, now=NOON)
    assert [sum(one.spent) for one in found] == [one.standing.spent for one in found]
    assert sorted(sum(one.spent) for one in found) == [19 * 7, 19 * 100, 19 * 101, 19 * 208]


def test_a_credit_goes_down_with_what_is_spent_and_up_with_what_is_paid(madrid: Team, alice: User) -> None:
    now = datetime.now(UTC)
    ledger.write([ended(madrid.pk, at_ms=milliseconds(now - timedelta(days=2)))])
    top_up(team=madrid, amount=Decimal(50), by=alice)
    top_up(team=madrid, amount=Decimal(30), by=alice)
    correct(team=madrid, amount=Decimal(-5), by=alice)
    start = now - timedelta(days=3)
    CreditEntry.objects.filter(amount=50).update(at=start)
    CreditEntry.objects.filter(amount=30).update(at=now - timedelta(days=1))
    Budget.objects.update(counts_from=start)
    found = only(madrid, now=now)
    assert found.is_credit
    assert found.left == (50, 50, 80, 75)
    assert (found.left_now, found.first, len(found.days)) == (75, 27, 61)
    assert heading(found) == "€75.00 left of the credit"
    assert shown(found, name="c").table.rows[0].said.endswith(": before it began")


def test_a_credit_below_nothing_is_used_up_and_drawn_all_the_same(madrid: Team, alice: User) -> None:
    now = datetime.now(UTC)
    top_up(team=madrid, amount=Decimal(1), by=alice)
    correct(team=madrid, amount=Decimal(-3), by=alice)
    found = only(madrid, now=now)
    told = shown(found, name="c")
    assert (found.left_now, told.heading) == (-2, "The credit is used up")
    assert [mark.label for mark in told.plot.grid] == ["0"]
    assert told.plot.words.now == "€0.00 left"
