"""The local spool: what runs and what has ended, on this machine's disk before a caller sees the end of an answer.

Each process appends lines to files in a folder of its own, `<root>/<uuid>/000001.jsonl`, and holds a lock there while
it lives. After a few seconds it goes on in a new file; closed ones are shipped (`billing.spool.shipper`) and
removed.
Every file stands alone: the requests that still run, and how far they have come, are carried into the new file
before anything else is written to it and before the old one is closed.

What survives: with `sync="normal"` everything but a crash of the machine itself; with "full" that too.
"""

import errno
import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal
from uuid import UUID, uuid4

from billing.errors import SpoolFull, SpoolUnavailable
from billing.records import Counts, Final, Progress, Refusal, Start, UnitPrices
from billing.spool.ballast import Ballast, drop_dead
from billing.spool.file import (
    AGAIN,
    END,
    PROGRESS,
    RECORD,
    REFUSAL,
    START,
    File,
    compact,
    final_row,
    line,
    progress_row,
    refusal_row,
    start_row,
)
from billing.spool.flood import Flood
from billing.spool.folder import ENDING, make_held, numbered, remove_file, remove_if_shipped

__all__ = ["Counts", "Final", "Progress", "Refusal", "Spool", "Start", "UnitPrices", "open_spool", "spool"]

logger = logging.getLogger(__name__)

type Sync = Literal["normal", "full"]

NO_ROOM = {errno.ENOSPC, errno.EDQUOT}

# Bytes that one end takes at most, as far as it is known; with its start, if that is not on disk.
END_ROOM, WHOLE_ROOM = 2 * RECORD, 6 * RECORD


@dataclass(slots=True)
class _Running:
    """A request without an end: its lines as they stand in the live file."""

    start: bytes
    began: float  # monotonic, seconds
    progress: bytes = b""


class Spool:
    """The spool of one process. Writes are synchronous and take microseconds; they come from the event loop.

    The shipper's threads prepare and switch files (`rotate`) and close old ones, so that the loop rarely does.
    """

    def __init__(
        self, root: Path, *, sync: Sync = "normal", rotate_seconds: float = 2.0, rotate_bytes: int = 4 << 20
    ) -> None:
        self.root = root
        self.process = uuid4()
        self.folder = root / str(self.process)
        self._sync = sync
        self._rotate_seconds = rotate_seconds
        self._rotate_bytes = rotate_bytes
        self._lock = Lock()  # a write against a switch of files
        self._switching = Lock()  # one switch at a time
        self._running: dict[UUID, _Running] = {}
        self._unwritten: dict[UUID, Start] = {}  # run as well, and only memory knows
        self._flood = Flood()
        self._deaf = False  # whether the last refusal could not be written
        self._retired: list[File] = []
        self._number = 0
        self._closed_ends: dict[int, int] = {}  # ends by the number of a file that was closed
        self._closed = False
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            drop_dead(root)
            self._held = make_held(self.folder)
            self._live, self._number = self._new_file()
            self._ballast = Ballast(self.folder)
        except OSError as error:
            raise SpoolUnavailable(f"The spool in {root} cannot be written: {error}") from error
        self._begin_file()

    def start(self, start: Start) -> None:
        """Raises SpoolFull, and then `hold` may take the request; otherwise SpoolUnavailable: it must be refused."""
        row = line(START, start_row(start))
        if self._ballast.full:
            self._ballast.look()
        with self._lock:
            try:
                self._append(row)
            except SpoolFull:
                self._ballast.met_full()
                raise
            self._running[start.id] = _Running(row, time.monotonic())
            if self._ballast.full:
                self._emptied()
        self._rotate_if_late()

    def hold(self, start: Start) -> None:
        """A request that begins while the disk is full, known to memory alone: if this process dies, nobody knows it.

        Its end belongs straight into the log, and then `logged`; `final` is for when that fails.
        Raises SpoolFull unless the ballast has room for the ends of all that run.
        """
        with self._lock:
            needed = END_ROOM * len(self._running) + WHOLE_ROOM * (len(self._unwritten) + 1)
            if self._closed or self._ballast.room < needed:
                raise SpoolFull(f"The disk of the spool in {self.folder} is full.")
            self._unwritten[start.id] = start

    def holds(self, request: UUID) -> bool:
        """Whether it runs and only memory knows."""
        return request in self._unwritten

    def logged(self, request: UUID) -> None:
        """Its end is in the log, and need not come here."""
        with self._lock:
            self._unwritten.pop(request, None)
            if self._running.pop(request, None):
                self._ends += 1  # so that its start is left behind with this file

    def progress(self, progress: Progress) -> None:
        """Replaces what was known of a running request. Nothing is written for one that has ended.

        An answer is not cut because this failed: the end will say what was used.
        """
        running = self._running.get(progress.id)
        if running is None:
            return
        row = line(PROGRESS, progress_row(progress, int((time.monotonic() - running.began) * 1000)))
        try:
            with self._lock:
                self._append(row)
                running.progress = row
        except SpoolUnavailable:
            logger.exception("the progress of a request was not recorded", extra={"request_id": str(progress.id)})
            return
        self._rotate_if_late()

    def final(self, final: Final) -> None:
        """The first end of a request counts; a second one is refused. Raises SpoolUnavailable: the end is not kept."""
        held = self._unwritten.get(final.id)
        if held is None and final.id not in self._running:
            logger.error("a second end of one request was not recorded", extra={"request_id": str(final.id)})
            return
        with self._lock:
            try:
                self._end(held, final)
            except SpoolUnavailable:
                if self._ballast.given:
                    raise
                self._ballast.give()
                self._end(held, final)
            self._running.pop(final.id, None)
            self._unwritten.pop(final.id, None)
            self._ends += 1
        self._rotate_if_late()

    def _end(self, held: Start | None, final: Final) -> None:
        ended = line(END, final_row(final))
        self._append(ended if held is None else line(START, start_row(held)) + ended)

    def refused(self, refusal: Refusal) -> None:
        """Of a call that was not admitted. One that cannot be written is refused all the same, so nothing is raised.

        On a full disk none is: what the ballast left is for the ends of calls.
        """
        try:
            with self._lock:
                if self._closed or self._ballast.given:
                    return
                number, what = self._flood.take(refusal)
                if isinstance(what, Refusal):
                    self._append(line(REFUSAL, refusal_row(number, what)))
                else:
                    self._append(line(AGAIN, (what, number)))
                self._flood.written(number, refusal, what)
                self._ends += 1
        except SpoolUnavailable:
            if not self._deaf:  # once, not for each of a flood
                logger.exception("refusals are not recorded", extra={"request_id": str(refusal.id)})
            self._deaf = True
            return
        self._deaf = False
        self._rotate_if_late()

    def rotate(self, *, force: bool = False) -> bool:
        """Go on in a new file if the live one is due. A failure leaves the live one in use.

        Called by the shipper's threads.
        """
        with self._switching:
            return self._switch(force=force)

    def _switch(self, *, force: bool = False) -> bool:
        wanted = self._written > 0 if force else self._due()
        if self._closed or not wanted:
            return False
        try:
            file, number = self._new_file()
            with self._lock:
                if carried := b"".join([running.start + running.progress for running in self._running.values()]):
                    self._carry(file, carried)
                self._retired.append(self._live)
                self._closed_ends[self._number] = self._ends
                self._live, self._number = file, number
                self._begin_file()
        except OSError:
            logger.exception("the spool could not start a new file and goes on in the old one")
            return False
        return True

    def _carry(self, file: File, carried: bytes) -> None:
        """What runs, into a new file. One that has no room for it is given up, and its own room with it."""
        try:
            file.append(carried)
        except OSError:
            file.close()
            remove_file(file.path)
            raise

    @property
    def idle(self) -> bool:
        """Whether no request runs."""
        return not (self._running or self._unwritten)

    def ended_before(self) -> float:
        """All that ended before this moment, seconds since the epoch, is in closed files."""
        now = time.time()
        with self._lock:
            return self._opened_at if self._ends else now

    def closed_files(self) -> list[Path]:
        """Files that nothing writes to any more, oldest first. Closes them, which may take a while."""
        live = self._number  # first: a file that is retired from now on is still open
        while self._retired:
            file = self._retired.pop()
            file.close()
            with suppress(OSError):  # then it is longer than it need be
                compact(file.path)
        return [path for path in numbered(self.folder) if int(path.stem) < live]

    @property
    def writable(self) -> bool:
        """False while the disk is full: what runs may end, and what begins is known to memory alone."""
        return not self._ballast.full

    @property
    def depth(self) -> int:
        """Ended requests that are not in the log yet."""
        kept = {int(path.stem) for path in numbered(self.folder)}
        with self._lock:  # a file may be closed meanwhile, in another thread
            for number in self._closed_ends.keys() - kept:
                del self._closed_ends[number]
            return self._ends + sum(self._closed_ends.values())

    def close(self) -> None:
        """Leave the folder to whoever ships next; what still runs becomes `interrupted`."""
        with self._switching, self._lock:
            if self._closed:
                return
            self._closed = True
            for file in (*self._retired, self._live):
                file.close()
            self._retired.clear()
        if not self._written and not self._running:
            remove_file(self._path(self._number))
        remove_if_shipped(self.folder)
        os.close(self._held)

    def _emptied(self) -> None:
        """There is room again, also for what began without."""
        self._ballast.full_no_more()
        try:
            for request, start in list(self._unwritten.items()):
                row = line(START, start_row(start))
                self._append(row)
                self._running[request] = _Running(row, time.monotonic())
                del self._unwritten[request]
        except SpoolUnavailable:
            self._ballast.met_full()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}{ENDING}"

    def _new_file(self) -> tuple[File, int]:
        number = self._number + 1
        path = self._path(number)
        remove_file(path)  # of an earlier switch that failed half-way
        return File(path, process=str(self.process), synced=self._sync == "full"), number

    def _begin_file(self) -> None:
        self._opened = time.monotonic()
        self._opened_at = time.time()
        self._written = 0
        self._ends = 0  # what waits for the shipper: ends of requests, and refusals
        self._flood.next_file()

    def _due(self, patience: int = 1) -> bool:
        if self._written >= self._rotate_bytes * patience:
            return True
        return self._ends > 0 and time.monotonic() - self._opened >= self._rotate_seconds * patience

    def _rotate_if_late(self) -> None:
        """The writer's own switch, for when no thread comes round. It never waits for one that is at it."""
        if self._due(patience=2) and self._switching.acquire(blocking=False):
            try:
                self._switch()
            finally:
                self._switching.release()

    def _append(self, lines: bytes) -> None:
        try:
            self._live.append(lines)
        except OSError as error:
            kind = SpoolFull if error.errno in NO_ROOM else SpoolUnavailable
            raise kind(f"The spool in {self.folder} cannot be written: {error}") from error
        self._written += len(lines)


def open_spool(root: Path, *, sync: Sync = "normal", rotate_seconds: float = 2.0, rotate_bytes: int = 4 << 20) -> Spool:
    """Open the spool of this process, which `spool()` then returns. Raises SpoolUnavailable."""
    _current.append(Spool(root, sync=sync, rotate_seconds=rotate_seconds, rotate_bytes=rotate_bytes))
    return _current[-1]


def spool() -> Spool:
    """Raises SpoolUnavailable before `open_spool`."""
    if not _current:
        raise SpoolUnavailable("The spool of this process is not open.")
    return _current[-1]


_current: list[Spool] = []
