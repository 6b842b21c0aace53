"""What is noticed: budgets, credit, errors, speed, keys, the log and the spool."""

import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from accounts.keys import note_use, revoke_key
from accounts.models import ApiKey, Team, User
from billing.alarms import writable
from billing.alerts.budget_watch import budgets_and_credit
from billing.alerts.key_watch import unused_and_expiring
from billing.alerts.noticed import Noticed
from billing.alerts.traffic_watch import errors_and_slowness, spikes
from billing.alerts.wishes import watch
from billing.budgets.credit import set_binding, top_up
from billing.budgets.monthly import set_budget
from billing.ledger import log as ledger
from billing.models import Budget, Rule, Unit
from tests.billing.traffic import PRICE, counts, ended, milliseconds, timed
from tests.factories import make_key, make_team

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
WEEK = timedelta(weeks=1)


def rules(found: list[Noticed]) -> list[tuple[str, str, str]]:
    return [(one.rule.value, one.subject, one.severity.value) for one in found]


def tokens(team: Team, number: int, *, at: datetime, **changed: object) -> None:
    ledger.write([ended(team.pk, counts(number, 0), at_ms=milliseconds(at), **changed)])


# Budgets and credit


@pytest.mark.spec("U4")
@pytest.mark.parametrize(
    ("used", "part", "severity"),
    [(499, None, ""), (500, 50, "note"), (799, 50, "note"), (800, 80, "warning"), (1000, 100, "urgent")],
)
def test_a_budget_is_told_of_at_half_four_fifths_and_all(red: Team, used: int, part: int | None, severity: str) -> None:
    now = datetime.now(UTC)
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(1000), hard=True, by=None)
    tokens(red, used, at=now)
    found = list(budgets_and_credit(now=now))
    assert [(one.detail["part"], one.severity) for one in found] == ([(part, severity)] if part else [])


def test_budgets_of_a_team_a_key_and_a_member_are_told_apart(red: Team, bob: User) -> None:
    now = datetime.now(UTC)
    key = make_key(red, name="nightly").key
    for who in ({}, {"key": key}, {"member": bob}):
        set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(100), hard=True, by=None, **who)
    tokens(red, 90, at=now, key_id=key.pk, member_id=bob.pk)
    found = list(budgets_and_credit(now=now))
    assert {(one.subject, one.name) for one in found} == {
        ("team", ""), (f"key:{key.pk}", "nightly"), (f"member:{bob.pk}", "Bob"),
    }  # fmt: skip


def test_the_month_of_a_budget_is_the_teams(alice: User) -> None:
    kathmandu = make_team("Kathmandu", owner=alice, time_zone="Asia/Kathmandu")
    set_budget(team=kathmandu, unit=Unit.TOKENS, amount=Decimal(100), hard=True, by=None)
    Budget.objects.update(counts_from=datetime(2026, 10, 31, 18, 15, tzinfo=UTC))
    tokens(kathmandu, 100, at=datetime(2026, 11, 30, 18, 10, tzinfo=UTC))  # 23:55 there
    inside, settling = datetime(2026, 11, 30, 18, 14, tzinfo=UTC), datetime(2026, 11, 30, 18, 24, tzinfo=UTC)
    for at in (inside, settling):  # what a month's last minute spends is in the log some seconds later
        assert [one.occasion for one in budgets_and_credit(now=at)] == ["2026-11:100:tokens:100"]
    assert list(budgets_and_credit(now=datetime(2026, 11, 30, 18, 26, tzinfo=UTC))) == []


def test_another_amount_is_another_occasion_and_the_same_again_is_not(red: Team) -> None:
    now = datetime.now(UTC)
    occasions = []
    for amount in (100, 110, 100):
        set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(amount), hard=True, by=None)
        if amount == 100 and not occasions:
            tokens(red, 90, at=now)
        occasions += [one.occasion for one in budgets_and_credit(now=now)]
    assert occasions[0] == occasions[2] != occasions[1]


def test_credit_is_told_of_when_a_tenth_of_the_payment_is_left_and_when_nothing_is(red: Team) -> None:
    now = datetime.now(UTC)
    top_up(team=red, amount=Decimal(10), by=None)
    assert list(budgets_and_credit(now=now)) == []
    tokens(red, 10_100_000, at=now, price=PRICE)  # 9.09
    assert rules(list(budgets_and_credit(now=now))) == [
        ("credit", "team", "warning"), ("team_credit", f"team:{red.pk}", "warning"),
    ]  # fmt: skip
    tokens(red, 2_000_000, at=now, price=PRICE)
    assert [one.severity for one in budgets_and_credit(now=now)] == ["urgent", "urgent"]
    set_binding(team=red, binding=False, by=None)
    assert [one.severity for one in budgets_and_credit(now=now)] == ["warning", "warning"]
    before = {one.occasion for one in budgets_and_credit(now=now)}
    top_up(team=red, amount=Decimal(1), by=None)
    assert not before & {one.occasion for one in budgets_and_credit(now=now)}


def test_a_team_that_wants_to_hear_nothing_of_money_does_not_but_operators_do(red: Team, alice: User) -> None:
    now = datetime.now(UTC)
    watch(team=red, by=alice, budgets=False)
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(1), hard=True, by=None)
    top_up(team=red, amount=Decimal("0.000001"), by=None)
    tokens(red, 10, at=now, price=PRICE)
    assert rules(list(budgets_and_credit(now=now))) == [("team_credit", f"team:{red.pk}", "urgent")]


# Errors and speed


def answers(
    team: Team, number: int, *, at: datetime, failed: int = 0, ttft_ms: int = 300, model: str = "llama"
) -> None:
    made = []
    for place in range(number):
        outcome = "upstream_error" if place < failed else "ok"
        changed = {"at_ms": milliseconds(at), "outcome": outcome, "model": model}
        made.append(timed(team.pk, ttft_ms=ttft_ms, duration_ms=2000, **changed))
    ledger.write(made)


def test_a_fifth_of_the_requests_failing_is_told_with_the_model_that_has_most(red: Team, now: datetime) -> None:
    answers(red, 16, at=now, failed=3)
    answers(red, 4, at=now - timedelta(minutes=10), failed=1, model="qwen")
    (found,) = errors_and_slowness(now=now)
    assert (found.rule, found.severity) == (Rule.ERRORS, "warning")
    assert dict(found.detail) == {
        "requests": 20, "failed": 4, "percent": 20, "minutes": 30, "model": "llama", "model_failed": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("number", "failed", "minutes_ago"), [(20, 3, 0), (19, 19, 0), (40, 40, 90)], ids=["few", "small", "long ago"]
)
def test_few_failures_of_few_requests_or_long_ago_are_not_told(
    red: Team, now: datetime, number: int, failed: int, minutes_ago: int
) -> None:
    answers(red, number, at=now - timedelta(minutes=minutes_ago), failed=failed)
    assert list(errors_and_slowness(now=now)) == []


def test_what_the_caller_ended_is_no_error(red: Team, now: datetime) -> None:
    ledger.write([ended(red.pk, at_ms=milliseconds(now), outcome="client_gone") for _ in range(50)])
    assert list(errors_and_slowness(now=now)) == []


def test_each_team_has_its_own_threshold_and_window(red: Team, blue: Team, alice: User, now: datetime) -> None:
    watch(team=red, by=alice, error_percent=5, window_minutes=60, least_requests=10)
    watch(team=blue, by=alice, error_percent=None)
    for team in (red, blue):
        answers(team, 10, at=now - timedelta(minutes=50), failed=1)
        answers(team, 10, at=now, failed=1)
    (found,) = errors_and_slowness(now=now)
    assert (found.team_id, found.detail["requests"], found.detail["failed"]) == (red.pk, 20, 2)


def test_slow_first_tokens_are_told_where_somebody_set_a_limit(red: Team, alice: User, now: datetime) -> None:
    answers(red, 30, at=now, ttft_ms=3000)
    assert list(errors_and_slowness(now=now)) == []
    watch(team=red, by=alice, first_token_ms=2000)
    (found,) = errors_and_slowness(now=now)
    assert (found.rule, found.detail["limit"], found.detail["requests"]) == (Rule.SLOW, 2000, 30)
    assert 2500 < int(found.detail["p95"] or 0) < 3600
    watch(team=red, by=alice, first_token_ms=4000)
    assert list(errors_and_slowness(now=now)) == []


# A key that is suddenly used much

MEXICO, PARIS = "America/Mexico_City", "Europe/Paris"


def used_each_week(
    team: Team, key: ApiKey, now: datetime, weekly: list[int], today: int, ago: timedelta = HOUR
) -> None:
    zone = ZoneInfo(team.time_zone)
    ApiKey.objects.filter(pk=key.pk).update(created_at=now - 6 * WEEK)
    for week, number in enumerate(weekly, start=1):
        local = now.astimezone(zone).replace(tzinfo=None) - week * WEEK
        tokens(team, number, at=local.replace(tzinfo=zone).astimezone(UTC) - ago, key_id=key.pk)
    tokens(team, today, at=now - ago, key_id=key.pk)


@pytest.mark.parametrize(
    ("weekly", "today", "told"),
    [
        ([100_000, 50_000, 60_000, 40_000], 220_000, True),  # the median is 55,000
        ([100_000, 50_000, 60_000, 40_000], 219_000, False),
        ([10, 10, 10, 10], 99_999, False),  # many times the usual, and little
        ([0, 0, 0, 0], 100_000, True),
    ],
)
def test_four_times_the_median_of_past_weeks_is_told(
    red: Team, now: datetime, weekly: list[int], today: int, told: bool
) -> None:
    key = make_key(red, name="nightly").key
    used_each_week(red, key, now, weekly, today)
    found = list(spikes(now=now))
    assert [(one.subject, one.occasion, one.name) for one in found] == (
        [(f"key:{key.pk}", "2026-11-26", "nightly")] if told else []
    )


@pytest.mark.parametrize("zone", [PARIS, MEXICO, "Asia/Kathmandu", "UTC"])
def test_past_weeks_are_those_of_the_teams_clock_also_over_a_change(alice: User, zone: str) -> None:
    team = make_team("There", owner=alice, time_zone=zone)
    now = datetime(2026, 11, 2, 14, 0, tzinfo=UTC)  # the clocks of Paris went back on 25 October
    key = make_key(team).key
    used_each_week(team, key, now, [100_000] * 4, 390_000, ago=timedelta(hours=2, minutes=40))
    assert list(spikes(now=now)) == []
    tokens(team, 20_000, at=now - HOUR, key_id=key.pk)
    (found,) = spikes(now=now)
    assert (found.detail["used"], found.detail["usual"]) == (410_000, 100_000)


@pytest.mark.parametrize("number", [1, 3])
def test_three_keys_ask_no_more_than_one(red: Team, now: datetime, number: int, django_assert_num_queries: Any) -> None:
    for _ in range(number):
        used_each_week(red, make_key(red).key, now, [100_000] * 4, 500_000)
    with django_assert_num_queries(8):
        assert len(list(spikes(now=now))) == number


def test_a_key_without_two_weeks_behind_it_has_no_usual_yet(red: Team, now: datetime) -> None:
    key = make_key(red).key
    tokens(red, 5_000_000, at=now - HOUR, key_id=key.pk)
    ApiKey.objects.update(created_at=now - timedelta(days=10))
    assert list(spikes(now=now)) == []


# Keys


def test_a_key_that_nobody_has_used_for_90_days_is_told_until_it_is_used_or_revoked(red: Team, now: datetime) -> None:
    never, once, busy = (make_key(red, name=name).key for name in ("never", "once", "busy"))
    ApiKey.objects.update(created_at=now - timedelta(days=200))
    note_use({once.pk: now - timedelta(days=91), busy.pk: now - timedelta(days=89)})
    found = {one.name: one for one in unused_and_expiring(now=now)}
    assert {name: one.detail["never"] for name, one in found.items()} == {"never": 1, "once": 0}
    note_use({once.pk: now})
    revoke_key(key=never, by=None)
    assert list(unused_and_expiring(now=now)) == []


@pytest.mark.parametrize(
    ("left", "days"),
    [
        (timedelta(days=15), None), (timedelta(days=14), 14), (timedelta(days=4), 14), (timedelta(days=3), 3),
        (timedelta(hours=23), 1), (timedelta(0), None),
    ],
)  # fmt: skip
def test_a_keys_end_is_told_14_3_and_1_days_before(red: Team, now: datetime, left: timedelta, days: int | None) -> None:
    make_key(red, expires_at=now + left)
    assert [one.detail["days"] for one in unused_and_expiring(now=now)] == ([days] if days else [])


def test_a_team_that_wants_to_hear_nothing_of_keys_does_not(red: Team, alice: User, now: datetime) -> None:
    make_key(red, expires_at=now + HOUR)
    watch(team=red, by=alice, keys=False)
    assert list(unused_and_expiring(now=now)) == []


# The spool's disk


def test_a_disk_that_takes_nothing_is_found_out_and_nothing_is_left_of_the_try(tmp_path: Path) -> None:
    assert writable(tmp_path)
    assert writable(tmp_path / "not made yet")
    assert list(tmp_path.iterdir()) == []
    if Path("/dev/full").exists():
        (tmp_path / f".tried-{os.getpid()}").symlink_to("/dev/full")
        assert not writable(tmp_path)
