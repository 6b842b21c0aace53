"""Events of a stream that differ from an earlier one in one string alone: shaped by cutting bytes, without parsing.

An engine writes hundreds of events that are the same but for the text of their delta. From one that was parsed and
shaped a stencil is learned: what stands before the text and after it, coming in and going out. Reading the event again
with another text there proves that it is the text which stands between; an event that begins and ends so, with the
inside of a JSON string between, can then mean nothing else. The text's own bytes are not touched.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from secrets import token_hex

from gateway.engines.facts import Item

KEPT = 3  # stencils of one stream: text, reasoning, and one more
CREDIT = 12  # stencils that may be learned in vain before a stream is taken for one where no two events are alike
SIGN = token_hex(16)  # stands for the text while a stencil is learned; no engine can have said it
_SIGN = SIGN.encode()

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

    def learn(self, data: bytes, shape: Callable[[bytes, str], bytes | None]) -> None:
        """From an event that brings text. `shape` gives an event as it goes out if its only text is this one."""
        if not self._credit:
            return
        self._credit -= 1
        for place in _TEXTS.finditer(data):
            inside = _INSIDE.match(data, place.end())
            if inside is None or data[inside.end() : inside.end() + 1] != b'"':
                continue
            head, tail = data[: place.end()], data[inside.end() :]
            like = head + _SIGN + tail
            if (shaped := shape(like, SIGN)) is not None:
                self._keep(head, tail, None if shaped == like else shaped)
                return

    def _keep(self, head: bytes, tail: bytes, shaped: bytes | None) -> None:
        new_head, sign, new_tail = (shaped or _SIGN).partition(_SIGN)
        if sign and _SIGN not in new_tail:
            stencil = Stencil(head, tail, None if shaped is None else new_head, new_tail)
            self._known = [stencil, *self._known[: KEPT - 1]]
