"""Requests and answers set for reading: commands to copy, coloured JSON, and what came of a call that was tried."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from gateway.openapi.paths import EVENTS, JSON
from gateway.trial import Tried

type Json = dict[str, Any]

KEY = "$TERTULIA_API_KEY"  # as the page of a new key writes it for .env
ADMIN_KEY = "$TERTULIA_ADMIN_KEY"
SHOWN = 20_000  # characters of an answer that was tried
TOLD = ("x-request-id", "backend", "x-tertulia-ignored", "retry-after")  # headers of it
_NUMBERS = re.compile(r"\[\s+([-+.,\deE\s]*?)\s+\]")  # numbers in a list, a line each
# A string may end with the text, which may have been cut: else each quote in it would be tried as the beginning of one.
_TOKEN = re.compile(
    r'("(?:[^"\\]++|\\.)*+(?:"|\\?\Z))(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\b|\b(true|false|null)\b'
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request that was tried. `status` is 0 when nothing came in time."""

    status: int
    phrase: str
    ok: bool
    took_ms: int
    headers: list[tuple[str, str]]
    answer: SafeString
    cut: bool
    command: SafeString


def outcome(tried: Tried, path: str, body: Json) -> Outcome:
    """Streams are shown as they came."""
    told = tried.body.decode(errors="replace")
    if not tried.headers.get("content-type", "").startswith(EVENTS):
        told = laid_out(told)
    return Outcome(
        status=tried.status,
        phrase=HTTPStatus(tried.status).phrase if tried.status else "",
        ok=tried.status == HTTPStatus.OK,
        took_ms=tried.took_ms,
        headers=[(name, tried.headers[name]) for name in TOLD if name in tried.headers],
        answer=coloured(told[:SHOWN].rstrip()),
        cut=bool(tried.status) and (tried.cut or len(told) > SHOWN),
        command=curl(path, body),
    )


def curl(
    path: str, body: Json | None = None, *, key: str = KEY, query: Mapping[str, object] | None = None
) -> SafeString:
    """The request as a command, the key left to the environment; without one it is not signed."""
    lines = [format_html('<span class="f">curl</span> {}{}{}', "-G " if query else "", settings.BASE_URL, path)]
    if key:
        lines.append(format_html('-H <span class="s">"Authorization: Bearer {}"</span>', key))
    if query:
        lines += [format_html("-d {}={}", name, value) for name, value in query.items()]
    if body is not None:
        lines.append(format_html('-H <span class="s">"Content-Type: {}"</span>', JSON))
        quoted = json.dumps(body, ensure_ascii=False, indent=2).replace("'", "'\\''")
        lines.append(format_html("-d <span class=\"s\">'{}'</span>", quoted))
    return format_html_join(" \\\n  ", "{}", ((line,) for line in lines))


def coloured(text: str) -> SafeString:
    """JSON, alone or among other text, with spans for its keys, strings, numbers and words."""

    def pieces() -> Iterator[tuple[SafeString]]:
        at = 0
        for token in _TOKEN.finditer(text):
            yield (format_html("{}", text[at : token.start()]),)
            word, colon, number, constant = token.groups()
            kind = "f" if colon else "s" if word else "n" if number else "k"
            yield (format_html('<span class="{}">{}</span>{}', kind, word or number or constant, colon or ""),)
            at = token.end()
        yield (format_html("{}", text[at:]),)

    return format_html_join("", "{}", pieces())


def coded(text: str) -> SafeString:
    """What stands between `backticks` as code."""
    words = (format_html("<code>{}</code>" if at % 2 else "{}", word) for at, word in enumerate(text.split("`")))
    return format_html_join("", "{}", ((word,) for word in words))


def laid_out(text: str) -> str:
    """JSON on lines, but numbers of a list on one; anything else as it is."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    lines = json.dumps(found, ensure_ascii=False, indent=2)
    # Half a surrogate pair is no text that a page can send: it stays escaped.
    lines = lines.encode(errors="backslashreplace").decode()
    return _NUMBERS.sub(lambda numbers: f"[{' '.join(numbers[1].split())}]", lines)
