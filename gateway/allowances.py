"""Limits as callers of /v1 read them: headers on every answer, the words of a refusal, and the part of /v1/usage.

Resets are in seconds since the epoch. Where a vendor's clients expect a duration, they are not ours: OpenAI and Groq
send "6m0s", Cloud Temple the epoch.
"""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Any

from billing.errors import LimitReached
from billing.limits.windows import Standing
from gateway.errors import OverLimit

SOON = 120  # seconds; openai-python waits no longer, and takes what is longer for no advice at all
SPREAD = 5  # seconds over which those who were refused together come back

RATES = (
    *(f"x-ratelimit-{figure}-{unit}" for unit in ("requests", "tokens") for figure in ("limit", "remaining", "reset")),
    "x-ratelimit-window",
)

_WHOSE = {"team": "your team", "key": "this API key", "member": "you"}
_WINDOWS = {
    "concurrent-requests": "{limit} requests at once",
    "requests-per-minute": "{limit} requests a minute",
    "tokens-per-minute": "{limit} tokens a minute",
    "output-tokens-per-hour": "{limit} output tokens an hour",
    "requests-per-day": "{limit} requests a day",
    "tokens-per-day": "{limit} tokens a day",
    "output-tokens-per-day": "{limit} output tokens a day",
}

type Headers = list[tuple[bytes, bytes]]


def headers(standings: Iterable[Standing]) -> Headers:
    """For requests and for tokens the window with the least share left, and their names."""
    found: dict[str, Standing] = {}
    for standing in standings:
        unit = standing.rule.window.unit
        if unit == "concurrent":
            continue
        family = "requests" if unit == "requests" else "tokens"
        known = found.get(family)
        if known is None or standing.is_fuller_than(known):
            found[family] = standing
    told: Headers = []
    for family in ("requests", "tokens"):
        if family in found:
            standing = found[family]
            told += [
                (f"x-ratelimit-limit-{family}".encode(), b"%d" % standing.limit),
                (f"x-ratelimit-remaining-{family}".encode(), b"%d" % standing.remaining),
                (f"x-ratelimit-reset-{family}".encode(), b"%d" % ceil(standing.reset)),
            ]
    if told:
        told.append((b"x-ratelimit-window", ", ".join(_named(one) for one in found.values()).encode()))
    return told


def refusal(error: LimitReached) -> OverLimit:
    full = error.full
    window, whose = full.rule.window, full.subject.kind
    seconds = _advised(error)
    allowed = _WINDOWS[window.name].format(limit=f"{full.limit:,}")
    message = f"Rate limit reached: {_WHOSE[whose]} may have {allowed}. Try again {_when(seconds)}."
    told = [pair for pair in headers(error.standings) if pair[0] != b"x-ratelimit-window"]
    return OverLimit(
        message,
        retry_after=seconds,
        limit=f"{whose}:{window.name}:{int(datetime.now(UTC).timestamp()) + seconds}",
        headers=[*told, (b"x-ratelimit-window", _refused(full, error.standings).encode())],
    )


def told(standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """For /v1/usage. `reset` is null for what is no window of time."""
    return [
        {
            "of": one.subject.kind,
            "window": one.rule.window.name,
            "limit": one.limit,
            "used": one.used,
            "remaining": one.remaining,
            "reset": ceil(one.reset) if one.rule.window.span else None,
        }
        for one in standings
    ]


def _advised(error: LimitReached) -> int:
    """Whole seconds. Those who were refused together do not all come back at the same moment."""
    least = max(1, ceil(error.wait))
    if least > SOON:
        return least
    return min(SOON, least + random.randint(0, SPREAD))  # noqa: S311  no secret


def _when(seconds: int) -> str:
    if seconds <= SOON:
        return f"in {seconds} s"
    return datetime.fromtimestamp(datetime.now(UTC).timestamp() + seconds, UTC).strftime("after %Y-%m-%d %H:%M UTC")


def _refused(full: Standing, standings: Sequence[Standing]) -> str:
    """The window that refused first, and then the other that the headers tell of."""
    names = [_named(full)]
    for name, value in headers(standings):
        if name == b"x-ratelimit-window":
            names += [one for one in value.decode().split(", ") if one not in names]
    return ", ".join(names)


def _named(standing: Standing) -> str:
    """As a list of RFC 9651: the window, and whose it is."""
    return f"{standing.rule.window.name};of={standing.subject.kind}"
