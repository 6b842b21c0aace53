"""Events of a stream that differ from an earlier one in one string alone: shaped by cutting bytes, without parsing.

An engine writes hundreds of events that are the same but for the text of their delta. From one that was parsed and
shaped a stencil is learned: what stands before the text and after it, coming in and going out. An event that begins
and ends so, with the inside of a JSON string between, can mean nothing else. The text's own bytes are not touched.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from gateway.engines.client import parsed_object

KEPT = 3  # stencils of one stream: text, reasoning, and one more
CREDIT = 12  # stencils that may be learned in vain before a stream is taken for one where no two events are alike
SIGN = token_hex(16)  # stands for the text while a stencil is learned; no engine can have said it

# The inside of a JSON string. Possessive, so that a long text is one step without a way back.
_INSIDE = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')
_TEXTS = re.compile(rb'"(?:content|text|reasoning_content|reasoning)"\s*:\s*"')


@dataclass(frozen=True, slots=True)
class Stencil:
    """`head` and `tail` of an event as it comes, `new_head` and `new_tail` as it goes; None: as it came."""

    head: bytes
    tail: bytes
    new_head: bytes | None
    new_tail: bytes

    def press(self, data: bytes) -> tuple[bytes, bool] | None:
        """The event as it goes out, and whether it brings text; None when the stencil does not fit."""
        if not (data.startswith(self.head) and data.endswith(self.tail)):
            return None
        inside = data[len(self.head) : len(data) - len(self.tail)]
        if len(data) < len(self.head) + len(self.tail) or not _INSIDE.fullmatch(inside):
            return None
        if self.new_head is None:
            return data, bool(inside)
        return self.new_head + inside + self.new_tail, bool(inside)


class Stencils:
    """Those of one stream, the last used first."""

    def __init__(self) -> None:
        self._known: list[Stencil] = []
        self._credit = CREDIT

    def press(self, data: bytes) -> tuple[bytes, bool] | None:
        for place, stencil in enumerate(self._known):
            if (pressed := stencil.press(data)) is not None:
                if place:
                    self._known.insert(0, self._known.pop(place))
                self._credit = CREDIT
                return pressed
        return None

    def learn(self, data: bytes, text: str, shape: Callable[[bytes], bytes | None]) -> None:
        """From an event with this text. `shape` gives what goes out for an event of its kind; None: as it comes."""
        if not self._credit or not text:
            return
        self._credit -= 1
        if (found := _cut(data, text)) is None:
            return
        head, tail = found
        shaped = shape(head + SIGN.encode() + tail)
        if shaped is None:
            self._keep(Stencil(head, tail, None, b""))
            return
        new_head, sign, new_tail = shaped.partition(SIGN.encode())
        if sign and SIGN.encode() not in new_tail:
            self._keep(Stencil(head, tail, new_head, new_tail))

    def _keep(self, stencil: Stencil) -> None:
        self._known = [stencil, *self._known[: KEPT - 1]]


def _cut(data: bytes, text: str) -> tuple[bytes, bytes] | None:
    """What stands before the text and after it, proved by reading the event with another text in its place."""
    read = parsed_object(data)
    for place in _TEXTS.finditer(data):
        inside = _INSIDE.match(data, place.end())
        if inside is None or data[inside.end() : inside.end() + 1] != b'"':
            continue
        head, tail = data[: place.end()], data[inside.end() :]
        if _differ_in_one(read, parsed_object(head + SIGN.encode() + tail), text):
            return head, tail
    return None


def _differ_in_one(before: object, after: object, text: str) -> bool:
    """Whether one string alone differs: `text` before, the sign after."""
    found = list(_differences(before, after))
    return found == [(text, SIGN)]


def _differences(before: Any, after: Any) -> Any:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        for name in before:
            yield from _differences(before[name], after[name])
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for one, other in zip(before, after, strict=True):
            yield from _differences(one, other)
    else:
        yield before, after
