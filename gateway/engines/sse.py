"""Server-sent events, split by hand.

Lines end with LF, CRLF or CR and with nothing else: text readers such as httpx's also split on U+2028 and U+0085,
which are ordinary characters inside an answer.
"""

from gateway.errors import UnreadableAnswer

MAX_LINE = 1 << 20  # bytes; the same for the data of one event
STRAY = b""  # stands for a line that looks like an event but is not marked as one


class Splitter:
    """Bytes in, the `data` of whole events out. Comments and unknown fields give nothing."""

    def __init__(self) -> None:
        self._rest = b""
        self._by_line = False  # a CR was seen, so events are not cut at LF LF alone
        self._skip_newline = False
        self._data: list[bytes] = []
        self._size = 0  # of the event so far, its line ends too

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that this piece completes. Raises UnreadableAnswer for a line or an event above MAX_LINE."""
        text = self._rest + piece if self._rest else piece
        if self._by_line or b"\r" in text:
            return self._lines(piece)
        blocks = text.split(b"\n\n")
        self._rest = self._short(blocks.pop())
        if text.count(b"\n") == 2 * len(blocks) and len(text) <= MAX_LINE:  # as nearly every engine writes its events
            events = [block[6:] for block in blocks if block.startswith(b"data: ")]
            if len(events) == len(blocks):
                return events
        return [event for block in blocks for event in self._block(block)]

    def _block(self, block: bytes) -> list[bytes]:
        events = [event for line in block.split(b"\n") if (event := self._line(line)) is not None]
        return events if (last := self._dispatch()) is None else [*events, last]

    def _lines(self, piece: bytes) -> list[bytes]:
        self._by_line = True
        if self._skip_newline and piece:
            self._skip_newline = False
            piece = piece.removeprefix(b"\n")
        lines = (self._rest + piece).splitlines(keepends=True)
        self._rest = b""
        if lines and not lines[-1].endswith((b"\n", b"\r")):
            self._rest = self._short(lines.pop())
        elif lines:
            self._skip_newline = lines[-1].endswith(b"\r")
        return [event for line in lines if (event := self._line(line.rstrip(b"\r\n"))) is not None]

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(line) + 1
            if self._size > MAX_LINE:
                raise UnreadableAnswer("The engine sent an event that is too long.")
        elif name.startswith(b"{"):
            return STRAY
        return None

    def _dispatch(self) -> bytes | None:
        if not self._data:
            return None
        event = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data, self._size = [], 0
        return event

    def _short(self, text: bytes) -> bytes:
        if len(text) > MAX_LINE:
            raise UnreadableAnswer("The engine sent a line that is too long.")
        return text
