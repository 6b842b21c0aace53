"""From a request's headers to its caller."""

import logging
import time
from collections.abc import Mapping

from accounts.callers import Caller
from accounts.errors import KeyProblem
from accounts.keys import digest, well_formed
from gateway.errors import Unauthorized, Unavailable
from gateway.snapshot import RETRY_AFTER, holder

CLOCKS_DIFFER = 60  # seconds: a key is good everywhere until its end, on a machine whose clock is ahead too

logger = logging.getLogger(__name__)


async def authenticate(headers: Mapping[bytes, bytes]) -> Caller:
    """Raises Unauthorized, in one wording for every reason, or Unavailable while PostgreSQL is away.

    A malformed key costs no query; a well-formed one that is not known yet may be new, and is looked up once.
    """
    secret = given_secret(headers)
    if not secret:
        raise _refused("absent")
    key = digest(secret)
    caller = holder.current().callers.get(key)
    if caller is None:
        if not well_formed(secret):
            raise _refused("malformed")
        caller = await _looked_up(key)
    if caller.expires_at is not None and caller.expires_at + CLOCKS_DIFFER <= time.time():
        raise _refused("expired")
    return caller


async def _looked_up(key: bytes) -> Caller:
    if not holder.fresh:
        raise Unavailable("The database cannot be reached. Try again later.", retry_after=RETRY_AFTER)
    caller = (await holder.refresh_soon()).callers.get(key)
    if caller is None:
        raise _refused("unknown")
    return caller


def given_secret(headers: Mapping[bytes, bytes]) -> str:
    """The bearer's key; `x-api-key` only where there is no Authorization header."""
    given = headers.get(b"authorization")
    if given is None:
        return headers.get(b"x-api-key", b"").decode("latin-1").strip()
    scheme, _, secret = given.decode("latin-1").strip().partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _refused(reason: KeyProblem) -> Unauthorized:
    logger.info("key refused", extra={"reason": reason})
    return Unauthorized("The API key is missing or not valid. Send it as 'Authorization: Bearer <key>'.")
