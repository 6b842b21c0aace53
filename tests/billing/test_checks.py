"""Charts and log are compared again and again; who reads charts can see when, and what came of it."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts.models import Team, User
from billing.alarms import alarms
from billing.ledger import log as ledger
from billing.ledger.adjustments import adjust
from billing.ledger.auditing import differences_since, rebuild
from billing.ledger.checks import check_everything, check_recent, last_check
from billing.models import LedgerCheck, PlatformDay, UsageDay, UsageQuarter
from billing.records import Ended
from tests.billing.test_adjustments import call

pytestmark = [pytest.mark.django_db, pytest.mark.spec("R23")]
NOW = datetime.now(UTC)


def since(days: int) -> datetime:
    return datetime.combine((NOW - timedelta(days=days)).date(), datetime.min.time(), UTC)


def made(red: Team, **ago: float) -> Ended:
    ledger.write([request := call(red, at=NOW - timedelta(**ago))])
    return request


def agrees() -> bool:
    check = last_check()
    assert check is not None
    return check.agrees


def test_when_charts_and_log_were_compared_is_known_from_the_first_time_on(red: Team) -> None:
    assert last_check() is None
    made(red, minutes=1)
    before = timezone.now()
    check_recent()
    check = last_check()
    assert check is not None
    assert check.agrees
    assert before <= check.at <= timezone.now()


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Asia/Kathmandu", "Pacific/Niue"])
def test_late_rows_and_corrections_of_the_last_days_make_no_difference(red: Team, alice: User, zone: str) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone=zone)
    for hours in range(0, 24 * 5, 7):
        made(red, hours=hours)
    old = made(red, days=40)
    rebuild()
    adjust(request_id=old.start.id, prompt_tokens=9, reason="counted twice", by=alice)
    assert [differences_since(since(days)) for days in (0, 2, 4, 60)] == [()] * 4


@pytest.mark.parametrize("level", [UsageQuarter, UsageDay, PlatformDay])
def test_a_sum_of_today_that_is_wrong_is_found_and_said_until_it_is_mended(
    red: Team, level: type[UsageQuarter | UsageDay | PlatformDay], caplog: pytest.LogCaptureFixture
) -> None:
    made(red, seconds=1)
    level.objects.update(prompt_tokens=11)
    check_recent()
    assert (agrees(), alarms().differing) == (False, True)
    assert "the roll-ups differ from the log" in caplog.text
    rebuild()
    check_recent()
    assert (agrees(), alarms().differing) == (True, False)


def test_what_the_daily_check_found_is_not_forgotten_for_the_short_one(red: Team) -> None:
    made(red, days=20)
    UsageDay.objects.update(requests=2)
    check_recent()
    assert agrees()  # it lies too far back
    check_everything()
    check_recent()
    assert not agrees()
    rebuild()
    check_everything()
    assert agrees()


def test_checks_are_kept_for_a_month(red: Team) -> None:
    for days in (31, 29):
        LedgerCheck.objects.create(at=NOW - timedelta(days=days), everything=True, differing=0)
    check_recent()
    assert LedgerCheck.objects.count() == 2
