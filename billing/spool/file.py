"""One file of the spool: its shape, its rows, making and reading it.

Files are opened read-only, but never as `immutable`: that hides the WAL, and with it what a killed process wrote last.
"""

import os
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

from billing.errors import SpoolCorrupt
from billing.records import NOTHING, Counts, Ended, Final, Progress, Refusal, Start, UnitPrices

type Row = tuple[object, ...]

_START = (
    "id, at_ms, team_id, origin, endpoint, stream, key_id, key_name, member_id, member_name, end_user, model,"
    " client_request_id, prompt_estimate, price_input, price_cached_input, price_output, price_reasoning"
)
_ANSWER = (
    "id, engine, engine_type, machine, answer_id, prompt_tokens, completion_tokens, prompt_source, completion_source,"
    " reasoning_tokens, cached_tokens, anomaly, ttft_ms, duration_ms"
)
_REFUSAL = (
    "number INTEGER PRIMARY KEY, id, at_ms, team_id, origin, endpoint, key_id, key_name, member_id, member_name, model,"
    " code, reason, status, count"
)
TABLES = (
    "CREATE TABLE process (uuid)",
    f"CREATE TABLE start ({_START})",
    f"CREATE TABLE progress ({_ANSWER})",
    f"CREATE TABLE final ({_ANSWER}, outcome, status)",
    f"CREATE TABLE refusal ({_REFUSAL})",
)
START = "INSERT INTO start VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
PROGRESS = "INSERT INTO progress VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
END = "INSERT INTO final VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
REFUSAL = "INSERT INTO refusal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
REFUSED_AGAIN = "UPDATE refusal SET count = ? WHERE number = ?"

WAL_HEADER, FRAME_HEADER = 32, 24  # bytes
# A commit appends at least one page and its header to the WAL. Small pages: a record is about 300 bytes.
PAGE = 1024
FRAME = PAGE + FRAME_HEADER
_NO_PRICE: Row = (None, None, None, None)
_LARGEST = 2**63 - 1


def new_file(path: Path, *, process: str, sync: str) -> sqlite3.Connection:
    """An empty file of this process. Raises sqlite3.Error and OSError."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # -wal and -shm take this mode over
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=8)
    connection.execute(f"PRAGMA page_size = {PAGE}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {sync}")
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # a checkpoint would stall the event loop
    connection.execute("BEGIN")
    for table in TABLES:
        connection.execute(table)
    connection.execute("INSERT INTO process VALUES (?)", (process,))
    connection.execute("COMMIT")
    return connection


def start_row(start: Start) -> Row:
    price = start.price
    prices: Row = (
        (str(price.input), str(price.cached_input), str(price.output), str(price.reasoning)) if price else _NO_PRICE
    )
    return (
        start.id.bytes,
        start.at_ms,
        start.team_id,
        start.origin,
        start.endpoint,
        start.stream,
        start.key_id,
        start.key_name,
        start.member_id,
        start.member_name,
        start.end_user,
        start.model,
        start.client_request_id,
        start.prompt_estimate,
        *prices,
    )


def progress_row(progress: Progress, elapsed_ms: int) -> Row:
    return (*_answer(progress), elapsed_ms)


def final_row(final: Final) -> Row:
    return (*_answer(final), final.duration_ms, final.outcome, final.status)


def refusal_row(number: int, refusal: Refusal) -> Row:
    return (
        number,
        refusal.id.bytes,
        refusal.at_ms,
        refusal.team_id,
        refusal.origin,
        refusal.endpoint,
        refusal.key_id,
        refusal.key_name,
        refusal.member_id,
        refusal.member_name,
        refusal.model,
        refusal.code,
        refusal.reason,
        refusal.status,
        refusal.count,
    )


def _answer(record: Progress | Final) -> Row:
    counts = record.counts
    return (
        record.id.bytes,
        record.engine,
        record.engine_type,
        record.machine,
        record.answer_id,
        counts.prompt_tokens,
        counts.completion_tokens,
        counts.prompt_source,
        counts.completion_source,
        counts.reasoning_tokens,
        counts.cached_tokens,
        counts.anomaly,
        record.ttft_ms,
    )


def clean(row: Row) -> Row:
    """The same row with what SQLite cannot hold made holdable."""
    return tuple(_clean(value) for value in row)


def _clean(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return max(-_LARGEST, min(_LARGEST, value))
    return value


@dataclass(frozen=True, slots=True)
class Contents:
    """What one file says.

    `process` wrote it. `running` are the starts without an end here, `lasts` how far those had come. `damaged` when
    something is missing that was once written: an end without its start, or commits behind a broken page.
    """

    process: str
    ended: list[Ended]
    running: dict[UUID, Start]
    lasts: dict[UUID, Final]
    damaged: bool
    refusals: list[Refusal] = field(default_factory=list)


NEVER_MADE = Contents("", [], {}, {}, damaged=False)  # its process was killed while it made the file


def read(path: Path) -> Contents:
    """Raises SpoolCorrupt; FileNotFoundError when somebody else has shipped the file meanwhile."""
    try:
        return _read(path)
    except (sqlite3.Error, TypeError, ValueError, InvalidOperation) as error:
        if not path.exists():
            raise FileNotFoundError(path) from error
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK:
            return NEVER_MADE  # a rollback journal is only there while the WAL is turned on, before any table
        raise SpoolCorrupt(f"{path}: {error}") from error


def _read(path: Path) -> Contents:
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as connection:
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return NEVER_MADE
        (process,) = connection.execute("SELECT uuid FROM process").fetchone()
        finals = {row[0]: row for row in connection.execute("SELECT * FROM final")}
        lasts = {row[0]: row for row in connection.execute("SELECT * FROM progress ORDER BY rowid")}
        starts = {row[0]: row for row in connection.execute("SELECT * FROM start")}
        refusals = _refusals(connection)
        damaged = _hides_commits(path)
    running = [row for key, row in starts.items() if key not in finals]
    return Contents(
        process=process,
        ended=[Ended(_start(starts[key]), _final(row)) for key, row in finals.items() if key in starts],
        running={start.id: start for start in map(_start, running)},
        lasts={final.id: final for final in (_last(row) for key, row in lasts.items() if key not in finals)},
        damaged=damaged or not finals.keys() <= starts.keys(),
        refusals=refusals,
    )


def _refusals(connection: sqlite3.Connection) -> list[Refusal]:
    """A file that was left by a version from before them has no such table."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'refusal'").fetchone():
        return []
    rows = connection.execute("SELECT * FROM refusal ORDER BY number")
    return [Refusal(UUID(bytes=row[1]), *row[2:]) for row in rows]


def _hides_commits(path: Path) -> bool:
    """Whether SQLite stopped reading the WAL at a broken page although whole commits follow it.

    It takes such a page for the end and says nothing. A torn last commit, which nobody was told of, is no damage.
    Formats: https://www.sqlite.org/walformat.html (mxFrame in the index, salts and commit marks in the WAL).
    """
    try:
        wal = path.with_name(f"{path.name}-wal").read_bytes()
        index = path.with_name(f"{path.name}-shm").read_bytes()
    except FileNotFoundError:
        return False
    if len(wal) < WAL_HEADER or len(index) < WAL_HEADER:
        return False
    frame = FRAME_HEADER + int.from_bytes(wal[8:12])
    seen = int.from_bytes(index[16:20], sys.byteorder)
    headers = (
        wal[place : place + FRAME_HEADER] for place in range(WAL_HEADER + seen * frame, len(wal) - frame + 1, frame)
    )
    return any(header[8:16] == wal[16:24] and any(header[4:8]) for header in headers)


def interrupted(start: Start, last: Final | None) -> Ended:
    """A request whose process died: billed by its last progress, by nothing if the engine had sent nothing."""
    nothing = Final(start.id, "", "", "", "", NOTHING, "interrupted", 0, None, 0)
    return Ended(start, last or nothing)


def _start(row: tuple[Any, ...]) -> Start:
    """Of the columns of `start_row`."""
    price = UnitPrices(*map(Decimal, row[14:18])) if row[14] is not None else None
    values: list[Any] = [UUID(bytes=row[0]), *row[1:5], bool(row[5]), *row[6:14], price]
    return Start(*values)


def _final(row: tuple[Any, ...]) -> Final:
    """Of the columns of `final_row`."""
    values: list[Any] = [UUID(bytes=row[0]), *row[1:5], Counts(*row[5:12]), row[14], row[15], row[12], row[13]]
    return Final(*values)


def _last(row: tuple[Any, ...]) -> Final:
    """Of the columns of `progress_row`: what an interrupted request ends with."""
    return _final((*row, "interrupted", 0))
