"""Where a call's start and end are kept: on the spool's disk; while that is full, the end straight in the log.

While the disk is well nothing here waits, also not in a call that is being cancelled. While it is full and PostgreSQL
answers, calls begin with a start in memory alone, and their end waits for PostgreSQL before the last of the answer goes
out. What PostgreSQL does not take in time goes where the spool's ballast was, for which a call must have had room when
it began.
"""

import asyncio
import logging
from datetime import datetime
from time import monotonic

import psycopg
from django.db import Error as DatabaseError

from accounts.database import in_database
from accounts.keys import note_use
from billing.errors import LogUnavailable, SpoolFull, SpoolUnavailable
from billing.ids import moment
from billing.ledger import log as ledger
from billing.records import Ended, Final, Start
from billing.spool.writer import spool
from gateway.snapshot import holder

logger = logging.getLogger(__name__)

AWAY = (DatabaseError, psycopg.Error, TimeoutError)
DEADLINE = 3.0  # seconds that the end of an answer waits for PostgreSQL
PAUSE = 5.0  # seconds without new calls after PostgreSQL did not take an end

type _Due = tuple[Ended, asyncio.Future[None]]


def keep_start(start: Start) -> None:
    """Raises SpoolUnavailable: the call must be refused."""
    own = spool()
    try:
        own.start(start)
    except SpoolFull:
        if not (holder.fresh and monotonic() >= _pause.until):
            raise
        own.hold(start)


async def keep_end(start: Start, final: Final) -> None:
    """Raises SpoolUnavailable when it could be kept nowhere. Cancelling it takes effect when it is done."""
    own = spool()
    kept_by_disk: SpoolUnavailable | None = None
    if not own.holds(start.id):
        try:
            own.final(final)
            return
        except SpoolUnavailable as error:
            kept_by_disk = error
    await _to_the_end(asyncio.create_task(_keep_elsewhere(start, final, kept_by_disk), name="an end for the log"))


async def _keep_elsewhere(start: Start, final: Final, disk_said: SpoolUnavailable | None) -> None:
    """The log, and where that fails the ballast's room, unless the disk has refused already."""
    try:
        await _log(Ended(start, final))
    except LogUnavailable:
        if disk_said is not None:
            raise disk_said from None
        spool().final(final)
    else:
        spool().logged(start.id)


async def _to_the_end(task: asyncio.Task[None]) -> None:
    left: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            left = error
    task.result()
    if left is not None:
        raise left


class _Pause:
    until = 0.0  # monotonic


_pause = _Pause()
_due: list[_Due] = []
_writing: set[asyncio.Task[None]] = set()


async def _log(ended: Ended) -> None:
    """Raises LogUnavailable. The log may take it after all, which does no harm: it counts once."""
    if not holder.fresh:
        raise LogUnavailable("PostgreSQL cannot be reached.")
    loop = asyncio.get_running_loop()
    written: asyncio.Future[None] = loop.create_future()
    _due.append((ended, written))
    if not _writing:
        task = loop.create_task(_write_due(), name="straight to the log")
        _writing.add(task)
        task.add_done_callback(_writing.discard)
    try:
        async with asyncio.timeout(DEADLINE):
            await written
    except AWAY as error:
        if monotonic() >= _pause.until:
            logger.warning("the log takes no ends; nothing new begins for a while", extra={"error": str(error)})
        _pause.until = monotonic() + PAUSE
        raise LogUnavailable(str(error)) from error


async def _write_due() -> None:
    """All that has ended by now in one step."""
    while _due:
        batch = [one for one in _due if not one[1].done()]
        _due.clear()
        try:
            await in_database(_write, [ended for ended, _ in batch])
        except AWAY as error:
            _tell(batch, error)
        else:
            _tell(batch, None)


def _tell(batch: list[_Due], error: Exception | None) -> None:
    for _, written in batch:
        if written.done():  # whoever waited for it has given up
            continue
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(error)


def _write(batch: list[Ended]) -> None:
    ledger.write(batch)
    used: dict[int, datetime] = {one.start.key_id: moment(one.start.at_ms) for one in batch if one.start.key_id}
    note_use(used)
