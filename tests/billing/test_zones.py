"""A team that moves to another time zone: its days, months and limits, while the log is written."""

import random
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import AuditEntry, Revision, Team, User
from billing.budgets.monthly import set_budget
from billing.errors import BooksClosed, UnknownZone
from billing.ledger import log as ledger
from billing.ledger.auditing import audit
from billing.ledger.months import close_month, reopen_month
from billing.ledger.partitions import drop_old_months, ensure_partitions
from billing.limits.consumed import consumed
from billing.limits.tiers import limit_key, load_rules
from billing.limits.windows import Bounds
from billing.models import BudgetAccount, Unit, UsageDay
from console.zones import change_time_zone
from tests.billing.traffic import counts, ended, milliseconds, random_traffic
from tests.factories import make_key

ZONES = ("Europe/Madrid", "America/Mexico_City", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Auckland", "UTC")
# Both of Madrid's and Auckland's changes of the clock lie in it.
BEGIN, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC)


def days_by_log(team: Team) -> dict[date, int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (booked_at AT TIME ZONE %s)::date, count(*) FROM billing_usage WHERE team_id = %s GROUP BY 1",
            [team.time_zone, team.pk],
        )
        return dict(cursor.fetchall())


def days_of(team: Team) -> dict[date, int]:
    found: dict[date, int] = {}
    for day, requests in UsageDay.objects.filter(team=team).values_list("day", "requests"):
        found[day] = found.get(day, 0) + requests
    return found


@pytest.mark.spec("R23")
@pytest.mark.django_db
def test_days_and_budgets_follow_a_team_from_zone_to_zone_and_no_other_team_moves(
    red: Team, blue: Team, alice: User
) -> None:
    ensure_partitions([BEGIN.date() + timedelta(days=30 * number) for number in range(10)])
    key = make_key(red).key
    budgets = [
        set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(10**9), hard=True, by=None),
        set_budget(team=red, key=key, unit=Unit.MONEY, amount=Decimal(10**6), hard=False, by=None),
    ]
    for team in (red, blue):
        chance = random.Random(team.pk)
        ledger.write(random_traffic(team.pk, 3000, begin=BEGIN, end=END, chance=chance, keys=[key.pk]))
    others = days_of(blue)
    for zone in ZONES:
        change_time_zone(team=red, time_zone=zone, by=alice)
        assert red.time_zone == zone
        assert days_of(red) == days_by_log(red)
        assert audit().differences == ()
    assert days_of(blue) == others
    assert BudgetAccount.objects.filter(budget__in=budgets).exists()
    told = AuditEntry.objects.filter(team=red, action="team.time_zone_changed").order_by("pk")
    assert [(entry.actor, entry.detail) for entry in told] == [
        (alice, {"time_zone": zone, "before": before}) for before, zone in zip(("UTC", *ZONES), ZONES, strict=False)
    ]


@pytest.mark.django_db
def test_a_request_at_night_moves_to_the_day_that_it_was_there(red: Team, alice: User) -> None:
    ensure_partitions([date(2026, 10, 25)])
    # 24 October 22:30 UTC: the 25th in Madrid, still the 24th in Mexico. On the 25th Madrid's clock goes back.
    moments = [datetime(2026, 10, 24, 22, 30, tzinfo=UTC), datetime(2026, 10, 25, 22, 45, tzinfo=UTC)]
    ledger.write([ended(red.pk, at_ms=milliseconds(at)) for at in moments])
    change_time_zone(team=red, time_zone="Europe/Madrid", by=alice)
    assert days_of(red) == {date(2026, 10, 25): 2}
    change_time_zone(team=red, time_zone="America/Mexico_City", by=alice)
    assert days_of(red) == {date(2026, 10, 24): 1, date(2026, 10, 25): 1}


@pytest.mark.django_db(transaction=True)
def test_days_of_months_that_have_left_the_log_move_too(red: Team, alice: User) -> None:
    long_ago = datetime(2023, 5, 2, 23, 30, tzinfo=UTC)
    ensure_partitions([long_ago.date()])
    ledger.write([ended(red.pk, at_ms=milliseconds(long_ago))])
    drop_old_months()
    change_time_zone(team=red, time_zone="Europe/Madrid", by=alice)
    assert (days_of(red), days_by_log(red)) == ({date(2023, 5, 3): 1}, {})
    assert audit().agrees


@pytest.mark.django_db
def test_the_same_zone_again_changes_nothing(red: Team, alice: User) -> None:
    before = Revision.objects.values_list("number", flat=True).first()
    change_time_zone(team=red, time_zone="UTC", by=alice)
    assert Revision.objects.values_list("number", flat=True).first() == before
    assert not AuditEntry.objects.filter(action="team.time_zone_changed").exists()


@pytest.mark.django_db
def test_what_a_closed_month_came_to_does_not_move(red: Team, alice: User) -> None:
    ensure_partitions([date(2026, 10, 1)])
    ledger.write([ended(red.pk, at_ms=milliseconds(datetime(2026, 10, 31, 23, 30, tzinfo=UTC)))])
    close_month(team=red, month=date(2026, 10, 1), by=alice)
    with pytest.raises(BooksClosed):
        change_time_zone(team=red, time_zone="Europe/Madrid", by=alice)
    red.refresh_from_db()
    assert (red.time_zone, days_of(red)) == ("UTC", {date(2026, 10, 31): 1})
    reopen_month(team=red, month=date(2026, 10, 1), by=alice, reason="they move")
    change_time_zone(team=red, time_zone="Europe/Madrid", by=alice)
    assert days_of(red) == {date(2026, 11, 1): 1}


@pytest.mark.django_db
def test_a_zone_that_postgresql_does_not_know_is_refused(red: Team, alice: User) -> None:
    with pytest.raises(UnknownZone):
        change_time_zone(team=red, time_zone="Europe/Atlantis", by=alice)
    red.refresh_from_db()
    assert red.time_zone == "UTC"


@pytest.mark.django_db
def test_a_day_of_limits_begins_with_what_the_new_day_has_come_to(red: Team, alice: User) -> None:
    key = make_key(red).key
    limit_key(key=key, bounds=Bounds(requests_per_day=10), by=alice)
    before = load_rules()
    change_time_zone(team=red, time_zone="Asia/Kathmandu", by=alice)
    after = load_rules()
    assert [subject.name for subject in after.without(before)] == [f"key/{key.pk}"]
    midnight = timezone.now().astimezone(ZoneInfo("Asia/Kathmandu")).replace(hour=0, minute=0, second=0, microsecond=0)
    ensure_partitions([midnight.date() - timedelta(days=1), midnight.date()])
    ledger.write([ended(red.pk, counts(1, 1), key_id=key.pk, at_ms=milliseconds(midnight + step)) for step in STEPS])
    assert [one.requests for one in consumed(after.without(before))] == [1]


STEPS = (timedelta(minutes=-1), timedelta())


@pytest.fixture
def shippers(red: Team, blue: Team) -> Iterator[list[int]]:
    """Two threads that write to the log as fast as they can."""
    stopping, written = threading.Event(), []

    def write(seed: int) -> None:
        chance = random.Random(seed)
        try:
            while not stopping.is_set():
                team = chance.choice([red, blue])
                batch = random_traffic(team.pk, 50, begin=END - timedelta(days=9), end=END, chance=chance, keys=[])
                written.append(ledger.write(batch))
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    yield written
    stopping.set()
    for thread in threads:
        thread.join()


@pytest.mark.spec("R23")
@pytest.mark.django_db(transaction=True)
def test_nothing_is_lost_or_counted_twice_while_the_log_is_written(
    red: Team, blue: Team, alice: User, request: pytest.FixtureRequest
) -> None:
    ensure_partitions([END.date()])
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(10**12), hard=True, by=None)
    written: list[int] = request.getfixturevalue("shippers")
    for zone in (*ZONES, *ZONES):
        before = len(written)
        change_time_zone(team=red, time_zone=zone, by=alice)
        while len(written) < before + 3:
            pass
    report = audit()
    assert (report.differences, report.dead_letters) == ((), 0)
