"""The spool's disk: full, damaged, copied."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from billing.spool.folder import folders, numbered
from tests.faults.callers import Way
from tests.faults.rig import Rig, Stage, until
from tests.faults.toxic import Late

pytestmark = pytest.mark.slow

SHORT = Way("fault:ok?n=5", stream=False)
STREAM = Way("fault:ok?n=5")
PAYING = Way("fault:ok?n=5", key="blue", more={"max_tokens": 50})
BUDGET = """
from decimal import Decimal
from accounts.models import Team
from billing.budgets.monthly import set_budget
from billing.models import Unit
set_budget(team=Team.objects.get(slug="blue"), unit=Unit.TOKENS, amount=Decimal(100_000), hard=True, by=None)
"""
DISK_MB = 2
FULL = ["the disk is full", "was not recorded", "could not start a new file"]
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
WAITING = 30  # calls in the spool of a dead process


@root
@pytest.mark.spec("F25")
def test_on_a_full_disk_calls_go_straight_to_the_log_and_what_ran_ends(stage: Stage, kind: str) -> None:
    with stage.rig(kind, servers=0) as rig, small_disk(rig.data / "spool") as disk:
        rig.adopt(rig.open_server())
        rig.shell(BUDGET)
        rig.expected_errors += FULL
        running = [rig.begin(Way("fault:drip?n=60&gap=50")) for _ in range(10)]
        until(lambda: all(one.seen.deltas for one in running), "the streams never began")
        filler = fill(rig, disk)
        ways = [SHORT, STREAM, PAYING, Way("fault:drip?n=200&gap=50", leave_after=5), Way("fault:rst?after=7")] * 4
        seen = rig.calls(ways)
        assert [one.status for one in seen] == [200] * len(ways)
        logged = {rig.row(one)["outcome"] for one in seen}
        assert logged == {"ok", "client_gone", "upstream_error"}
        assert [one.result().whole for one in running] == [True] * 10
        # Not by way of the disk: those are in the log and no file of the spool has them.
        filler.unlink()
        assert rig.call(SHORT).status == 200
        until(lambda: "has room again" in rig.server.log(), "the server never saw the room")
        rig.judge()


@contextlib.contextmanager
def read_only(rig: Rig) -> Iterator[None]:
    """It answers, and takes nothing."""
    rig.cluster.set_everywhere("default_transaction_read_only", "on")
    try:
        yield
    finally:
        rig.cluster.set_everywhere("default_transaction_read_only", None)


@contextlib.contextmanager
def dead(rig: Rig) -> Iterator[None]:
    rig.cluster.die()
    yield
    rig.cluster.revive()


@contextlib.contextmanager
def late(rig: Rig) -> Iterator[None]:
    """Every answer comes after the deadline of an end."""
    rig.database.toxic = Late(5)
    yield
    rig.database.toxic = None


@root
@pytest.mark.spec("F25")
@pytest.mark.parametrize("trouble", [read_only, dead, late])
def test_on_a_full_disk_without_postgresql_what_began_ends_where_the_ballast_was_and_nothing_new_begins(
    stage: Stage, kind: str, trouble: Callable[[Rig], contextlib.AbstractContextManager[None]]
) -> None:
    with stage.rig(kind, servers=0) as rig, small_disk(rig.data / "spool") as disk:
        rig.adopt(rig.open_server())
        rig.expected_errors += FULL
        assert rig.call(SHORT).status == 200
        filler = fill(rig, disk)
        held = [rig.begin(Way("fault:drip?n=60&gap=50", stream=stream)) for stream in (True, False) * 10]
        until(lambda: all(one.seen.deltas for one in held[::2]), "the streams never began")
        rig.expected_errors += ["shipping failed and will be tried again"]
        with trouble(rig):
            assert [one.result().whole for one in held] == [True] * 20
            refused = until(lambda: (seen := rig.call(SHORT)).status != 200 and seen, "calls still began")
            assert (refused.status, "retry-after" in refused.headers) == (503, True)
            assert rig.pending().ended >= 20
        until(lambda: rig.call(SHORT).status == 200, "the server never went on")
        filler.unlink()
        rig.judge()


@root
@pytest.mark.spec("F25", "F20")
def test_a_kill_on_a_full_disk_loses_nothing_that_had_ended_and_no_reservation_stays(stage: Stage, kind: str) -> None:
    with stage.rig(kind, servers=0) as rig, small_disk(rig.data / "spool") as disk:
        rig.adopt(rig.open_server())
        rig.shell(BUDGET)
        rig.expected_errors += FULL
        on_disk = rig.begin(Way("fault:drip?n=200&gap=50"))
        until(lambda: on_disk.seen.deltas > 30, "the stream never began")
        fill(rig, disk)
        in_memory = [rig.begin(Way("fault:drip?n=200&gap=50", key=PAYING.key)) for _ in range(3)]
        until(lambda: all(one.seen.deltas for one in in_memory), "the streams never began")
        ended = rig.calls([SHORT, STREAM, PAYING] * 5)
        rig.server.kill()
        assert [one.whole for one in ended] == [True] * 15
        for one in (on_disk, *in_memory):
            one.result()
        disk.joinpath(".filler").unlink()
        rig.server.start()
        assert rig.row(on_disk.seen)["outcome"] == "interrupted"
        assert {rig.row(one)["outcome"] for one in ended} == {"ok"}
        # What had begun meanwhile and not ended is what this state costs: docs/operations.md says so.
        for one in in_memory:
            assert rig.query("SELECT id FROM billing_usage WHERE client_request_id = %s", one.seen.label) == []
            rig.seen.remove(one.seen)


def fill(rig: Rig, disk: Path) -> Path:
    """Not a page is left but the ballast's, and the server has met it."""
    filler = disk / ".filler"
    with filler.open("wb", buffering=0) as file:
        while "the disk is full" not in rig.server.log():
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
            rig.call(SHORT)
    return filler


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    place.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def kill_with_waiting(rig: Rig) -> Path:
    """The folder of a process that was killed while PostgreSQL was away, with several files of ended calls."""
    rig.call(SHORT)
    until(rig.rows, "the first call never came into the log")
    rig.cluster.die()
    rig.server.wait_for(503)
    for _ in range(WAITING // 5):
        assert {seen.status for seen in rig.calls([SHORT] * 5)} == {200}
        time.sleep(0.4)  # a file's life
    rig.server.kill()
    (folder,) = folders(rig.data / "spool")
    assert len(numbered(folder)) > 3
    return folder


@pytest.mark.spec("F38")
def test_a_damaged_file_is_put_aside_and_told_and_the_others_are_shipped(stage: Stage, kind: str) -> None:
    with stage.rig(kind) as rig:
        rig.expected_errors += ["cannot be read and was put aside", "damaged spool file was put aside"]
        folder = kill_with_waiting(rig)
        damaged = numbered(folder)[1]
        good = rig.data / "restored"
        shutil.copytree(folder, good)
        raw = bytearray(damaged.read_bytes())
        middle = len(raw) // 2
        raw[middle : middle + 4000] = bytes(len(raw[middle : middle + 4000]))
        raw[:100] = b"?" * min(100, len(raw))
        damaged.write_bytes(raw)
        with numbered(folder)[-1].open("ab") as file:
            file.write(b"half a line that nobody was told of")
        rig.cluster.revive()
        rig.server.start()
        until(lambda: list(folder.glob("*.corrupt*")), "the damaged file was never put aside")
        until(lambda: not numbered(folder), "the others were never shipped")
        audit = rig.server.manage("usage_audit", check=False)
        assert (audit.returncode, "put aside" in audit.stderr) == (1, True)
        # The operator has that file in a backup, with others that are in the log already, and lays it all back.
        shutil.rmtree(folder)
        good.rename(folder)


@pytest.mark.spec("F39")
def test_a_copy_of_a_spool_and_two_servers_that_find_both_count_everything_once(stage: Stage, kind: str) -> None:
    with stage.rig(kind) as rig:
        folder = kill_with_waiting(rig)
        shutil.copytree(folder, folder.with_name("0000-restored"))
        rig.cluster.revive()
        other = rig.open_server(ready=False)
        rig.server.start()
        other.wait_for(200)
        until(lambda: rig.pending().ended == 0, "the spools were never shipped")
        assert len(rig.rows()) == len(rig.seen)
