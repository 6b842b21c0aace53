"""The folders of the spool: one for each process, locked while it lives."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

LOCK = "lock"
BALLAST = "ballast"
ENDING, ASIDE, UNFINISHED = ".jsonl", ".corrupt", ".new"


def hold(folder: Path) -> int | None:
    """The descriptor of the folder's lock, to be closed by the caller; None while a live process holds it."""
    descriptor = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(folder: Path) -> bool:
    """Whether a live process writes there."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def make_held(folder: Path) -> int:
    """Make a folder that nobody ever sees unlocked. The descriptor is as from `hold`."""
    hidden = folder.with_name(f".{folder.name}")
    hidden.mkdir(mode=0o700)
    held = hold(hidden)
    if held is None:
        raise BlockingIOError(f"{hidden} is locked by somebody else")
    hidden.rename(folder)
    return held


def folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def numbered(folder: Path) -> list[Path]:
    """The folder's files, oldest first."""
    return sorted((path for path in folder.glob(f"*{ENDING}") if path.stem.isdigit()), key=lambda path: int(path.stem))


def put_aside(path: Path) -> None:
    """Keep a file that cannot be shipped for people to look at."""
    with suppress(FileNotFoundError):
        path.rename(path.with_suffix(ASIDE))


def for_people(folder: Path) -> list[Path]:
    """Files that no shipper takes: put aside, or of a version that wrote them otherwise."""
    return sorted(
        path
        for path in folder.glob("*")  # empty where somebody has just removed the folder
        if path.name not in {LOCK, BALLAST} and path.suffix not in {ENDING, UNFINISHED}
    )


def remove_file(path: Path) -> None:
    path.unlink(missing_ok=True)


def remove_if_shipped(folder: Path) -> None:
    """Remove a dead process's folder unless something in it still waits for the shipper or for people."""
    if numbered(folder) or for_people(folder):
        return
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
    with suppress(OSError):  # somebody put something here in this moment
        folder.rmdir()
