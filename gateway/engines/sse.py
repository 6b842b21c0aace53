"""Server-sent events, split by hand.

Lines end with LF, CRLF or CR and with nothing else: text readers such as httpx's also split on U+2028 and U+0085,
which are ordinary characters inside an answer.
"""

from gateway.errors import UnreadableAnswer

MAX_LINE = 1 << 20  # bytes; the same for the data of one event


class Splitter:
    """Bytes in, the `data` of whole events out. Comments and unknown fields give nothing."""

    def __init__(self) -> None:
        self.strays = 0  # lines that look like an event but are not marked as one
        self._rest = b""
        self._skip_newline = False
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that this piece completes. Raises UnreadableAnswer for a line or an event above MAX_LINE."""
        if self._skip_newline and piece:
            self._skip_newline = False
            piece = piece.removeprefix(b"\n")
        lines = (self._rest + piece).splitlines(keepends=True)
        self._rest = b""
        if lines and not lines[-1].endswith((b"\n", b"\r")):
            self._rest = lines.pop()
            if len(self._rest) > MAX_LINE:
                raise UnreadableAnswer("The engine sent a line that is too long.")
        elif lines:
            self._skip_newline = lines[-1].endswith(b"\r")
        return [event for line in lines if (event := self._line(line.rstrip(b"\r\n"))) is not None]

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            if sum(map(len, self._data)) > MAX_LINE:
                raise UnreadableAnswer("The engine sent an event that is too long.")
        elif name.startswith(b"{"):
            self.strays += 1
        return None

    def _dispatch(self) -> bytes | None:
        if not self._data:
            return None
        event = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data = []
        return event
