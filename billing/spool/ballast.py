"""A megabyte of the spool's disk that each process keeps for the day on which the disk is full.

Once it is given up, the ends of what runs have room.
"""

import logging
import os
from pathlib import Path

from billing.errors import SpoolFull, SpoolUnavailable
from billing.spool.folder import BALLAST, folders, is_held

logger = logging.getLogger(__name__)

SIZE = 1 << 20  # bytes: the ends of about a thousand calls whose starts are on disk
SPARE = 1 << 16  # bytes that must be free beside it before it is laid again


class Ballast:
    """Of one process. `given`: its room is for ends; `full`: the disk, as far as it was met."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        self._folder, self._path = folder, folder / BALLAST
        self.given, self.full = True, False
        self.lay()

    def lay(self) -> None:
        """Random, so that no file system packs it away and giving it up makes room. Raises OSError."""
        try:
            with open(self._path, "wb", opener=_private) as file:
                file.write(os.urandom(SIZE))
        except OSError:
            self._path.unlink(missing_ok=True)
            raise
        self.given = False

    def give(self) -> None:
        self.met_full()
        self._path.unlink(missing_ok=True)
        self.given = True

    def met_full(self) -> None:
        if not self.full:
            logger.error("the disk is full: what is new goes straight to the log", extra={"path": str(self._folder)})
        self.full = True

    def full_no_more(self) -> None:
        logger.warning("the spool's disk has room again", extra={"path": str(self._folder)})
        self.full = False

    def look(self) -> None:
        """It comes first, before anything new. Raises SpoolFull while there is no room for it."""
        if not self.given:
            return
        if self._free() < SIZE + SPARE:
            raise SpoolFull(f"The disk of {self._folder} is full.")
        try:
            self.lay()
        except OSError as error:
            raise SpoolFull(f"{self._folder} cannot be written: {error}") from error

    @property
    def room(self) -> int:
        """Bytes that ends would find, with the ballast given up."""
        return self._free() + (0 if self.given else SIZE)

    def _free(self) -> int:
        try:
            disk = os.statvfs(self._folder)
        except OSError as error:
            raise SpoolUnavailable(f"{self._folder} cannot be reached: {error}") from error
        return disk.f_bavail * disk.f_frsize


def drop_dead(root: Path) -> None:
    """The ballasts that dead processes left: on a small disk there may be no room for another beside them."""
    for folder in folders(root):
        if not is_held(folder):
            (folder / BALLAST).unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
