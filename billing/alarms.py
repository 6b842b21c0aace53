"""What an operator must hear of: records that do not come to the log."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from billing.ledger.checks import last_check
from billing.models import DeadLetter
from billing.spool.folder import folders, for_people, is_held, numbered
from billing.spool.shipper import spool_root

LATE = 300.0  # seconds in a spool that are too many
TRIED = 64 * 1024  # bytes written to find out whether the disk has room


@dataclass(frozen=True, slots=True)
class Spooled:
    """What lies in the spools of this machine. `lag`: seconds that the oldest file waits which could be shipped."""

    files: int
    size: int
    put_aside: int
    lag: float


def spooled(root: Path) -> Spooled:
    """Cheap: no file is opened."""
    sizes: list[int] = []
    oldest = now = time.time()
    aside = 0
    for folder in folders(root):
        aside += len(for_people(folder))
        files = list(_files(folder))
        sizes += [size for size, _ in files]
        closed = files[:-1] if is_held(folder) else files  # a live process goes on writing into its last one
        oldest = min((oldest, *(changed for _, changed in closed)))
    return Spooled(len(sizes), sum(sizes), aside, now - oldest)


def _files(folder: Path) -> Iterator[tuple[int, float]]:
    """Size and last change of each, oldest first."""
    for path in numbered(folder):
        with suppress(FileNotFoundError):  # shipped meanwhile
            state = path.stat()
            yield state.st_size, state.st_mtime


@dataclass(frozen=True, slots=True)
class Alarms:
    dead_letters: int
    put_aside: int
    late: bool  # something has waited in a spool for minutes
    differing: bool = False  # charts and log were compared, and do not agree

    def __bool__(self) -> bool:
        return bool(self.dead_letters or self.put_aside or self.late or self.differing)


def alarms() -> Alarms:
    """Of the installation's log, and of the spools on this machine."""
    found = spooled(spool_root())
    check = last_check()
    differing = check is not None and not check.agrees
    return Alarms(DeadLetter.objects.count(), found.put_aside, found.lag > LATE, differing)


def writable(root: Path) -> bool:
    """Whether the disk under the spools takes something: it is tried. True where there is no spool."""
    if not root.is_dir():
        return True
    path = root / f".tried-{os.getpid()}"
    try:
        with path.open("wb") as file:
            file.write(b"\0" * TRIED)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        return False
    finally:
        with suppress(OSError):
            path.unlink()
    return True
