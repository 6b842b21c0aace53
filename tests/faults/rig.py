"""The fault rig: servers as child processes, a PostgreSQL that may die, an engine that misbehaves, relays between.

    def test_something(stage: Stage, kind: str) -> None:
        with stage.rig(kind, DRAIN_SECONDS="2") as rig:
            seen = rig.call(Way("fault:rst?after=7"))
            rig.engine_relay.toxic = Blackhole()
            rig.server.kill()
            ...
        # here the oracle has compared what the callers, the engine and the log say (tests.faults.oracle)

A `Stage` lives as long as the tests: one PostgreSQL with a prepared database, of which each rig gets a copy, and one
fault engine. A caller's label goes with the call everywhere: it is the last word of the prompt, which the engine
keeps, and the x-request-id, which the log keeps.
"""

import contextlib
import itertools
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

import psycopg
from psycopg.rows import dict_row

from billing.spool.shipper import Waiting, waiting
from console.postgres import USER, EmbeddedServer
from tests.engines.faultd import Exchange, FaultEngine
from tests.faults import oracle
from tests.faults.callers import Caller, Seen, Way, new_seen
from tests.faults.cast import ENGINE_SECRET
from tests.faults.toxic import Relay
from tests.server import SECRET, LiveServer

KINDS = ("daphne", "uvicorn")
COMMANDS = {"daphne": "serve", "uvicorn": "uvicorn"}
PREPARED = "prepared"
SOON: dict[str, str] = {"SPOOL_ROTATE": "0.3", "DRAIN_SECONDS": "5"}
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Weight:
    """What a server process took when it began."""

    pid: int
    memory: int  # resident bytes


@dataclass(frozen=True)
class Cast:
    keys: dict[str, str]
    sessions: dict[str, str]


class Cluster:
    """A PostgreSQL of our own, which scenarios may stop, hold up and fill."""

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedServer(folder)

    @property
    def socket(self) -> Path:
        return self._server.sockets / ".s.PGSQL.5432"

    @property
    def account(self) -> Any:
        """The unprivileged account that it runs as, if we are root."""
        return self._server._account

    def start(self) -> None:
        self._server.join()
        # The machine does not crash under us, and what is on the way to its disk outlives the server.
        for setting in ("fsync", "full_page_writes"):
            self.run(f"ALTER SYSTEM SET {setting} = off")
        self.run("SELECT pg_reload_conf()")

    def die(self) -> None:
        """Without a word to anybody, and without a checkpoint."""
        self._server._run("pg_ctl", "-D", self._server.cluster, "stop", "-m", "immediate")

    def revive(self) -> None:
        self._server.revive()

    def stop(self) -> None:
        self._server.revive()
        self._server.leave()

    def set_everywhere(self, setting: str, value: str | None) -> None:
        """In force in every session at once; None: as it was."""
        verb = f"SET {setting} = {value}" if value is not None else f"RESET {setting}"
        self.run(f"ALTER SYSTEM {verb}")
        self.run("SELECT pg_reload_conf()")

    def run(self, statement: str, *given: Any, database: str = "postgres") -> list[dict[str, Any]]:
        """One statement, its own transaction, which may write whatever the server's settings say."""
        with psycopg.connect(
            host=str(self._server.sockets), user=USER, dbname=database, autocommit=True, row_factory=dict_row
        ) as connection:
            connection.execute("SET default_transaction_read_only = off")
            found = connection.execute(statement, given or None)  # type: ignore[arg-type]  # our own text
            return found.fetchall() if found.description else []


class Stage:
    """What all rigs of a test session share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = Cluster(folder)
        self.engine = FaultEngine(secret=ENGINE_SECRET)
        self._stack = ExitStack()
        self.cast = Cast({}, {})

    def __enter__(self) -> Self:
        self.cluster.start()
        self._stack.callback(self.cluster.stop)
        self._stack.enter_context(self.engine)
        address = ("127.0.0.1", int(self.engine.url.rpartition(":")[2]))
        self.first = self._stack.enter_context(Relay(address))
        self.second = self._stack.enter_context(Relay(address))
        self._prepare()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _prepare(self) -> None:
        self.cluster.run(f"CREATE DATABASE {PREPARED}")
        at = urlencode({"host": str(self.cluster.socket.parent)}, quote_via=quote)
        office = LiveServer(data=self.folder / "office", DATABASE_URL=f"postgres://{USER}@/{PREPARED}?{at}")
        office.manage("migrate", "--verbosity=0")
        office.manage("collectstatic", "--noinput", "--verbosity=0")
        urls = [f"http://127.0.0.1:{relay.port}" for relay in (self.first, self.second)]
        code = f"from tests.faults.cast import make; make(*{urls!r})"
        self.cast = Cast(**json.loads(office.manage("shell", "--verbosity=0", "--command", code).stdout))

    def rig(self, kind: str, *, servers: int = 1, tablespace: str = "", **env: str) -> "Rig":
        return Rig(self, kind, servers=servers, tablespace=tablespace, env={**SOON, **env})


class Rig(AbstractContextManager["Rig"]):
    """Servers with a database of their own. The oracle judges when it closes, unless the scenario failed by itself."""

    def __init__(self, stage: Stage, kind: str, *, servers: int, tablespace: str, env: dict[str, str]) -> None:
        self.stage, self.kind = stage, kind
        self.cluster, self.engine = stage.cluster, stage.engine
        self.engine_relay, self.second_relay = stage.first, stage.second
        self.keys, self.sessions = dict(stage.cast.keys), dict(stage.cast.sessions)
        self.name = f"rig{next(_numbers)}"
        self.data = stage.folder / self.name
        self.seen: list[Seen] = []
        self.expected_errors: list[str] = []  # patterns of lines that the servers' log may hold
        self.servers: list[LiveServer] = []
        self.weights: list[Weight] = []
        self.most_growth = oracle.MOST_GROWTH
        self._number, self._env, self._tablespace = servers, env, tablespace
        self._stack = ExitStack()
        self._from = len(stage.engine.requests)
        self._threads = ThreadPoolExecutor(600, thread_name_prefix="caller")

    # Life

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._begin(stack)
            self._stack = stack.pop_all()
        return self

    def _begin(self, stack: ExitStack) -> None:
        place = f" TABLESPACE {self._tablespace}" if self._tablespace else ""
        self.cluster.run(f"CREATE DATABASE {self.name} TEMPLATE {PREPARED}{place}")
        # A copied sequence trusts what its original wrote ahead, and goes back in a crash, but not after a checkpoint.
        self.cluster.run("CHECKPOINT")
        stack.callback(self._drop)
        self.data.mkdir()
        stack.callback(shutil.rmtree, self.data, ignore_errors=True)
        (self.data / "static").symlink_to(self.stage.folder / "office" / "static")
        self.database = stack.enter_context(Relay(self.cluster.socket))
        stack.callback(self._threads.shutdown)
        for _ in range(self._number):
            self.adopt(stack.enter_context(self.make_server()))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            try:
                if kind is None:
                    oracle.judge(self)
            finally:
                for relay in (self.engine_relay, self.second_relay, self.database):
                    relay.toxic = None

    def _drop(self) -> None:
        self.cluster.revive()
        self.cluster.run(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")

    # Servers

    def make_server(self, *, ready: bool = True, data: Path | None = None, **env: str) -> LiveServer:
        """One more server on this database and, unless another is given, this data folder. It is not started."""
        url = f"postgres://{USER}@127.0.0.1:{self.database.port}/{self.name}"
        given = {"DATABASE_URL": url, "SECRET_KEY": SECRET, **self._env, **env}
        return LiveServer(COMMANDS[self.kind], data=data or self.data, ready=ready, **given)

    def open_server(self, *, ready: bool = True, data: Path | None = None, **env: str) -> LiveServer:
        """As `make_server`, started, and stopped with the rig."""
        return self._stack.enter_context(self.make_server(ready=ready, data=data, **env))

    def adopt(self, server: LiveServer) -> None:
        """A server of `open_server` that is ready: callers may call it, and the oracle watches it."""
        self.servers.append(server)
        self.weights.append(Weight(server.pid, server.memory()))

    def judge(self) -> None:
        """What the oracle says of everything so far. Comes by itself at the end, while the servers still run."""
        oracle.judge(self)

    @property
    def server(self) -> LiveServer:
        return self.servers[0]

    def manage(self, *words: str, check: bool = True) -> str:
        """What a command in the first server's environment prints."""
        done = self.server.manage(*words, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def shell(self, code: str) -> str:
        """What Python code in the first server's environment prints."""
        return self.manage("shell", "--verbosity=0", "--command", code).strip()

    # Callers

    def call(self, way: Way | None = None, **changes: Any) -> Seen:
        """Carries out one call and says what its caller saw."""
        return self.begin(way or Way(**changes)).result()

    def begin(self, way: Way) -> "Running":
        """The same, without waiting for its end."""
        seen = self.expect(way)
        caller = Caller(self.servers[way.server].port, self.keys[way.key], way, seen)
        return Running(seen, self._threads.submit(caller.run).result)

    def bearer(self, key: str = "red") -> dict[str, str]:
        """The headers of a caller with this key."""
        return {"authorization": f"Bearer {self.keys[key]}"}

    def expect(self, way: Way) -> Seen:
        """A call that the scenario carries out by itself, of which the oracle shall know."""
        self.seen.append(seen := new_seen(way))
        return seen

    def calls(self, ways: Sequence[Way]) -> list[Seen]:
        """All at once."""
        return [running.result() for running in [self.begin(way) for way in ways]]

    @contextlib.contextmanager
    def load(self, *ways: Way, pause: float = 0.02) -> Iterator["Load"]:
        """One caller a way, who calls again and again for as long as the block lasts."""
        load = Load(self, ways, pause)
        try:
            yield load
        finally:
            load.stop()

    # What there is to see

    def exchange(self, seen: Seen) -> Exchange | None:
        """The call as the engine saw it; the last one, if it was asked several times."""
        return self.exchanges().get(seen.label)

    def exchanges(self) -> dict[str, Exchange]:
        """By label."""
        found = (one for one in self.engine.requests[self._from :] if one.model)
        return {_label(one): one for one in found}

    def rows(self) -> list[dict[str, Any]]:
        """The log."""
        return self.query("SELECT * FROM billing_usage ORDER BY at, id")

    def row(self, seen: Seen) -> dict[str, Any]:
        """The log's row of a call, once it is there."""
        found = until(
            lambda: self.query("SELECT * FROM billing_usage WHERE client_request_id = %s", seen.label),
            f"{seen} never came into the log",
        )
        assert len(found) == 1, found
        return found[0]

    def query(self, statement: str, *given: Any) -> list[dict[str, Any]]:
        """Beside the relay, so that no toxic holds it up."""
        return self.cluster.run(statement, *given, database=self.name)

    def pending(self) -> Waiting:
        """What lies in the spools."""
        return waiting(self.data / "spool")


@dataclass
class Running:
    """A call on its way: what has been seen so far, and a wait for its end."""

    seen: Seen
    result: Callable[[], Seen]


class Load:
    def __init__(self, rig: Rig, ways: Sequence[Way], pause: float) -> None:
        self.seen: list[Seen] = []
        self._rig, self._pause = rig, pause
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._call_on, args=(way,)) for way in ways]
        for thread in self._threads:
            thread.start()

    def _call_on(self, way: Way) -> None:
        while not self._stopping.is_set():
            self.seen.append(self._rig.call(way))
            self._stopping.wait(self._pause)

    def wait_for_more(self, answered: int) -> None:
        """Until so many more calls have been answered whole."""
        wanted = self.answered + answered
        until(lambda: self.answered >= wanted, "the calls have come to a halt")

    @property
    def answered(self) -> int:
        return sum(seen.whole for seen in list(self.seen))

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()


def until[T](look: Callable[[], T], complaint: str, seconds: float = 60.0) -> T:
    """What is looked for, once it is there."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)
    return found


def _label(exchange: Exchange) -> str:
    messages = exchange.body.get("messages") or [{}]
    return str(messages[-1].get("content", "")).rpartition(" ")[2]


@contextlib.contextmanager
def on_stage() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="tertulia-rig-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # the database server's account passes through
        with Stage(Path(folder)) as stage:
            yield stage
