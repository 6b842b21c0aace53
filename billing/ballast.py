"""A megabyte of the spool's disk that each process keeps for the day on which the disk is full.

Once it is given up, the ends of what runs have room.
"""

import os
from pathlib import Path

from billing.spoolfolder import folders, is_held

NAME = "ballast"
SIZE = 1 << 20  # bytes: the ends of about a thousand calls whose starts are on disk
SPARE = 1 << 16  # bytes that must be free beside it before it is laid again


class Ballast:
    """Of one process. `given`: the disk was full, and its room is for ends."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        self._folder, self._path = folder, folder / NAME
        self.given = True
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
        self._path.unlink(missing_ok=True)
        self.given = True

    @property
    def fits(self) -> bool:
        """Whether it would find its room again."""
        return self._free() >= SIZE + SPARE

    @property
    def room(self) -> int:
        """Bytes that ends would find, with the ballast given up."""
        return self._free() + (0 if self.given else SIZE)

    def _free(self) -> int:
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize


def drop_dead(root: Path) -> None:
    """The ballasts that dead processes left: on a small disk there may be no room for another beside them."""
    for folder in folders(root):
        if not is_held(folder):
            (folder / NAME).unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
