"""A backup holds all, comes back whole or not at all, and counts nothing twice."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import connection, connections

from accounts.models import Team
from billing.ledger import log as ledger
from billing.ledger.auditing import audit
from billing.models import PlatformDay, UsageDay, UsageQuarter, UsageRecord
from billing.spool.shipper import Shipper, spool_root
from billing.spool.writer import Spool
from console import backup
from console.backup import Restored, back_up, drain_spools, program, restore, server_version
from console.errors import BackupTrouble
from console.listen import direct_address
from tests.billing.traffic import a_final, a_start, ended

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, settings: LazySettings) -> Path:
    settings.DATA = tmp_path
    return tmp_path


@pytest.fixture
def spool(data: Path) -> Iterator[Spool]:
    with closing(Spool(spool_root(), rotate_seconds=1e9)) as spool:
        yield spool


@dataclass(frozen=True)
class State:
    """What the oracle compares."""

    rows: frozenset[UUID]
    sums: tuple[object, ...]
    teams: tuple[str, ...]


def state() -> State:
    levels = (UsageQuarter, UsageDay, PlatformDay)
    return State(
        frozenset(UsageRecord.objects.values_list("id", flat=True)),
        tuple(tuple(level.objects.order_by("pk").values_list("pk", "requests", "ttft", "cost")) for level in levels),  # type: ignore[attr-defined]
        tuple(Team.objects.order_by("pk").values_list("name", flat=True)),
    )


def spooled(spool: Spool, team: Team) -> UUID:
    spool.start(start := a_start(team.pk))
    spool.final(a_final(start.id))
    return start.id


@pytest.mark.spec("R23", "F39")
def test_what_was_backed_up_comes_back_with_the_same_sums_and_newer_spools_count_once(
    red: Team, spool: Spool, tmp_path: Path
) -> None:
    ledger.write([ended(red.pk) for _ in range(20)])
    before = spooled(spool, red)
    spool.rotate(force=True)
    (closed,) = spool.closed_files()
    shutil.copy(closed, kept := tmp_path / "kept")
    Shipper(spool_root(), spool).ship_once()
    file = tmp_path / "all.backup"
    assert back_up(file) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    backed_up = state()
    assert before in backed_up.rows

    after = spooled(spool, red)
    spool.close()
    shutil.copy(kept, closed)  # whose record the backup holds already
    Team.objects.create(name="Later", slug="later")
    UsageRecord.objects.all()._raw_delete("default")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE of_a_later_version (id int)")

    assert restore(file, replace=True) == Restored(shipped=1, waiting=0)
    found = state()
    assert found.rows == backed_up.rows | {after}
    assert found.teams == backed_up.teams
    assert audit().agrees
    assert sum(UsageDay.objects.values_list("requests", flat=True)) == 22
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('of_a_later_version')")
        assert cursor.fetchone() == (None,)


def test_a_database_that_holds_something_is_not_given_up_unasked(red: Team, tmp_path: Path) -> None:
    back_up(file := tmp_path / "all.backup")
    before = state()
    with pytest.raises(BackupTrouble, match="Say --replace"):
        restore(file, replace=False)
    assert state() == before


@pytest.mark.parametrize("damage", ["cut", "foreign"])
def test_a_damaged_backup_changes_nothing(red: Team, tmp_path: Path, damage: str) -> None:
    ledger.write([ended(red.pk) for _ in range(500)])
    back_up(file := tmp_path / "all.backup")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 9 // 10] if damage == "cut" else b"PGDMP is not enough")
    before = state()
    with pytest.raises(BackupTrouble):
        restore(file, replace=True)
    assert state() == before
    assert audit().agrees


def test_a_backup_that_ends_early_is_not_taken_for_a_whole_one(
    red: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when pg_restore is killed: all that it has written by then is good SQL."""
    back_up(file := tmp_path / "all.backup")
    Team.objects.create(name="Later", slug="later")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("psql", "pg_restore"):
        real = program(name, server_version())
        end = "kill -9 $$" if name == "pg_restore" else ""
        lines = ("#!/bin/sh", f'case "$1" in --list|--version) exec {real} "$@";; esac', f'{real} "$@"', end, "")
        (programs / name).write_text("\n".join(lines))
        (programs / name).chmod(0o755)
    monkeypatch.setattr(backup, "wheel_binaries", lambda: programs)
    before = state()
    with pytest.raises(BackupTrouble, match="was not brought back"):
        restore(file, replace=True)
    assert state() == before


def test_nothing_is_brought_back_below_a_server_that_runs(red: Team, tmp_path: Path) -> None:
    back_up(file := tmp_path / "all.backup")
    with (
        psycopg.connect(**direct_address(), application_name="a web process"),
        pytest.raises(BackupTrouble, match=r"Stop Tertulia first: others use the database .*of a web process"),
    ):
        restore(file, replace=True)


def test_a_backup_is_never_written_over_another_and_leaves_no_half_one(red: Team, tmp_path: Path) -> None:
    file = tmp_path / "all.backup"
    file.write_text("precious")
    with pytest.raises(BackupTrouble, match="exists"):
        back_up(file)
    with pytest.raises(BackupTrouble, match="cannot be written"):
        back_up(tmp_path / "nowhere" / "all.backup")
    assert file.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["all.backup"]


def test_the_programs_are_of_the_servers_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    major = server_version()
    said = subprocess.run([program("pg_dump", major), "--version"], capture_output=True, text=True, check=True).stdout
    assert said.split()[2].split(".")[0] == str(major)
    other = tmp_path / "pg_dump"
    other.write_text('#!/bin/sh\necho "pg_dump (PostgreSQL) 9.6.1"\n')
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(backup, "wheel_binaries", lambda: None)
    with pytest.raises(BackupTrouble, match=f"The server is PostgreSQL 99 .*{other} is of 9"):
        program("pg_dump", 99)


@pytest.mark.spec("F20")
def test_what_has_ended_is_in_the_log_before_it_is_backed_up(
    red: Team, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Spool(spool_root(), rotate_seconds=1e9)) as dead:
        shipped = spooled(dead, red)
    assert drain_spools() == 0
    assert UsageRecord.objects.get().id == shipped
    monkeypatch.setattr(backup, "PATIENCE", 0.1)
    with closing(Spool(spool_root(), rotate_seconds=1e9)) as live:  # whose process never ships
        spooled(live, red)
        assert drain_spools() == 1


def test_the_commands_say_what_they_did(red: Team, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "all.backup"
    call_command("backup", str(file))
    said = capsys.readouterr()
    assert said.out == f"{file}\n"
    assert "Keep SECRET_KEY too" in said.err
    with pytest.raises(CommandError, match="Say --replace"):
        call_command("restore", str(file))
    call_command("restore", str(file), replace=True)
    assert capsys.readouterr().out == "restored; 0 requests came from spools\n"
    connections.close_all()


def test_what_lies_where_a_backup_is_begun_is_never_written_into(red: Team, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    theirs.chmod(0o666)
    (tmp_path / ".hard.half").hardlink_to(theirs)
    (tmp_path / ".soft.half").symlink_to(theirs)
    for name in ("hard", "soft"):
        back_up(tmp_path / name)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert theirs.read_text() == "theirs"
