"""The header Idempotency-Key: a request that is sent twice is carried out once.

Answers are never stored. Whoever repeats a request within a day gets 409 and the id of the first, running or ended; one
that came to nothing (no token, nothing sent) may be repeated, as clients do of themselves after a 503. Requests without
the header cost nothing here; those with it ask PostgreSQL, and are refused while it is away.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from django.db import Error as DatabaseError
from django.db import transaction
from django.utils import timezone

from accounts.callers import Caller
from accounts.database import in_database
from billing.usage.glances import came_to_nothing
from gateway.errors import BadRequest, RepeatedOtherwise, RepeatedRequest, Unavailable
from gateway.models import RememberedRequest
from gateway.running import Call
from gateway.snapshot import PATIENCE, RETRY_AFTER

logger = logging.getLogger(__name__)

LONGEST = 255  # characters of the header
NAME = r"^[!-~]([ -~]*[!-~])?$"  # what other servers on the way leave as it is
_NAME = re.compile(NAME)
REMEMBERED = timedelta(hours=24)
AWAY = (DatabaseError, psycopg.Error)


@asynccontextmanager
async def once(
    name: bytes, caller: Caller, path: str, body: bytes, call: Call, *, told: Callable[[], bool]
) -> AsyncIterator[None]:
    """Around a request that bears this name. `told` says afterwards whether its caller got any of an answer.

    Raises BadRequest, RepeatedRequest, RepeatedOtherwise, and Unavailable while PostgreSQL is away.
    """
    text = name.decode("latin-1").strip(" \t")
    if len(text) > LONGEST or not _NAME.fullmatch(text):
        raise BadRequest(f"An Idempotency-Key has 1 to {LONGEST} printable ASCII characters.", param="idempotency-key")
    place = {"key_id": caller.key_id, "path": path, "name": text}
    try:
        await _claim_soon(in_database(_claim, caller, place, hashlib.sha256(body).digest(), call.request.id), call)
    except AWAY as error:
        raise Unavailable("The database cannot be reached. Try again later.", retry_after=RETRY_AFTER) from error
    try:
        yield
    finally:
        if not told() and (call.finished is None or not call.finished.counts.total):
            await _forget(call.request.id)


def forget_old() -> None:
    RememberedRequest.objects.filter(at__lt=timezone.now() - REMEMBERED).delete()


_late: set[asyncio.Task[None]] = set()  # claims that nobody waits for any more, and their ends


async def _claim_soon(claim: Coroutine[Any, Any, None], call: Call) -> None:
    """Waits for the claim, but not for ever, nor for one whose caller has left: it is then taken back once it is made.

    Raises Unavailable.
    """
    task = asyncio.get_running_loop().create_task(claim)
    in_time = False
    try:
        await asyncio.wait({task}, timeout=PATIENCE)
        in_time = task.done()
    finally:
        if not in_time:  # also where it is made at the very moment that its caller leaves
            _keep(_take_back(task, call.request.id))
    if not in_time:
        raise Unavailable("The database is slow to answer. Try again later.", retry_after=RETRY_AFTER)
    task.result()


def _keep(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    _late.add(task)
    task.add_done_callback(_late.discard)


async def _take_back(claim: asyncio.Task[None], request_id: UUID) -> None:
    await asyncio.wait({claim})
    if claim.exception() is None:
        await _forget(request_id)


@transaction.atomic
def _claim(caller: Caller, place: Mapping[str, Any], body: bytes, request_id: UUID) -> None:
    now = timezone.now()
    fresh = {"body": body, "request_id": request_id, "at": now}
    row, made = RememberedRequest.objects.select_for_update().get_or_create(**place, defaults=fresh)
    if made:
        return
    if row.at < now - REMEMBERED or came_to_nothing(caller.team_id, row.request_id):
        RememberedRequest.objects.filter(pk=row.pk).update(**fresh)
    elif bytes(row.body) != body:
        raise RepeatedOtherwise("This Idempotency-Key was used for another request. Choose a new one.")
    else:
        raise RepeatedRequest(f"This request was made before, as {row.request_id}. Answers are not kept.")


async def _forget(request_id: UUID) -> None:
    try:
        await in_database(RememberedRequest.objects.filter(request_id=request_id).delete)
    except AWAY:
        # If it was admitted, the log will say that it came to nothing; a refusal has no row, and waits for its day.
        logger.warning("A request that came to nothing stays remembered for now", extra={"request_id": str(request_id)})
