"""From the spool to the log: a thread in each web process that ships closed files, and those of dead processes.

Another one has the spool go on in a new file in time: making one may wait for the disk, which the event loop must not,
and the shipping thread may be waiting for PostgreSQL.
"""

import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from accounts.keys import note_use
from billing.budgets import settling
from billing.errors import SpoolCorrupt, SpoolUnavailable
from billing.ids import moment
from billing.ledger import log as ledger
from billing.ledger import refusals
from billing.records import Ended, Final, Start
from billing.spool import writer as spool
from billing.spool.file import Contents, interrupted, read
from billing.spool.folder import folders, for_people, hold, numbered, put_aside, remove_file, remove_if_shipped
from billing.spool.writer import Spool

logger = logging.getLogger(__name__)

EVERY = 0.5  # seconds
PATIENCE = 5.0  # seconds between tries while PostgreSQL is away
USE_NOTED_EVERY = 60_000  # milliseconds
MARK_EVERY = 30.0  # seconds


def spool_root() -> Path:
    """Where every process of this installation on this machine keeps its spool."""
    return Path(settings.DATA) / "spool"


class Shipper:
    """Ships what lies under `root`. `own` is the spool of this process, by default the open one if it lies there."""

    def __init__(self, root: Path, own: Spool | None = None) -> None:
        self._root = root
        self._own = own
        self._stopping = Event()
        self._threads: list[Thread] = []
        self.shipped = 0  # rows that were new to the log
        self._noted: dict[int, int] = {}  # key id → the last use that was noted, milliseconds
        self._marked_at = 0.0  # monotonic

    def start(self) -> None:
        self._stopping.clear()
        self._threads = [
            Thread(target=self._run, name="shipper", daemon=True),
            Thread(target=self._rotate_on, name="spool files", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 10) -> None:
        """Ship what is left and end the threads. What cannot be shipped in time stays for the next start."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout)
        self._threads = []

    def ship_once(self) -> int:
        """Ship all that can be shipped now. Returns how many rows were new. Raises OperationalError."""
        own = self._own_spool()
        if own:
            own.rotate()
        until = own.ended_before() if own else 0.0
        closed = own.closed_files() if own else []
        dead = [folder for folder in folders(self._root) if not own or folder != own.folder]
        if closed or dead:
            # Before anything is read: the pool keeps who waited for it in vain, and his frames with all that they
            # hold, until the database is back.
            connection.ensure_connection()
        shipped = sum(map(self._ship_closed, closed))
        if own:
            self._mark(own, until)
        return shipped + sum(map(self._ship_dead, dead))

    def _mark(self, own: Spool, until: float) -> None:
        """How far this process has come, for whoever frees the reservations of calls that left no record."""
        if time.monotonic() >= self._marked_at + MARK_EVERY:
            settling.shipped(own.process, until)
            self._marked_at = time.monotonic()

    def _run(self) -> None:
        away = False
        while True:
            last = self._stopping.is_set()
            away = not self._try(last=last, silent=away)
            if last:
                return
            self._stopping.wait(PATIENCE if away else EVERY)

    def _rotate_on(self) -> None:
        while not self._stopping.wait(EVERY):
            if own := self._own_spool():
                own.rotate()

    def _try(self, *, last: bool, silent: bool) -> bool:
        try:
            own = self._own_spool()
            if last and own:
                own.rotate(force=True)
            self.ship_once()
            if last and own and own.idle:
                settling.all_shipped(own.process)
        except (OperationalError, InterfaceError) as error:
            if not silent:
                logger.warning("the database is away; records wait in the spool", extra={"error": str(error)})
            return False
        except Exception:
            logger.exception("shipping failed and will be tried again")
            return False
        finally:
            connection.close()
        return True

    def _own_spool(self) -> Spool | None:
        if self._own:
            return self._own
        try:
            current = spool.spool()
        except SpoolUnavailable:
            return None
        return current if current.root == self._root else None

    def _ship_closed(self, path: Path) -> int:
        """A closed file of this process. What still runs in it has been carried on."""
        contents = _read(path)
        if contents is None:
            return 0
        shipped = self._write(contents.ended)
        refusals.write(contents.refusals)
        _done_with(path, contents)
        return shipped

    def _ship_dead(self, folder: Path) -> int:
        """All of a dead process's files; requests without an end become `interrupted` by their last progress."""
        try:
            held = hold(folder)
        except FileNotFoundError:  # another shipper was faster
            return 0
        if held is None:
            return 0
        try:
            return self._ship_folder(folder)
        finally:
            os.close(held)

    def _ship_folder(self, folder: Path) -> int:
        running: dict[UUID, Start] = {}
        lasts: dict[UUID, Final] = {}
        shipped = 0
        read_files: list[tuple[Path, Contents]] = []
        for path in numbered(folder):
            contents = _read(path)
            if contents is None:
                continue
            if _is_copy(folder, contents):
                return shipped
            shipped += self._write(contents.ended)
            refusals.write(contents.refusals)
            if contents.damaged:
                # What ran may have ended in lines that are lost, and is for people to find out: the file is put aside.
                # What ran on stands in the next file.
                running, lasts = {}, {}
            else:
                running |= contents.running
                lasts |= contents.lasts
            for ended in contents.ended:
                running.pop(ended.start.id, None)
            read_files.append((path, Contents(contents.process, [], {}, {}, contents.damaged)))
        shipped += self._write([interrupted(start, lasts.get(start.id)) for start in running.values()])
        for path, contents in read_files:
            _done_with(path, contents)
        if process := _process_of(folder):
            settling.all_shipped(process)
        remove_if_shipped(folder)
        return shipped

    def _write(self, batch: list[Ended]) -> int:
        new = ledger.write(batch)
        self.shipped += new
        self._note_use(batch)
        return new

    def _note_use(self, batch: Iterable[Ended]) -> None:
        """When keys were last used, at most once a minute for each."""
        used: dict[int, int] = {}
        for ended in batch:
            key, at_ms = ended.start.key_id, ended.start.at_ms
            if key and at_ms >= max(used.get(key, 0), self._noted.get(key, 0) + USE_NOTED_EVERY):
                used[key] = at_ms
        if used:
            note_use({key: _moment(at_ms) for key, at_ms in used.items()})
            self._noted |= used


def _moment(at_ms: int) -> datetime:
    return moment(min(at_ms, time.time_ns() // 1_000_000))


def _read(path: Path) -> Contents | None:
    """None when there is nothing to ship: somebody else was faster, or the file is corrupt and was put aside."""
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except SpoolCorrupt:
        logger.exception("a spool file cannot be read and was put aside", extra={"path": str(path)})
        put_aside(path)
        return None


def _done_with(path: Path, contents: Contents) -> None:
    if contents.damaged:
        logger.error(
            "a damaged spool file was put aside; what could be read of it was shipped", extra={"path": str(path)}
        )
        put_aside(path)
    else:
        remove_file(path)


def _is_copy(folder: Path, contents: Contents) -> bool:
    """A copy waits until its original is gone: only the original knows what still runs."""
    process = contents.process
    return bool(process) and process != folder.name and folder.with_name(process).exists()


def _process_of(folder: Path) -> UUID | None:
    """None for a folder that people have made, such as a copy under another name."""
    try:
        return UUID(folder.name)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Waiting:
    """What lies in the spools: ended requests on their way to the log, running ones, and files put aside."""

    requests: frozenset[UUID]  # the ended ones
    running: int
    aside: tuple[Path, ...]

    @property
    def ended(self) -> int:
        return len(self.requests)


def waiting(root: Path) -> Waiting:
    ended: set[UUID] = set()
    running = 0
    aside: list[Path] = []
    for folder in folders(root):
        aside += for_people(folder)
        latest: Contents | None = None
        for path in numbered(folder):
            try:
                latest = read(path)
            except FileNotFoundError:
                continue
            except SpoolCorrupt:
                aside.append(path)
                continue
            ended |= {one.start.id for one in latest.ended}
        running += len(latest.running) if latest else 0
    return Waiting(frozenset(ended), running, tuple(aside))
