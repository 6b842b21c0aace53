import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.errors import SpoolCorrupt, SpoolFull, SpoolUnavailable
from billing.records import Counts, Ended
from billing.spool.file import interrupted, read
from billing.spool.folder import folders, numbered
from billing.spool.writer import Spool
from tests.billing.traffic import PRICE, a_final, a_progress, a_start, counts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with closing(Spool(tmp_path / "spool", rotate_seconds=1e9)) as spool:
        yield spool


def test_a_request_is_read_back_as_it_was_written(spool: Spool) -> None:
    start = a_start(7, key_id=3, key_name="Bob’s key", end_user="someone", stream=False, price=PRICE)
    final = a_final(start.id, Counts(10, 5, "upstream", "counted", 2, None, "usage_missing"))
    spool.start(start)
    spool.final(final)
    spool.rotate(force=True)
    (path,) = spool.closed_files()
    assert read(path).ended == [Ended(start, final)]


@pytest.mark.spec("F20")
def test_what_was_written_is_there_after_kill_9(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from billing.spool.writer import Spool
from tests.billing.traffic import a_start, a_final, a_progress
spool = Spool(Path({str(tmp_path)!r}), rotate_bytes=7_000)
for number in range(200):
    start = a_start()
    spool.start(start)
    spool.progress(a_progress(start.id, number))
    if number % 10:
        spool.final(a_final(start.id))
    print(start.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert child.returncode == -9, child.stderr
    (folder,) = folders(tmp_path)
    contents = [read(path) for path in numbered(folder)]
    ended = [one.start.id for each in contents for one in each.ended]
    running = set(contents[-1].running)
    written = [UUID(line) for line in child.stdout.split()]
    assert len(contents) > 5
    assert sorted(ended) == sorted(request for number, request in enumerate(written) if number % 10)
    assert running == {request for number, request in enumerate(written) if number % 10 == 0}


@pytest.mark.spec("F21")
def test_running_requests_are_carried_into_the_new_file_with_their_latest_progress(spool: Spool) -> None:
    start = a_start()
    spool.start(start)
    spool.progress(a_progress(start.id, 3))
    spool.progress(a_progress(start.id, 8))
    for _ in range(3):
        spool.start(other := a_start())
        spool.final(a_final(other.id))
        assert spool.rotate(force=True)
    live = numbered(spool.folder)[-1]
    contents = read(live)
    assert contents.running == {start.id: start}
    assert contents.lasts[start.id].counts == counts(10, 8, "counted")
    spool.final(a_final(start.id))
    assert [one.start for one in read(live).ended] == [start]


def test_an_interrupted_request_is_billed_by_its_last_progress_and_by_nothing_without_one() -> None:
    start = a_start()
    assert interrupted(start, None).final.counts == Counts(0, 0, "none", "none")
    assert interrupted(start, None).final.outcome == "interrupted"


def test_a_second_end_of_a_request_is_not_recorded(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    spool.start(start := a_start())
    spool.final(a_final(start.id))
    spool.final(a_final(start.id, outcome="client_gone"))
    spool.rotate(force=True)
    (path,) = spool.closed_files()
    assert [one.final.outcome for one in read(path).ended] == ["ok"]
    assert "second end" in caplog.text


def test_files_are_for_their_owner_alone(spool: Spool) -> None:
    spool.start(a_start())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in spool.folder.iterdir()}
    assert modes == {
        "lock": 0o600,
        "ballast": 0o600,
        "000001.jsonl": 0o600,
    }
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(spool.root.stat().st_mode) == 0o700


@pytest.mark.spec("F08")
def test_what_json_cannot_hold_is_made_holdable_and_not_lost(spool: Spool) -> None:
    start = a_start(end_user="\ud800 half a pair", model="nul\0model")
    spool.start(start)
    spool.final(a_final(start.id, Counts(2**80, 1, "upstream", "upstream")))
    spool.rotate(force=True)
    (path,) = spool.closed_files()
    (one,) = read(path).ended
    assert (one.start.end_user, one.start.model, one.final.counts.prompt_tokens) == (
        "? half a pair",
        "nul\0model",
        2**63 - 1,
    )


def test_a_folder_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("not a folder")
    with pytest.raises(SpoolUnavailable, match="cannot be written"):
        Spool(tmp_path / "spool")


def test_nothing_is_written_after_close(spool: Spool) -> None:
    spool.close()
    assert folders(spool.root) == []
    with pytest.raises(SpoolUnavailable):
        spool.start(a_start())


@pytest.mark.spec("F38")
def test_a_file_in_which_nothing_can_be_read_is_corrupt(spool: Spool) -> None:
    spool.start(start := a_start())
    spool.final(a_final(start.id))
    spool.rotate(force=True)
    (path,) = spool.closed_files()
    path.write_bytes(os.urandom(4096))
    with pytest.raises(SpoolCorrupt):
        read(path)


@pytest.mark.spec("F38")
def test_a_broken_line_is_noticed_and_passed_over_and_a_torn_end_is_none(tmp_path: Path, spool: Spool) -> None:
    for _ in range(20):
        spool.start(start := a_start())
        spool.final(a_final(start.id))
    (whole,) = numbered(spool.folder)
    broken, torn = tmp_path / "broken", tmp_path / "torn"
    lines = whole.read_bytes().split(b"\n")
    for place in (10, 11):  # an end and the start after it, of which one bit each is another
        lines[place] = lines[place][:-9] + bytes([lines[place][-9] ^ 1]) + lines[place][-8:]
    broken.write_bytes(b"\n".join(lines))
    torn.write_bytes(whole.read_bytes()[:-100])
    assert (read(broken).damaged, len(read(broken).ended)) == (True, 18)
    assert (read(torn).damaged, len(read(torn).ended)) == (False, 19)


@pytest.mark.spec("F38")
@pytest.mark.parametrize(("lines", "damaged"), [(slice(2, None), True), (slice(0, 3), False), (slice(0, 0), False)])
def test_a_file_without_its_first_lines_is_damaged_and_one_without_its_last_ones_is_not(
    tmp_path: Path, spool: Spool, lines: slice, damaged: bool
) -> None:
    for _ in range(5):
        spool.start(start := a_start())
        spool.final(a_final(start.id))
    (whole,) = numbered(spool.folder)
    cut = tmp_path / "cut"
    cut.write_bytes(b"".join(whole.read_bytes().splitlines(keepends=True)[lines]))
    assert read(cut).damaged is damaged


@pytest.mark.spec("F25")
def test_a_line_for_which_there_was_room_in_part_leaves_none_of_it(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.start(start := a_start())
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:40]))
    with pytest.raises(SpoolFull):
        spool.start(a_start())
    monkeypatch.undo()
    spool.final(a_final(start.id))
    (path,) = numbered(spool.folder)
    contents = read(path)
    assert ([one.start.id for one in contents.ended], contents.damaged, contents.running) == ([start.id], False, {})


def test_each_line_is_on_the_disk_itself_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with closing(Spool(tmp_path / "full", sync="full")) as spool:
        before = len(synced)
        spool.start(start := a_start())
        spool.final(a_final(start.id))
        assert len(synced) == before + 2
    synced.clear()
    with closing(Spool(tmp_path / "normal")) as spool:
        spool.start(a_start())
    assert synced == []


type Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["start", "progress", "final", "rotate", "ship"]), st.integers(0, 30)), max_size=60
)


@given(STEPS)
@settings(max_examples=60, deadline=None)
@pytest.mark.spec("F20", "F21")
def test_every_end_is_there_once_and_every_other_start_is_running(steps: list[Step]) -> None:
    """Whatever the order, and whichever closed files were taken away as shipped, the process then dies."""
    with tempfile.TemporaryDirectory() as root:
        spool = Spool(Path(root), rotate_seconds=1e9)
        started: list[UUID] = []
        progress: dict[UUID, int] = {}
        finished: set[UUID] = set()
        found: list[UUID] = []

        def take(paths: list[Path]) -> None:
            for path in paths:
                found.extend(one.start.id for one in read(path).ended)
                path.unlink()

        for verb, number in steps:
            request = started[number % len(started)] if started else None
            if verb == "start":
                spool.start(start := a_start())
                started.append(start.id)
            elif verb == "rotate":
                spool.rotate(force=True)
            elif verb == "ship":
                take(spool.closed_files())
            elif request and verb == "progress":
                spool.progress(a_progress(request, number))
                if request not in finished:
                    progress[request] = number
            elif request and request not in finished:
                spool.final(a_final(request))
                finished.add(request)
        spool.closed_files()
        files = numbered(spool.folder)
        last = read(files[-1])
        take(files)
        spool.close()
        assert sorted(found) == sorted(finished)
        assert set(last.running) == set(started) - finished
        left = {request: final.counts.completion_tokens for request, final in last.lasts.items()}
        assert left == {request: number for request, number in progress.items() if request not in finished}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.spec("F25")
def test_on_a_full_disk_what_runs_may_end_and_nothing_new_begins_until_there_is_room(small_disk: Path) -> None:
    with closing(Spool(small_disk / "spool", rotate_seconds=1e9)) as spool:
        running = [a_start(number) for number in range(100)]
        for start in running:
            spool.start(start)
        filling = small_disk / "filling"
        _fill(filling)
        _until_refused(spool)
        for start in running:
            spool.final(a_final(start.id))
        with pytest.raises(SpoolUnavailable):
            spool.start(a_start())
        filling.unlink()
        last = a_start()
        spool.start(last)
        spool.final(a_final(last.id))
        spool.rotate(force=True)
        (path,) = spool.closed_files()
        ended = {one.start.id for one in read(path).ended}
    assert {start.id for start in (*running, last)} <= ended


@pytest.mark.spec("F25")
def test_a_new_file_without_room_for_what_runs_is_given_up_whole(small_disk: Path) -> None:
    with closing(Spool(small_disk / "spool", rotate_seconds=1e9)) as spool:
        for number in range(100):  # more than one page of the disk
            spool.start(a_start(number))
        filling = small_disk / "filling"
        _fill(filling)
        with filling.open("r+b") as file:
            file.truncate(filling.stat().st_size - 4096)  # room for its first line alone
        files, open_ones = numbered(spool.folder), _descriptors()
        assert [spool.rotate(force=True) for _ in range(3)] == [False] * 3
        assert (numbered(spool.folder), _descriptors()) == (files, open_ones)


@pytest.mark.spec("F25")
def test_what_is_held_in_memory_has_its_start_and_end_written_where_the_ballast_was(small_disk: Path) -> None:
    with closing(Spool(small_disk / "spool", rotate_seconds=1e9)) as spool:
        _fill(small_disk / "filling")
        _until_refused(spool)
        held = [a_start(number, price=PRICE) for number in range(50)]
        for start in held:
            spool.hold(start)
        assert [spool.holds(start.id) for start in held] == [True] * 50
        finals = [a_final(start.id) for start in held]
        for final in finals:
            spool.final(final)
        assert [spool.holds(start.id) for start in held] == [False] * 50
        spool.rotate(force=True)
        (path,) = spool.closed_files()
        written = {one.start.id: one for one in read(path).ended}
    assert [written[start.id] for start in held] == [Ended(*both) for both in zip(held, finals, strict=True)]


@pytest.mark.spec("F25")
def test_no_more_is_held_than_the_ballast_has_room_for(small_disk: Path) -> None:
    with closing(Spool(small_disk / "spool", rotate_seconds=1e9)) as spool:
        _fill(small_disk / "filling")
        _until_refused(spool)
        held = _hold_as_many_as_fit(spool)
        for request in held:
            spool.final(a_final(request))
        assert len(held) > 10
        with pytest.raises(SpoolFull):
            spool.start(a_start())


@pytest.mark.spec("F25")
def test_with_room_again_what_memory_held_is_written_and_what_the_log_has_is_forgotten(small_disk: Path) -> None:
    with closing(Spool(small_disk / "spool", rotate_seconds=1e9)) as spool:
        filling = small_disk / "filling"
        _fill(filling)
        _until_refused(spool)
        before = set(spool._running)
        logged, runs = a_start(), a_start()
        spool.hold(logged)
        spool.hold(runs)
        spool.logged(logged.id)
        assert (spool.holds(logged.id), spool.holds(runs.id), spool.writable) == (False, True, False)
        filling.unlink()
        spool.start(last := a_start())
        assert (spool.holds(runs.id), spool.writable) == (False, True)
        spool.final(a_final(last.id))
        spool.rotate(force=True)
        (path,) = spool.closed_files()
        assert set(read(path).running) - before == {runs.id}


def _hold_as_many_as_fit(spool: Spool) -> list[UUID]:
    """Each with the longest names that it may have."""
    held: list[UUID] = []
    with suppress(SpoolFull):
        for _ in range(1000):
            start = a_start(end_user="u" * 256, model="m" * 200, member_name="n" * 254, price=PRICE)
            spool.hold(start)
            held.append(start.id)
        raise AssertionError("there is no end to it")
    return held


def _descriptors() -> list[str]:
    """What this process has open."""
    return sorted(str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.exists())


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


def _until_refused(spool: Spool) -> None:
    """A page of the disk that is begun may still hold a few."""
    with suppress(SpoolUnavailable):
        for _ in range(1000):
            spool.start(a_start())
        raise AssertionError("the disk is not full")
