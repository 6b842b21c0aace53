"""Events of a stream that differ from an earlier one in one string alone: shaped by cutting bytes, without parsing.

An engine writes hundreds of events that are the same but for the text of their delta. From one that was parsed and
shaped a stencil is learned: what stands before the text and after it, coming in and going out. An event that begins
and ends so, with the inside of a JSON string between, can mean nothing else. The text's own bytes are not touched.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.engines.client import parsed_object
from gateway.engines.facts import Item

KEPT = 3  # stencils of one stream: text, reasoning, and one more
CREDIT = 12  # stencils that may be learned in vain before a stream is taken for one where no two events are alike
SIGN = "tertulia text"  # stands for the text while a stencil is learned

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

    def press(self, items: Sequence[Item], start: int, out: list[bytes]) -> tuple[int, int]:
        """Adds the events from `start` on to `out`, as they go out and as far as the stencil fits.

        Returns the place after them, and how many of them bring text.
        """
        head, tail, new_head, new_tail = self.head, self.tail, self.new_head, self.new_tail
        before, after, texts = len(head), len(tail), 0
        for place in range(start, len(items)):
            data = items[place]
            if not (type(data) is bytes and data.startswith(head) and data.endswith(tail)):
                return place, texts
            inside = data[before:-after]
            if not _INSIDE.fullmatch(inside) or len(data) < before + after:
                return place, texts
            out.append(data if new_head is None else new_head + inside + new_tail)
            texts += inside != b""
        return len(items), texts


class Stencils:
    """Those of one stream, the last used first."""

    def __init__(self) -> None:
        self._known: list[Stencil] = []
        self._credit = CREDIT

    def press(self, items: Sequence[Item], start: int, out: list[bytes]) -> tuple[int, int]:
        """As one stencil does, with whichever fits the event at `start`."""
        for number, stencil in enumerate(self._known):
            place, texts = stencil.press(items, start, out)
            if place > start:
                if number:
                    self._known.insert(0, self._known.pop(number))
                self._credit = CREDIT
                return place, texts
        return start, 0

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
