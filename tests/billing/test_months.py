"""Months that are closed, and months that leave the log."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from accounts.models import AuditEntry, Team, User
from billing.errors import MonthNotClosable
from billing.ledger import log as ledger
from billing.ledger.auditing import audit, rebuild
from billing.ledger.months import close_month, closed_until, reopen_month
from billing.ledger.partitions import drop_old_months, ensure_partitions, months, months_before
from billing.log.files import records
from billing.models import (
    DeadLetter,
    PlatformDay,
    PlatformModelDay,
    PlatformTeamDay,
    TeamQuarter,
    ThinMonth,
    UsageDay,
    UsageQuarter,
    UsageRecord,
)
from billing.records import Ended
from billing.usage.periods import Period
from billing.usage.questions import Question, Scope
from tests.billing.asking import report_of
from tests.billing.sessions import beside, wait_until_one_waits
from tests.billing.traffic import ended, milliseconds

PARIS = ZoneInfo("Europe/Paris")
SEPTEMBER, OCTOBER, NOVEMBER = date(2026, 9, 1), date(2026, 10, 1), date(2026, 11, 1)


@pytest.fixture
def paris(red: Team) -> Team:
    Team.objects.filter(pk=red.pk).update(time_zone="Europe/Paris")
    red.refresh_from_db()
    return red


def made_at(team: Team, *at: int, **more: object) -> Ended:
    return ended(team.pk, at_ms=milliseconds(datetime(*at, tzinfo=PARIS)), **more)  # type: ignore[misc,arg-type]


def requests_of(team: Team, first: date, last: date) -> int:
    return report_of(team, Period(first, last, PARIS), now=timezone.now()).total.requests


@pytest.mark.spec("R23")
def test_what_comes_after_its_month_was_closed_is_booked_in_the_open_one(paris: Team, blue: Team, alice: User) -> None:
    in_time = made_at(paris, 2026, 10, 31, 23, 59, 59)
    ledger.write([in_time])
    assert close_month(team=paris, month=OCTOBER, by=alice) == datetime(2026, 11, 1, tzinfo=PARIS)
    late = [made_at(paris, 2026, 10, 31, 23, 59, 59), made_at(paris, 2026, 9, 2, 8)]
    elsewhere = made_at(blue, 2026, 10, 5, 8)
    first = made_at(paris, 2026, 11, 1, 0, 0, 0)
    ledger.write([*late, elsewhere, first])
    booked = dict(UsageRecord.objects.values_list("id", "booked_at"))
    assert booked == {
        in_time.start.id: datetime(2026, 10, 31, 23, 59, 59, tzinfo=PARIS),
        late[0].start.id: datetime(2026, 11, 1, tzinfo=PARIS),
        late[1].start.id: datetime(2026, 11, 1, tzinfo=PARIS),
        elsewhere.start.id: datetime(2026, 10, 5, 8, tzinfo=PARIS),
        first.start.id: datetime(2026, 11, 1, tzinfo=PARIS),
    }
    assert UsageRecord.objects.get(id=late[1].start.id).at == datetime(2026, 9, 2, 8, tzinfo=PARIS)
    assert requests_of(paris, SEPTEMBER, date(2026, 10, 31)) == 1
    assert requests_of(paris, NOVEMBER, date(2026, 11, 30)) == 3
    exported = [
        str(row["request_id"]) for row in records(Question(Scope(paris), Period(NOVEMBER, date(2026, 11, 30), PARIS)))
    ]
    assert exported == [str(one.start.id) for one in (late[1], late[0], first)]
    assert [
        row["request_id"] for row in records(Question(Scope(paris), Period(OCTOBER, date(2026, 10, 31), PARIS)))
    ] == [str(in_time.start.id)]
    assert ledger.write([*late, in_time]) == 0
    assert audit().agrees
    rebuild()
    assert requests_of(paris, NOVEMBER, date(2026, 11, 30)) == 3


def test_closing_and_opening_again_are_in_the_audit(paris: Team, alice: User) -> None:
    close_month(team=paris, month=SEPTEMBER, by=alice)
    close_month(team=paris, month=date(2026, 10, 17), by=None)
    assert reopen_month(team=paris, month=OCTOBER, by=alice, reason="a mistake") == datetime(2026, 10, 1, tzinfo=PARIS)
    ledger.write([one := made_at(paris, 2026, 10, 3, 9), two := made_at(paris, 2026, 9, 3, 9)])
    assert UsageRecord.objects.get(id=one.start.id).booked_at == datetime(2026, 10, 3, 9, tzinfo=PARIS)
    assert UsageRecord.objects.get(id=two.start.id).booked_at == datetime(2026, 10, 1, tzinfo=PARIS)
    entries = AuditEntry.objects.filter(action__startswith="books.").order_by("pk")
    assert [(entry.action, entry.actor, entry.team, entry.detail) for entry in entries] == [
        ("books.closed", alice, paris, {"until": "2026-09-30T22:00:00+00:00", "before": None}),
        ("books.closed", None, paris, {"until": "2026-10-31T23:00:00+00:00", "before": "2026-09-30T22:00:00+00:00"}),
        (
            "books.reopened",
            alice,
            paris,
            {
                "until": "2026-09-30T22:00:00+00:00",
                "before": "2026-10-31T23:00:00+00:00",
                "reason": "a mistake",
            },
        ),
    ]


def test_only_a_month_that_is_over_can_be_closed_and_only_once(paris: Team) -> None:
    today = timezone.now().astimezone(PARIS).date()
    with pytest.raises(MonthNotClosable, match="not over"):
        close_month(team=paris, month=today, by=None)
    with pytest.raises(MonthNotClosable, match="not closed"):
        reopen_month(team=paris, month=SEPTEMBER, by=None, reason="a mistake")
    close_month(team=paris, month=OCTOBER, by=None)
    for month in (OCTOBER, SEPTEMBER):
        with pytest.raises(MonthNotClosable, match="closed already"):
            close_month(team=paris, month=month, by=None)
    assert AuditEntry.objects.filter(action__startswith="books.").count() == 1


def test_the_command_closes_and_opens(paris: Team, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("close_month", team=paris.slug, month="2026-10")
    call_command("close_month", team=paris.slug, month="2026-10", reopen=True, reason="late bill")
    assert capsys.readouterr().out.splitlines() == ["2026-11-01T00:00:00+01:00", "2026-10-01T00:00:00+02:00"]
    for options, problem in (
        ({"team": "nobody", "month": "2026-10"}, "no team 'nobody'"),
        ({"team": paris.slug, "month": "October"}, "--month must be a month"),
        ({"team": paris.slug, "month": "2026-10", "reopen": True, "reason": "why"}, "2026-10 is not closed"),
        ({"team": paris.slug, "month": "2026-10", "reopen": True, "reason": " "}, "Say why"),
        ({"team": paris.slug, "month": "9999-12"}, "9999-12 is not over"),
    ):
        with pytest.raises(CommandError, match=problem):
            call_command("close_month", **options)


@pytest.mark.django_db(transaction=True)
def test_a_month_is_closed_between_two_batches_and_never_within_one(paris: Team) -> None:
    ensure_partitions([OCTOBER])
    with transaction.atomic():
        ledger.write([one := made_at(paris, 2026, 10, 3, 9)])
        closing = beside(lambda: close_month(team=paris, month=OCTOBER, by=None))
        wait_until_one_waits()
        ledger.write([two := made_at(paris, 2026, 10, 4, 9)])
        assert closed_until(paris) is None
    closing.join(30)
    ledger.write([three := made_at(paris, 2026, 10, 5, 9)])
    days = {row.id: row.booked_at.astimezone(PARIS).date() for row in UsageRecord.objects.all()}
    assert days == {one.start.id: date(2026, 10, 3), two.start.id: date(2026, 10, 4), three.start.id: NOVEMBER}
    assert audit().agrees


@pytest.fixture
def kept_two(settings: LazySettings) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, retention_log_months=2)


def in_months_ago(number: int, day: int = 15) -> datetime:
    month = months_before(timezone.now().date(), number)
    return datetime(month.year, month.month, day, 12, tzinfo=UTC)


def month_of(moment: datetime) -> date:
    return moment.date().replace(day=1)


def written(team: Team, at: datetime, model: str = "llama") -> Ended:
    ledger.write([one := ended(team.pk, at_ms=milliseconds(at), model=model)])
    return one


LEVELS = (UsageQuarter, UsageDay, TeamQuarter, PlatformDay, PlatformTeamDay, PlatformModelDay)


def all_requests() -> list[int]:
    return [
        sum(level.objects.values_list("requests", flat=True))  # type: ignore[attr-defined]
        for level in LEVELS
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("R23")
def test_old_months_leave_the_log_and_stay_in_the_reports(red: Team, kept_two: None) -> None:
    for ago in (0, 1, 2, 3, 3, 4):
        written(red, in_months_ago(ago))
    assert drop_old_months() == [month_of(in_months_ago(4)), month_of(in_months_ago(3))]
    assert sorted(at.date() for at in UsageRecord.objects.values_list("at", flat=True)) == [
        in_months_ago(ago).date() for ago in (2, 1, 0)
    ]
    assert all_requests() == [6] * len(LEVELS)
    assert audit().agrees
    UsageDay.objects.filter(day__gte=month_of(in_months_ago(2))).update(requests=9)
    assert [one.groups for one in audit().differences] == [3]
    rebuild()
    assert all_requests() == [6] * len(LEVELS)
    assert drop_old_months() == []


@pytest.mark.django_db(transaction=True)
def test_a_row_of_a_month_that_was_dropped_is_set_aside_and_never_counted_twice(red: Team, kept_two: None) -> None:
    once = written(red, in_months_ago(3))
    drop_old_months()
    now = ended(red.pk)
    assert ledger.write([once, ended(red.pk, at_ms=milliseconds(in_months_ago(3))), now]) == 1
    assert all_requests() == [2] * len(LEVELS)
    assert {letter.error for letter in DeadLetter.objects.all()} == {
        f"{in_months_ago(3):%Y-%m} has been dropped from the log."
    }
    assert not audit().differences


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("R23")
def test_a_month_into_which_rows_of_a_dropped_one_were_booked_is_no_longer_proved(red: Team, kept_two: None) -> None:
    """Its sums are right, and are neither found wrong nor made anew from what is left."""
    written(red, in_months_ago(2))
    close_month(team=red, month=month_of(in_months_ago(3)), by=None)
    written(red, in_months_ago(3))  # booked two months ago
    written(red, in_months_ago(1))
    assert drop_old_months() == [month_of(in_months_ago(3))]
    assert audit().agrees
    rebuild()
    assert all_requests() == [3] * len(LEVELS)


def test_retention_of_zero_keeps_all(red: Team, settings: LazySettings) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, retention_log_months=0)
    written(red, in_months_ago(40))
    assert drop_old_months() == []
    assert month_of(in_months_ago(40)) in months()


@pytest.mark.django_db(transaction=True)
def test_dropping_waits_for_who_uses_the_log_and_nobody_waits_for_it(red: Team, blue: Team, kept_two: None) -> None:
    written(red, in_months_ago(3))
    with transaction.atomic():
        written(red, in_months_ago(0))
        dropping = beside(drop_old_months)
        wait_until_one_waits()
        inserted = beside(lambda: written(blue, in_months_ago(0), model="mistral"))
        inserted.join(30)
        assert (inserted.is_alive(), dropping.is_alive()) == (False, True)
    dropping.join(30)
    assert month_of(in_months_ago(3)) not in months()
    assert all_requests() == [3] * len(LEVELS)


@pytest.mark.django_db(transaction=True)
def test_what_a_killed_process_left_half_dropped_is_brought_to_its_end(red: Team, kept_two: None) -> None:
    written(red, in_months_ago(3))
    with transaction.atomic():
        written(red, in_months_ago(0))
        dropping = beside(lambda: _killed(drop_old_months))
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [wait_until_one_waits()])
        dropping.join(30)
    assert month_of(in_months_ago(3)) not in months()
    drop_old_months()
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [f"billing_usage_{in_months_ago(3):%Y_%m}"])
        assert cursor.fetchone() == (None,)
    assert audit().agrees


def _killed(work: Callable[[], object]) -> None:
    with pytest.raises(OperationalError):
        work()


@pytest.mark.django_db(transaction=True)
def test_a_month_that_was_detached_and_not_removed_is_removed(red: Team, kept_two: None) -> None:
    written(red, old := in_months_ago(3))
    ThinMonth.objects.create(month=month_of(old), dropped_at=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE billing_usage DETACH PARTITION billing_usage_{old:%Y_%m}")
        drop_old_months()
        cursor.execute("SELECT to_regclass(%s)", [f"billing_usage_{old:%Y_%m}"])
        assert cursor.fetchone() == (None,)
