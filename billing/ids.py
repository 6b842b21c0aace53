"""Request ids: UUIDv7, so that an id alone says when its request began and which part of the log holds it."""

import os
import time
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62
_LOW_62 = (1 << 62) - 1


class RequestId(NamedTuple):
    """`at_ms`: whole milliseconds since the epoch, the clock's one reading for this request."""

    id: UUID
    at_ms: int


def new_request() -> RequestId:
    return _at(time.time_ns() // 1_000_000)


def at_of(request_id: UUID) -> datetime:
    """When the request began. Raises OverflowError for a moment past the year 9999."""
    return moment(request_id.int >> 80)


def first_id(at: datetime) -> UUID:
    """No request of this moment or later has a smaller id, and none before it a greater one."""
    return UUID(int=int(at.timestamp() * 1000) << 80)


def moment(at_ms: int) -> datetime:
    seconds, milliseconds = divmod(at_ms, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000)


def _at(at_ms: int) -> RequestId:
    """RFC 9562, section 5.7: 48 bits of milliseconds, version, 12 random bits, variant, 62 random bits."""
    chance = int.from_bytes(os.urandom(10))
    low = _VARIANT | (chance & _LOW_62)
    return RequestId(UUID(int=(at_ms << 80) | _VERSION_7 | ((chance >> 68) << 64) | low), at_ms)
