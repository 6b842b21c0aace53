"""The spool's disk: full, damaged, copied."""

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing.spoolfolder import folders, numbered, parts
from tests.faults.callers import Way
from tests.faults.rig import Rig, Stage, until

pytestmark = pytest.mark.slow

SHORT = Way("fault:ok?n=5", stream=False)
DISK_MB = 2
WAITING = 30  # calls in the spool of a dead process


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
@pytest.mark.spec("F25")
def test_on_a_full_disk_what_runs_ends_and_nothing_new_begins_and_with_room_all_goes_on(
    stage: Stage, kind: str
) -> None:
    with stage.rig(kind, servers=0) as rig, small_disk(rig.data / "spool") as disk:
        rig.adopt(rig.open_server())
        rig.expected_errors += ["the disk is full", "was not recorded", "could not start a new file"]
        assert rig.call(SHORT).status == 200
        running = [rig.begin(Way("fault:drip?n=100&gap=50")) for _ in range(10)]
        until(lambda: all(one.seen.deltas for one in running), "the streams never began")
        filler = disk / ".filler"
        with filling(filler):
            refused = until(lambda: (seen := rig.call(SHORT)).status != 200 and seen, "the disk never was full")
        # It stays full, but for the ballast that the server gives up.
        ended = [one.result() for one in running]
        filler.unlink()
        assert (refused.status, "retry-after" in refused.headers) == (503, True)
        assert [seen.whole for seen in ended] == [True] * 10
        until(lambda: rig.call(SHORT).status == 200, "the server never went on")
        rig.judge()


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    place.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextlib.contextmanager
def filling(filler: Path) -> Iterator[None]:
    """Whatever room there is or comes is taken, until the end of the block."""
    stopping = threading.Event()

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            while not stopping.wait(0.01):
                with contextlib.suppress(OSError):
                    while not stopping.is_set():
                        file.write(bytes(4096))

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


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
        for part in parts(damaged):
            if part.exists() and not part.name.endswith("-shm"):
                raw = bytearray(part.read_bytes())
                middle = len(raw) // 2
                raw[middle : middle + 4000] = bytes(len(raw[middle : middle + 4000]))
                raw[:100] = b"?" * min(100, len(raw))
                part.write_bytes(raw)
        torn = numbered(folder)[-1]
        wal = torn.with_name(f"{torn.name}-wal")
        with wal.open("ab") as file:
            file.write(b"half a frame that nobody was told of")
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
