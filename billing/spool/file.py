"""One file of the spool: its lines, making and reading it.

A file is text, one record a line: eight hex digits, the CRC-32 (zlib's) of what follows after a space, a JSON array.
Its first member says what it is: the `FILE` that begins with this line and the process that writes it, a `START`, how
far a request has come (`PROGRESS`, the last one counts), its `END`, a `REFUSAL`, or how many were refused like that one
by now (`AGAIN`). What follows are the columns of the `…_row` functions below.

A line is on its way to the disk before anybody is told that it is written. What has no line end at the end of a file is
the last thing that a process tried before it died, and nobody was told of it. A line whose sum is wrong is damage: that
is told, and what stands behind it is read.
"""

import errno
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from billing.errors import SpoolCorrupt
from billing.records import NOTHING, Counts, Ended, Final, Progress, Refusal, Start, UnitPrices
from billing.spool.folder import UNFINISHED

type Row = tuple[object, ...]

FILE, START, PROGRESS, END, REFUSAL, AGAIN = "file", "start", "progress", "end", "refusal", "again"
FORMAT = 1
RECORD = 1024  # bytes of a line at most, as far as it is known: most have 300
MOST_AGAIN = 1 << 16  # bytes of a closed file's repetitions that are left in it

_SUM = 8  # hex digits
_FIRST_LINE = 128  # bytes, more than it has
_NO_PRICE: Row = (None, None, None, None)
_LARGEST = 2**63 - 1


class File:
    """An open file that lines are appended to, by one thread at a time."""

    def __init__(self, path: Path, *, process: str, synced: bool) -> None:
        """A new one of this process. `synced`: each line is on the disk itself when it is written. Raises OSError."""
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.path, self.size = path, 0
        self._synced = synced
        try:
            self.append(line(FILE, (process, FORMAT)))
            if synced:
                _sync_folder(path.parent)
        except OSError:
            self.close()
            raise

    def append(self, lines: bytes) -> None:
        """All of them or none. Raises OSError."""
        try:
            self._write(lines)
        except OSError:
            with suppress(OSError):  # what comes next must not stand behind half a line
                os.ftruncate(self._descriptor, self.size)
            raise
        self.size += len(lines)

    def _write(self, lines: bytes) -> None:
        if os.write(self._descriptor, lines) < len(lines):  # there was room for a part
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._synced:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """The descriptor may be another file's from now on, and is forgotten."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def line(kind: str, row: Row) -> bytes:
    """A record as it stands in a file. Lone surrogates and numbers past 64 bits are changed: JSON cannot hold them."""
    try:
        data = orjson.dumps((kind, *row))
    except TypeError:
        data = orjson.dumps((kind, *map(_clean, row)))
    return b"%08x %b\n" % (zlib.crc32(data), data)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def start_row(start: Start) -> Row:
    price = start.price
    prices: Row = (
        (str(price.input), str(price.cached_input), str(price.output), str(price.reasoning)) if price else _NO_PRICE
    )
    return (
        start.id,
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
        refusal.id,
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
        record.id,
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
    something is missing that was once written: an end without its start, or a line whose sum is wrong.
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
        return _contents(path.read_bytes())
    except FileNotFoundError:
        raise
    except (OSError, TypeError, ValueError, LookupError, InvalidOperation) as error:
        raise SpoolCorrupt(f"{path}: {error}") from error


def _contents(data: bytes) -> Contents:
    *lines, torn = data.split(b"\n")
    if not lines and len(torn) <= _FIRST_LINE:
        return NEVER_MADE
    process, damaged = "", False
    starts: dict[str, list[Any]] = {}
    lasts: dict[str, list[Any]] = {}
    finals: dict[str, list[Any]] = {}
    refused: dict[int, list[Any]] = {}
    again: dict[int, int] = {}
    for one in lines:
        record = _record(one)
        match record:
            case [str(kind), *row] if kind == START:
                starts[row[0]] = row
            case [str(kind), *row] if kind == END:
                finals[row[0]] = row
            case [str(kind), *row] if kind == PROGRESS:
                lasts[row[0]] = row
            case [str(kind), int(number), *row] if kind == REFUSAL:
                refused[number] = row
            case [str(kind), int(count), int(number)] if kind == AGAIN:
                again[number] = count
            case [str(kind), str(name), int()] if kind == FILE:
                process = name
            case _:
                damaged = True
    if not process and not starts:
        raise SpoolCorrupt("nothing in it can be read")
    return Contents(
        process=process,
        ended=[_ended(UUID(key), starts[key], row) for key, row in finals.items() if key in starts],
        running={one: _start(one, row) for one, row in _without_end(starts, finals)},
        lasts={one: _last(one, row) for one, row in _without_end(lasts, finals)},
        damaged=damaged or not process or not finals.keys() <= starts.keys(),
        refusals=[_refusal(row, again.get(number)) for number, row in sorted(refused.items())],
    )


def _ended(request: UUID, start: list[Any], final: list[Any]) -> Ended:
    return Ended(_start(request, start), _final(request, final))


def _without_end(rows: dict[str, list[Any]], finals: dict[str, list[Any]]) -> Iterator[tuple[UUID, list[Any]]]:
    return ((UUID(key), row) for key, row in rows.items() if key not in finals)


def _record(one: bytes) -> Any:
    """None where the line is not what was once written."""
    data = one[_SUM + 1 :]
    if one[: _SUM + 1] != b"%08x " % zlib.crc32(data):
        return None
    return orjson.loads(data)


def compact(path: Path) -> None:
    """Of a closed file: of the repetitions of a refusal the last one says all. Raises OSError."""
    lines = path.read_bytes().split(b"\n")
    begin = orjson.dumps([AGAIN])[:-1]
    places = [place for place, one in enumerate(lines) if one[_SUM + 1 :].startswith(begin)]
    if sum(len(lines[place]) for place in places) < MOST_AGAIN:
        return
    last = {one[2]: place for place in places if (one := _record(lines[place]))}
    dropped = {*places} - {*last.values()}
    whole = path.with_suffix(UNFINISHED)
    try:
        with open(whole, "wb", opener=_private) as file:
            file.write(b"\n".join(one for place, one in enumerate(lines) if place not in dropped))
            file.flush()
            os.fsync(file.fileno())
        whole.rename(path)
    finally:
        whole.unlink(missing_ok=True)  # on a full disk, what was written of it holds room that ends of calls need


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def interrupted(start: Start, last: Final | None) -> Ended:
    """A request whose process died: billed by its last progress, by nothing if the engine had sent nothing."""
    nothing = Final(start.id, "", "", "", "", NOTHING, "interrupted", 0, None, 0)
    return Ended(start, last or nothing)


def _start(request: UUID, row: list[Any]) -> Start:
    """Of the columns of `start_row`."""
    price = UnitPrices(*map(Decimal, row[14:18])) if row[14] is not None else None
    values: list[Any] = [*row[1:14], price]
    return Start(request, *values)


def _final(request: UUID, row: list[Any]) -> Final:
    """Of the columns of `final_row`."""
    values: list[Any] = [*row[1:5], Counts(*row[5:12]), row[14], row[15], row[12], row[13]]
    return Final(request, *values)


def _last(request: UUID, row: list[Any]) -> Final:
    """Of the columns of `progress_row`: what an interrupted request ends with."""
    return _final(request, [*row, "interrupted", 0])


def _refusal(row: list[Any], count: int | None) -> Refusal:
    """Of the columns of `refusal_row` behind its number."""
    refusal = Refusal(UUID(row[0]), *row[1:])
    return refusal if count is None else replace(refusal, count=count)
