"""From the spool to the log: exactly once, whatever dies, is copied, broken or away."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from django.db import OperationalError, connection

from accounts.models import Team
from billing.alarms import spooled
from billing.ledger.auditing import audit
from billing.models import DeadLetter, UsageDay, UsageRecord
from billing.spool.folder import folders, numbered
from billing.spool.shipper import Shipper, waiting
from billing.spool.writer import Spool
from console.listen import direct_address
from tests.billing.traffic import a_final, a_progress, a_start, counts, now_ms
from tests.factories import make_key

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(root: Path) -> Iterator[Spool]:
    with closing(Spool(root, rotate_seconds=1e9)) as spool:
        yield spool


def ask(spool: Spool, team: Team, *, completion: int = 5, key_id: int | None = None) -> UUID:
    start = a_start(team.pk, key_id=key_id)
    spool.start(start)
    spool.final(a_final(start.id, counts(10, completion)))
    return start.id


def logged() -> dict[UUID, str]:
    return dict(UsageRecord.objects.values_list("id", "outcome"))


def dead_process(root: Path, team: Team, *, ended: int, cut: int) -> list[UUID]:
    """A process that was killed with `cut` requests running, each three tokens on; their ids, the ended ones first."""
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from billing.spool.writer import Spool
from console.listen import direct_address
from tests.billing.traffic import a_start, a_final, a_progress
spool = Spool(Path({str(root)!r}), rotate_seconds=1e9)
starts = [a_start({team.pk}) for _ in range({ended + cut})]
for start in starts:
    spool.start(start)
    spool.progress(a_progress(start.id, 2))
for start in starts[:{ended}]:
    spool.final(a_final(start.id))
    spool.rotate(force=True)
for start in starts[{ended}:]:
    spool.progress(a_progress(start.id, 3))
print(*(start.id for start in starts), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert child.returncode == -9, child.stderr
    return [UUID(word) for word in child.stdout.split()]


def test_an_ended_request_is_logged_and_its_file_removed(root: Path, spool: Spool, red: Team) -> None:
    request = ask(spool, red)
    running = a_start(red.pk)
    spool.start(running)
    spool.rotate(force=True)
    assert Shipper(root, spool).ship_once() == 1
    assert logged() == {request: "ok"}
    assert [path.name for path in numbered(spool.folder)] == ["000002.jsonl"]
    assert waiting(root).running == 1


@pytest.mark.spec("F20", "F21", "R01")
def test_a_dead_processs_requests_are_logged_and_the_cut_ones_interrupted(root: Path, red: Team) -> None:
    requests = dead_process(root, red, ended=4, cut=3)
    assert Shipper(root).ship_once() == 7
    assert logged() == dict.fromkeys(requests[:4], "ok") | dict.fromkeys(requests[4:], "interrupted")
    cut = UsageRecord.objects.filter(outcome="interrupted").values_list(
        "prompt_tokens", "completion_tokens", "completion_source", "engine"
    )
    assert set(cut) == {(10, 3, "counted", "engine")}
    assert folders(root) == []
    assert Shipper(root).ship_once() == 0


@pytest.mark.spec("F20", "F21")
def test_a_process_killed_while_it_made_a_file_loses_nothing_and_alarms_nobody(root: Path, red: Team) -> None:
    requests = dead_process(root, red, ended=1, cut=1)
    (folder,) = folders(root)
    (folder / "000008.jsonl").touch()
    (folder / "000009.jsonl").write_bytes(numbered(folder)[0].read_bytes()[:30])
    assert Shipper(root).ship_once() == 2
    assert logged() == {requests[0]: "ok", requests[1]: "interrupted"}
    assert folders(root) == []


@pytest.mark.spec("F21")
def test_requests_of_a_live_process_are_never_interrupted(root: Path, spool: Spool, red: Team) -> None:
    spool.start(start := a_start(red.pk))
    ask(spool, red)
    spool.rotate(force=True)
    elsewhere = Shipper(root)
    assert elsewhere.ship_once() == 0
    assert Shipper(root, spool).ship_once() == 1
    assert elsewhere.ship_once() == 0
    spool.final(a_final(start.id))
    spool.close()
    assert elsewhere.ship_once() == 1
    assert set(logged().values()) == {"ok"}


@pytest.mark.spec("F39")
def test_a_copied_folder_counts_once(root: Path, tmp_path: Path, red: Team) -> None:
    requests = dead_process(root, red, ended=3, cut=2)
    (original,) = folders(root)
    shutil.copytree(original, tmp_path / "backup")
    shutil.copytree(original, original.with_name("0-copy"))
    shipped = Shipper(root).ship_once() + Shipper(root).ship_once()
    assert shipped == len(requests)
    shutil.copytree(tmp_path / "backup", original)  # somebody restores it
    assert Shipper(root).ship_once() == 0
    assert len(logged()) == len(requests)
    assert UsageDay.objects.get(outcome="ok").requests == 3
    assert audit().agrees
    assert folders(root) == []


@pytest.mark.spec("F39")
def test_a_copy_of_a_live_processs_folder_waits_for_its_original(root: Path, spool: Spool, red: Team) -> None:
    spool.start(start := a_start(red.pk))
    shutil.copytree(spool.folder, root / "copy")
    assert Shipper(root).ship_once() == 0
    spool.final(a_final(start.id))
    spool.close()
    Shipper(root).ship_once()
    Shipper(root).ship_once()
    assert logged() == {start.id: "ok"}


@pytest.mark.spec("F38")
def test_a_corrupt_file_is_put_aside_with_an_alarm_and_the_rest_is_shipped(
    root: Path, spool: Spool, red: Team, caplog: pytest.LogCaptureFixture
) -> None:
    ask(spool, red)
    spool.rotate(force=True)
    request = ask(spool, red)
    spool.rotate(force=True)
    broken, _ = spool.closed_files()
    broken.write_bytes(os.urandom(8192))
    assert Shipper(root, spool).ship_once() == 1
    assert logged() == {request: "ok"}
    assert [path.name for path in waiting(root).aside] == ["000001.corrupt"]
    assert "put aside" in caplog.text


@pytest.mark.spec("F20")
def test_what_a_process_was_killed_while_it_wrote_is_swept_up_without_an_alarm(
    root: Path, spool: Spool, red: Team, caplog: pytest.LogCaptureFixture
) -> None:
    request = ask(spool, red)
    spool.start(a_start(red.pk))
    spool.close()
    (live,) = numbered(spool.folder)
    whole = live.read_bytes()
    live.write_bytes(whole[:-50])
    live.with_name("000002.jsonl").write_bytes(whole[:30])
    live.with_name("000001.new").write_bytes(whole)
    assert Shipper(root).ship_once() == 1
    assert logged() == {request: "ok"}
    assert (list(root.iterdir()), caplog.text) == ([], "")


@pytest.mark.spec("F38")
def test_what_may_have_ended_in_a_lost_line_is_not_taken_for_interrupted(root: Path, spool: Spool, red: Team) -> None:
    before, lost, runs = (a_start(red.pk) for _ in range(3))
    spool.start(before)
    spool.rotate(force=True)
    spool.start(lost)
    spool.start(runs)
    for start in (before, lost):
        spool.final(a_final(start.id))
    spool.rotate(force=True)
    spool.close()
    damaged = numbered(spool.folder)[1]
    *kept, one, other = damaged.read_bytes().splitlines(keepends=True)
    good = damaged.read_bytes()
    damaged.write_bytes(b"".join([*kept, one[::-1], other[::-1]]))
    assert Shipper(root).ship_once() == 1
    assert logged() == {runs.id: "interrupted"}
    aside = damaged.with_suffix(".corrupt")
    aside.write_bytes(good)  # from a backup
    aside.rename(damaged)
    assert Shipper(root).ship_once() == 2
    assert logged() == {runs.id: "interrupted", before.id: "ok", lost.id: "ok"}


def test_a_file_that_nobody_here_has_written_keeps_its_folder(root: Path, spool: Spool, red: Team) -> None:
    ask(spool, red)
    (spool.folder / "000001.db").write_bytes(b"of another version")
    spool.close()
    assert Shipper(root).ship_once() == 1
    assert [path.name for path in spool.folder.iterdir() if path.name not in {"lock", "ballast"}] == ["000001.db"]
    assert [path.name for path in waiting(root).aside] == ["000001.db"]
    assert spooled(root).put_aside == 1


@pytest.mark.spec("F08")
def test_a_record_that_the_log_refuses_holds_up_nothing(root: Path, spool: Spool, red: Team) -> None:
    good = [ask(spool, red) for _ in range(3)]
    spool.start(unknown := a_start(team_id=10**9))
    spool.final(a_final(unknown.id))
    spool.start(negative := a_start(red.pk, end_user="nul\0here"))
    spool.final(a_final(negative.id, counts(-5, 5)))
    spool.start(distant := a_start(red.pk, at_ms=2**48 - 1))
    spool.final(a_final(distant.id))
    spool.start(huge := a_start(red.pk))
    spool.final(a_final(huge.id, counts(2**63 - 1, 1)))
    spool.start(odd := a_start(red.pk))
    spool.final(a_final(odd.id)._replace(status=70_000))
    spool.start(wordy := a_start(red.pk, key_name="k" * 300, model="nul\0" + "é" * 300, end_user="u" * 9000))
    spool.final(a_final(wordy.id))
    good.append(wordy.id)
    spool.rotate(force=True)
    assert Shipper(root, spool).ship_once() == 4
    assert set(logged()) == set(good)
    kept = UsageRecord.objects.get(id=wordy.id)
    assert (kept.key_name, kept.model, kept.end_user) == ("k" * 100, "nul" + "é" * 197, "u" * 256)
    letters = dict(DeadLetter.objects.values_list("id", "payload"))
    assert set(letters) == {unknown.id, negative.id, distant.id, huge.id, odd.id}
    assert letters[negative.id]["start"]["end_user"] == "nulhere"
    report = audit()
    assert (report.differences, report.dead_letters, report.agrees) == ((), 5, False)


def test_a_keys_last_use_is_noted(root: Path, spool: Spool, red: Team) -> None:
    key = make_key(red).key
    before = datetime.fromtimestamp(now_ms() // 1000, UTC)
    ask(spool, red, key_id=key.pk)
    spool.rotate(force=True)
    Shipper(root, spool).ship_once()
    key.refresh_from_db()
    assert key.last_used_at is not None
    assert key.last_used_at >= before


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("F39")
def test_two_shippers_at_once_ship_each_request_once(root: Path, red: Team) -> None:
    requests = [request for _ in range(4) for request in dead_process(root, red, ended=20, cut=5)]
    spool = Spool(root, rotate_seconds=1e9)
    for _ in range(10):
        requests += [ask(spool, red) for _ in range(10)]
        spool.rotate(force=True)
    shipped: list[int] = []
    barrier = threading.Barrier(4)

    def ship() -> None:
        barrier.wait()
        try:
            shipped.append(sum(Shipper(root, spool).ship_once() for _ in range(3)))
        finally:
            connection.close()

    threads = [threading.Thread(target=ship) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spool.close()
    assert sum(shipped) == len(requests)
    assert sorted(logged()) == sorted(requests)
    assert audit().agrees


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("F17", "R02")
def test_while_the_database_is_away_records_wait_and_then_arrive_once(
    root: Path, spool: Spool, red: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [ask(spool, red) for _ in range(5)]
    spool.rotate(force=True)
    connection.close()
    connection.close_pool()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "HOST", str(root / "nowhere"))
        patch.setitem(connection.settings_dict["OPTIONS"], "pool", {"timeout": 0.2, "min_size": 1})
        with pytest.raises(OperationalError):
            Shipper(root, spool).ship_once()
        requests.append(ask(spool, red))
        connection.close()
        connection.close_pool()
    assert waiting(root).ended == 6
    shipper = Shipper(root, spool)
    shipper.start()
    shipper.stop()
    assert sorted(logged()) == sorted(requests)
    assert waiting(root).ended == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("F18")
def test_while_the_database_is_slow_files_are_still_begun_in_time_and_not_by_the_writer(root: Path, red: Team) -> None:
    with closing(Spool(root, rotate_seconds=0.4)) as spool, psycopg.connect(**direct_address()) as other:
        requests = [ask(spool, red)]
        other.execute("BEGIN")
        other.execute("LOCK TABLE billing_usage")
        shipper = Shipper(root, spool)
        shipper.start()
        for number in (2, 3, 4):
            until(lambda number=number: spool._number == number)
            requests.append(ask(spool, red))
        other.execute("ROLLBACK")
        until(lambda: len(logged()) >= 3)
        shipper.stop()
    assert sorted(logged()) == sorted(requests)


def until(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.01)


@pytest.mark.spec("F23")
def test_a_clock_that_steps_moves_no_request_and_makes_no_duration_negative(
    root: Path, spool: Spool, red: Team
) -> None:
    hour = 3_600_000
    ahead, behind = a_start(red.pk, at_ms=now_ms() + hour), a_start(red.pk, at_ms=now_ms() - 40 * 24 * hour)
    for start in (ahead, behind):
        spool.start(start)
        spool.progress(a_progress(start.id))
    spool.final(a_final(ahead.id))
    spool.close()
    Shipper(root).ship_once()
    rows = {row.id: row for row in UsageRecord.objects.all()}
    assert {key: int(row.at.timestamp() * 1000) for key, row in rows.items()} == {
        ahead.id: ahead.at_ms,
        behind.id: behind.at_ms,
    }
    assert all(row.duration_ms >= 0 for row in rows.values())
    assert audit().agrees
