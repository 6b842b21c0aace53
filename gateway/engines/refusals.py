"""An engine's refusals as callers may see them: our status and words, nothing of the engine's place or key."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

from gateway.errors import (
    BadRequest,
    EngineFailed,
    EngineTimeout,
    GatewayError,
    TooLarge,
    TooMany,
    Unavailable,
    UnreadableAnswer,
)

LONGEST_WAIT = 120  # seconds; clients give up above it instead of waiting
LONGEST_MESSAGE = 400
_PRIVATE = re.compile(
    r"\b[a-z][a-z0-9+.-]{0,30}://\S+"  # addresses; bounded, or text without one would be gone over from every word on
    r"|\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b|\blocalhost(?::\d+)?\b"  # machines
    r"|\bBearer\s+\S+|\bsk-[\w-]{6,}"  # keys
    r"|(?:/[\w.-]+){2,}"  # files
    r"|\brate.?limit\w*",  # which clients take for a 429, whatever the status
    re.IGNORECASE,
)
_TOO_LONG = re.compile(r"context (?:length|size|window)|maximum context|too many tokens", re.IGNORECASE)


def refusal(secret: str, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """The error that callers get for an answer whose status is not 200."""
    if status in {400, 413, 422}:
        return _callers_fault(status, secret, body)
    if status == 429:
        seconds = wait_of(headers.get("retry-after"))
        return TooMany("The engine is busy. Try again later.", code="engine_busy", retry_after=seconds)
    if status in {401, 403}:
        return EngineFailed("The engine does not accept this gateway's key.")
    if status == 404:
        return EngineFailed("The engine does not serve this model any more.")
    if status in {408, 504}:
        return EngineTimeout("The engine did not answer in time.")
    if status == 503:
        seconds = wait_of(headers.get("retry-after"))
        return Unavailable("The engine is not ready. Try again later.", retry_after=seconds)
    if status < 400:
        return UnreadableAnswer("The engine answered with something other than an answer.")
    return EngineFailed(f"The engine answered with status {status}.")


def wait_of(value: str | None) -> int:
    """Whole seconds of a Retry-After header, which may also be a date; at most LONGEST_WAIT."""
    seconds = 5.0
    if value and value.isascii() and value.isdigit():
        seconds = float(value)
    elif value:
        with suppress(ValueError, OverflowError):
            seconds = parsedate_to_datetime(value).timestamp() - time()
    return int(min(max(seconds, 1), LONGEST_WAIT))


def scrubbed(text: str, secret: str) -> str:
    """The text without addresses, machines, files and keys, on one line and not too long."""
    if secret:
        text = text.replace(secret, "…")
    return " ".join(_PRIVATE.sub("…", text).split())[:LONGEST_MESSAGE]


def _callers_fault(status: int, secret: str, body: bytes) -> GatewayError:
    error = _error_in(body)
    message = str(error.get("message") or "")
    kind = str(error.get("type") or "")
    if kind == "exceed_context_size_error" or _TOO_LONG.search(message):
        limit = error.get("n_ctx")
        told = f"This model's maximum context length is {limit} tokens." if isinstance(limit, int) else ""
        told = told or scrubbed(message, secret)
        return BadRequest(told, param="messages", code="context_length_exceeded")
    if status == 413:
        return TooLarge("The request is too large for the engine.")
    param = error.get("param")
    told = scrubbed(message, secret) or "The engine does not accept this request."
    return BadRequest(told, param=param if isinstance(param, str) and len(param) < 100 else None)


def _error_in(body: bytes) -> dict[str, Any]:
    """The error object of the shapes that engines are known to send."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    error = found.get("error", found)
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}
