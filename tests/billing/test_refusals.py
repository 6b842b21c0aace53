"""Refused calls: some one by one, all of them in the sums, exactly once; and a flood of them is small."""

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Team, User
from billing.ledger.refusals import KEPT, differing, forget_old, write
from billing.models import Refusal, RefusedQuarter
from billing.spool import flood
from billing.spool.file import read
from billing.spool.folder import numbered
from billing.spool.shipper import Shipper
from billing.spool.writer import Spool
from billing.usage.buckets import moments
from billing.usage.periods import Period
from billing.usage.questions import Filters, Question, Scope
from billing.usage.sections.endings import Refusals, Refused, refusals
from tests.billing.traffic import a_final, a_refusal, a_start, milliseconds, now_ms
from tests.factories import make_key

ROOT = Path(__file__).resolve().parents[2]
MINUTE = 60_000
NOON = milliseconds(datetime(2026, 11, 20, 12, tzinfo=UTC))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(root: Path) -> Iterator[Spool]:
    with closing(Spool(root, rotate_seconds=1e9)) as spool:
        yield spool


def ship(root: Path, spool: Spool | None = None) -> None:
    if spool:
        spool.rotate(force=True)
    Shipper(root, spool).ship_once()


def summed() -> int:
    return sum(RefusedQuarter.objects.values_list("count", flat=True))


def told() -> list[int]:
    return sorted(Refusal.objects.values_list("count", flat=True))


def test_a_refusal_is_read_back_as_it_was_written(spool: Spool) -> None:
    refusal = a_refusal(7, member_id=3, member_name="Bob’s", key_name="é")
    spool.refused(refusal)
    spool.rotate(force=True)
    (path,) = spool.closed_files()
    assert read(path).refusals == [refusal]


@pytest.mark.spec("U1")
def test_refusals_come_to_postgresql_with_who_which_and_why(root: Path, spool: Spool, red: Team) -> None:
    refusal = a_refusal(red.pk, model="llama\0\ud800", key_name="ci\0")
    spool.refused(refusal)
    ship(root, spool)
    row = Refusal.objects.get()
    assert (row.pk, milliseconds(row.at), row.team, row.key_id, row.count) == (
        refusal.id,
        refusal.at_ms,
        red,
        refusal.key_id,
        1,
    )
    assert (row.model, row.key_name, row.code, row.reason, row.status) == (
        "llama?",
        "ci",
        "rate_limit_exceeded",
        "key:requests-per-minute",
        429,
    )


def test_each_minute_a_callers_first_hundred_stand_alone_and_the_rest_is_one_row(
    root: Path, spool: Spool, red: Team
) -> None:
    for _ in range(350):
        spool.refused(a_refusal(red.pk, at_ms=NOON))
    for _ in range(7):
        spool.refused(a_refusal(red.pk, at_ms=NOON, code="model_not_found", reason="", status=404))
    for _ in range(3):
        spool.refused(a_refusal(red.pk, at_ms=NOON, key_id=2))
    for _ in range(101):
        spool.refused(a_refusal(red.pk, at_ms=NOON + MINUTE))
    ship(root, spool)
    assert told() == sorted([1] * 100 + [250, 7] + [1] * 3 + [1] * 100 + [1])
    assert summed() == 350 + 7 + 3 + 101
    counted = Refusal.objects.get(count=250)
    assert (counted.model, counted.key_id, counted.status) == ("", 1, 429)
    assert differing() == 0


def test_many_callers_together_do_not_fill_the_disk_either(
    root: Path, spool: Spool, red: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flood, "OF_ALL", 50)
    for key in range(40):
        for _ in range(5):
            spool.refused(a_refusal(red.pk, at_ms=NOON, key_id=key))
    ship(root, spool)
    assert (len(told()), summed()) == (50 + 30, 200)


def test_a_flood_takes_no_more_room_than_its_first_hundred(root: Path, spool: Spool) -> None:
    for _ in range(20_000):
        spool.refused(a_refusal(at_ms=NOON))
    spool.rotate(force=True)
    files = spool.closed_files()  # what lies here until PostgreSQL is back
    assert sum(path.stat().st_size for path in files) < 200_000
    shown = [refusal for path in files for refusal in read(path).refusals]
    live = read(spool.folder / f"{len(files) + 1:06}.jsonl").refusals
    assert sum(refusal.count for refusal in (*shown, *live)) == 20_000


@pytest.mark.spec("F20")
def test_what_was_refused_is_counted_after_kill_9(root: Path, red: Team) -> None:
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from billing.spool.writer import Spool
from tests.billing.traffic import a_refusal
spool = Spool(Path({str(root)!r}), rotate_bytes=30_000)
for number in range(1000):
    spool.refused(a_refusal({red.pk}, at_ms={NOON}))
    print(number, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert len(child.stdout.split()) == 1000, child.stderr
    ship(root)
    assert (summed(), told().count(1)) == (1000, 100)
    ship(root)
    assert summed() == 1000


@pytest.mark.spec("F39")
def test_a_file_that_is_shipped_again_counts_once(root: Path, spool: Spool, red: Team, tmp_path: Path) -> None:
    for _ in range(130):
        spool.refused(a_refusal(red.pk, at_ms=NOON))
    spool.rotate(force=True)
    kept = tmp_path / "kept"
    (path,) = spool.closed_files()
    shutil.copy(path, kept)
    ship(root, spool)
    for _ in range(2):
        shutil.copy(kept, path)
        ship(root, spool)
    assert (summed(), len(told())) == (130, 101)
    assert differing() == 0


def test_a_minute_that_spans_two_files_is_counted_in_both(root: Path, spool: Spool, red: Team) -> None:
    for _ in range(150):
        spool.refused(a_refusal(red.pk, at_ms=NOON))
    spool.rotate(force=True)
    for _ in range(20):
        spool.refused(a_refusal(red.pk, at_ms=NOON))
    ship(root, spool)
    assert told() == sorted([1] * 100 + [50, 20])


def test_while_postgresql_is_away_they_wait(
    root: Path, spool: Spool, red: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.refused(a_refusal(red.pk))
    spool.rotate(force=True)

    def away(*_: object) -> int:
        raise OperationalError

    with monkeypatch.context() as patch:
        patch.setattr("billing.ledger.refusals._insert", away)
        with pytest.raises(OperationalError):
            Shipper(root, spool).ship_once()
    assert summed() == 0
    ship(root, spool)
    assert summed() == 1


def test_one_that_cannot_be_stored_holds_up_nothing(root: Path, spool: Spool, red: Team) -> None:
    spool.refused(a_refusal(red.pk, at_ms=2**60))
    spool.refused(a_refusal(red.pk, status=10**6))
    spool.refused(a_refusal(red.pk))
    spool.start(start := a_start(red.pk))
    spool.final(a_final(start.id))
    ship(root, spool)
    assert summed() == 1
    assert list(numbered(spool.folder)) == [spool.folder / "000002.jsonl"]


def test_a_full_disk_refuses_all_the_same(
    root: Path, spool: Spool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_lines: bytes) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(spool._live, "append", full)
    for _ in range(50):
        spool.refused(a_refusal())
    assert len(caplog.records) == 1
    monkeypatch.undo()
    spool.refused(a_refusal())
    spool.rotate(force=True)
    (path,) = spool.closed_files()
    assert len(read(path).refusals) == 1


@pytest.mark.spec("F25")
def test_a_flood_that_cannot_be_made_short_is_whole_and_leaves_nothing_beside_it(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no room")

    for _ in range(20_000):
        spool.refused(a_refusal(at_ms=NOON))
    spool.rotate(force=True)
    monkeypatch.setattr(os, "fsync", full)
    files = spool.closed_files()
    assert sum(refusal.count for path in files for refusal in read(path).refusals) == 20_000
    assert list(spool.folder.glob("*.new")) == []


@pytest.mark.spec("F25")
def test_what_the_ballast_left_is_not_for_refusals(root: Path, spool: Spool) -> None:
    spool.start(start := a_start())
    spool._ballast.give()
    for _ in range(50):
        spool.refused(a_refusal())
    spool.final(a_final(start.id))
    spool.start(a_start())  # there is room again
    spool.refused(a_refusal())
    spool.rotate(force=True)
    (path,) = spool.closed_files()
    assert (len(read(path).refusals), len(read(path).ended)) == (1, 1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.sampled_from([429, 402])), max_size=400))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_refusal_is_lost_from_the_sums(red: Team, tmp_path: Path, calls: list[tuple[int, int, int]]) -> None:
    Refusal.objects.all().delete()
    RefusedQuarter.objects.all().delete()
    root = tmp_path / str(now_ms())
    with closing(Spool(root, rotate_bytes=15_000, rotate_seconds=1e9)) as spool:
        for minute, key, status in calls:
            spool.refused(a_refusal(red.pk, at_ms=NOON + minute * MINUTE, key_id=key, status=status))
    ship(root)
    assert summed() == len(calls)
    assert differing() == 0


def test_single_rows_are_forgotten_and_sums_are_kept(red: Team) -> None:
    old = milliseconds(timezone.now() - KEPT) - 1
    made = [a_refusal(red.pk, id=a_start(at_ms=old).id, at_ms=old), a_refusal(red.pk)]
    first = made[0].__class__(**{**_fields(made[0]), "id": _id_of(old)})
    write([first, made[1]])
    forget_old()
    assert list(Refusal.objects.values_list("pk", flat=True)) == [made[1].id]
    assert (summed(), differing()) == (2, 0)


def _fields(refusal: Any) -> dict[str, Any]:
    return {name: getattr(refusal, name) for name in refusal.__slots__}


def _id_of(at_ms: int) -> Any:
    from billing.ids import _at

    return _at(at_ms).id


@pytest.mark.spec("R23")
def test_the_audit_finds_a_sum_that_was_changed(red: Team, settings: Any, tmp_path: Path) -> None:
    settings.DATA = tmp_path
    write([a_refusal(red.pk)])
    call_command("usage_audit")
    RefusedQuarter.objects.update(count=2)
    with pytest.raises(SystemExit):
        call_command("usage_audit")


def test_a_period_has_the_teams_own_refusals_in_its_zone(red: Team, blue: Team) -> None:
    zone = ZoneInfo("Asia/Kathmandu")
    period = Period(date(2026, 11, 20), date(2026, 11, 20), zone)
    begin, end = milliseconds(period.begin), milliseconds(period.end)
    write(
        [
            a_refusal(red.pk, at_ms=begin - 1),
            *(a_refusal(red.pk, at_ms=at) for at in (begin, end - 1)),
            a_refusal(red.pk, at_ms=end),
            a_refusal(red.pk, at_ms=begin, origin="chat", key_id=None, code="model_not_found", reason=""),
            a_refusal(blue.pk, at_ms=begin),
        ]
    )
    asked = Question(Scope(red), period)
    limit = Refused("rate_limit_exceeded", "key:requests-per-minute", (2,), 2, 1)
    other = Refused("model_not_found", "", (1,), 1, 0)
    assert found(asked) == Refusals((limit, other), ((1, 2), (0, 1)))
    assert found(replace(asked, filters=Filters(origins=("api",)))) == Refusals((limit,), ((1, 2),))
    assert found(replace(asked, scope=Scope(red, key_id=1))) == Refusals((limit,), ((1, 2),))
    assert found(replace(asked, filters=Filters(keys=(0,)))) == Refusals((other,), ((0, 1),))


def found(question: Question) -> Refusals:
    return refusals(question, moments(question.period, question.bucket), now=question.period.end)


def test_the_usage_page_shows_what_was_refused_with_reason_and_key(client: Client, alice: User, red: Team) -> None:
    key = make_key(red, name="nightly").key
    write([a_refusal(red.pk, key_id=key.pk) for _ in range(9)])
    write([a_refusal(red.pk, key_id=None, origin="chat", code="insufficient_quota", reason="") for _ in range(3)])
    write([a_refusal(red.pk, key_id=key.pk, at_ms=milliseconds(timezone.now() - timedelta(days=90)))])
    client.force_login(alice)
    html = client.get(reverse("billing:usage", args=[red.slug]) + "?compare=before&part=below").content.decode()
    section = html[html.index('id="refused"') :]
    heading = "12 calls were refused; most often: the key&#x27;s limit of requests a minute"
    assert f'<h2 class="headline" id="refused-finding">{heading}</h2>' in section
    rows = [
        [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
        for row in re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL)
    ]
    assert rows[:3] == [
        ["Reason", "Calls", "Share", "Change"],
        ["the key&#x27;s limit of requests a minute rate_limit_exceeded", "9", "75%", "↑ 9"],
        ["a budget or credit that is used up insufficient_quota", "3", "25%", "↑ 3"],
    ]
    assert "Whose: nightly 9, Chat, without a key 3." in section
    client.cookies["language"] = "es"
    assert (
        "Se rechazaron 12 llamadas"
        in client.get(reverse("billing:usage", args=[red.slug]) + "?part=below").content.decode()
    )


def test_of_many_keys_those_are_named_that_were_refused_most(client: Client, alice: User, red: Team) -> None:
    write([a_refusal(red.pk, key_id=key, reason="") for key in range(1, 31) for _ in range(key)])
    client.force_login(alice)
    html = client.get(reverse("billing:usage", args=[red.slug]) + "?part=below").content.decode()
    assert "Whose: key 30 30, key 29 29, key 28 28, key 27 27, key 26 26." in html
