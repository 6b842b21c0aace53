"""An engine that fails on command: raw sockets, OpenAI's and Ollama's protocols, and a log of what it saw.

The scenario is the model's name, such as `fault:drip?n=20&gap=60` (milliseconds), or the last user message when
that begins with `fault:`. Any other model name answers as `ok`. In tests:

    with FaultEngine() as engine:
        engine.url, engine.requests

As a process of its own: `python -m tests.engines.faultd --port 8190`; `GET /_log` is then the log as JSON.
SCENARIOS at the foot of the file lists every scenario.
"""

import argparse
import asyncio
import base64
import contextlib
import gzip
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from email.utils import formatdate
from typing import Any, Self
from urllib.parse import parse_qsl

type Json = dict[str, Any]

CANARY = "canary-7f3a-engine-secret"
MODELS = ("plain", "fault:ok?n=20", "fault:drip?n=20&gap=60", "fault:echo", "fault:slow?first=3000")
CONTEXT = 8192


@dataclass
class Exchange:
    """One request as the engine saw it. Times are of `time.monotonic`."""

    path: str
    headers: dict[str, str]
    body: Json
    model: str = ""
    scenario: str = ""
    began_at: float = field(default_factory=time.monotonic)
    closed_at: float | None = None  # when the caller was seen to have gone before the answer's end
    ended_at: float | None = None  # when the answer's last byte was written
    deltas: int = 0  # content deltas sent
    reported: Json | None = None  # the last usage sent
    released: bool = False  # set by a test: an answer with `hold` may go on
    made: int = 0  # tokens of answers in one piece, and those of a stream that were made and never sent (`ahead`)
    cached: int = 0  # of the prompt, those that the engine did not work through


def count_prompt(body: Json) -> int:
    """The prompt tokens that this engine reports: words, and three for each message."""
    if "messages" not in body:
        prompt = body.get("prompt", "")
        parts = prompt if isinstance(prompt, list) else [prompt]
        return sum(len(str(part).split()) for part in parts)  # a token id is one
    return sum(3 + len(_text_of(message).split()) for message in body["messages"])


def words(n: int) -> list[str]:
    """The deltas of an ordinary answer."""
    return [f"word{i} " for i in range(n)]


def vector(given: object, dimensions: int = 4) -> list[float]:
    """The embedding of a text or of token ids: numbers that 32 bits hold exactly."""
    seed = zlib.crc32(json.dumps(given).encode())
    return [((seed >> place) % 256 - 128) / 64 + 1 / 128 for place in range(dimensions)]


def packed(numbers: list[float]) -> str:
    """As base64 of little-endian 32-bit floats."""
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def embedded(given: Any) -> list[Any]:
    """What each embedding of a request is of: a text, texts, token ids or lists of them."""
    return given if isinstance(given, list) and not all(isinstance(one, int) for one in given) else [given]


def _text_of(message: Json) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return " ".join(text for text in texts if isinstance(text, str))


def _last_user(body: Json) -> str:
    users = [m for m in body.get("messages", []) if m.get("role") == "user"]
    return _text_of(users[-1]) if users else str(body.get("prompt", ""))


class Gone(Exception):
    """The caller closed its connection."""


class Connection:
    """One accepted socket: requests in, bytes out, and an eye on the other end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.ahead = b""
        self.chunked = False
        self.watch: asyncio.Task[bytes] | None = None

    async def request(self) -> tuple[str, str, dict[str, str], bytes] | None:
        try:
            head = self.ahead + await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        self.ahead = b""
        first, *rest = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)
        }
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return method, path, headers, body

    async def head(self, status: int, content_type: str, *, length: int | None = None, **more: str) -> None:
        self.chunked = length is None
        lines = [f"HTTP/1.1 {status} Whatever", f"content-type: {content_type}"]
        lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
        await self.raw(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def write(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data)

    async def end(self) -> None:
        if self.chunked:
            await self.raw(b"0\r\n\r\n")

    async def raw(self, data: bytes) -> None:
        if self.watch and self.watch.done() and not self._kept():
            raise Gone
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError as error:
            raise Gone from error

    async def pause(self, milliseconds: float) -> None:
        """Waits, unless the caller goes away first."""
        if milliseconds <= 0 or self.watch is None:
            return
        await asyncio.wait({self.watch}, timeout=milliseconds / 1000)
        if self.watch.done() and not self._kept():
            raise Gone

    def _kept(self) -> bool:
        """Whether what ended the watch was the next request's first byte, which is then kept."""
        assert self.watch is not None
        try:
            self.ahead = self.watch.result()
        except (ConnectionError, asyncio.CancelledError):
            return False
        return bool(self.ahead)

    async def unwatch(self) -> None:
        assert self.watch is not None
        if not self.watch.done():
            self.watch.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            self.ahead = await self.watch

    def reset(self) -> None:
        """Closes with a TCP reset."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Stage:
    """One answer in the making: what the scenarios play on."""

    def __init__(self, connection: Connection, exchange: Exchange, given: dict[str, str]) -> None:
        self.connection, self.exchange, self.given = connection, exchange, given
        self.body = exchange.body
        self.chat = "messages" in self.body
        self.streamed = bool(self.body.get("stream"))
        self.id = f"chatcmpl-{abs(hash(exchange.began_at)):x}"
        self.prompt_tokens = count_prompt(self.body)

    def number(self, name: str, default: float) -> float:
        return float(self.given.get(name, default))

    @property
    def n(self) -> int:
        return int(self.number("n", 20))

    def usage(self, completion: int, **more: Any) -> Json:
        found = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            **more,
        }
        self.exchange.reported = found
        return found

    def chunk(self, delta: Json | None = None, *, finish: str | None = None, index: int = 0, **more: Any) -> Json:
        choice: Json = {"index": index, "finish_reason": finish}
        if self.body.get("logprobs") and delta and delta.get("content"):
            choice["logprobs"] = _logprobs(delta["content"])
        if self.chat:
            choice["delta"] = delta or {}
        else:
            choice["text"] = (delta or {}).get("content", "")
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return {"id": self.id, "object": kind, "created": 1_790_000_000, "model": self.exchange.model,
                "choices": [choice], **more}  # fmt: skip

    def whole(self, text: str, usage: Json | None, **message: Any) -> Json:
        choice: Json = {"index": 0, "finish_reason": "stop"}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": text, **message}
        else:
            choice["text"] = text
        kind = "chat.completion" if self.chat else "text_completion"
        return {"id": self.id, "object": kind, "created": 1_790_000_000, "model": self.exchange.model,
                "choices": [choice], **({"usage": usage} if usage is not None else {})}  # fmt: skip

    async def begin(self) -> None:
        await self.connection.head(200, "text/event-stream; charset=utf-8")

    async def event(self, payload: Json | str | bytes) -> None:
        if isinstance(payload, dict):
            payload = json.dumps(payload)
        if isinstance(payload, str):
            payload = payload.encode("utf-8", "surrogatepass")
        await self.connection.write(b"data: " + payload + b"\n\n")

    async def role(self) -> None:
        if self.chat:
            await self.event(self.chunk({"role": "assistant", "content": ""}))

    async def deltas(self, texts: list[str]) -> None:
        """`gap` ms apart; after `hold` of them the answer waits until the test lets it go on."""
        gap, hold = self.number("gap", 0), self.number("hold", -1)
        self.exchange.made = int(self.number("ahead", 0))
        counted = bool((self.body.get("stream_options") or {}).get("continuous_usage_stats"))
        for text in texts:
            more = {"usage": self.usage(self.exchange.deltas + 1)} if counted else {}
            await self.event(self.chunk({"content": text}, **more))
            self.exchange.deltas += 1
            await self.connection.pause(gap)
            while self.exchange.deltas == hold and not self.exchange.released:
                await self.connection.pause(10)

    async def finish(self, reason: str = "stop") -> None:
        await self.event(self.chunk({}, finish=reason))

    async def last_usage(self, usage: Json) -> None:
        if (self.body.get("stream_options") or {}).get("include_usage"):
            await self.event({**self.chunk(), "choices": [], "usage": usage})

    async def done(self) -> None:
        await self.event("[DONE]")
        await self.connection.end()

    async def json(self, status: int, payload: Json, **headers: str) -> None:
        await self.text(status, "application/json", json.dumps(payload).encode(), **headers)

    async def text(self, status: int, content_type: str, data: bytes, **headers: str) -> None:
        await self.connection.head(status, content_type, length=len(data), **headers)
        await self.connection.write(data)

    async def error(self, status: int, message: str, **headers: str) -> None:
        await self.json(status, {"error": {"message": message, "type": "BadRequestError", "code": status}}, **headers)

    async def answer(self, texts: list[str], *, usage: bool = True) -> None:
        """An ordinary answer of these deltas, one token each, streamed or whole as asked."""
        await self.connection.pause(self.number("first", 0))
        if not self.streamed:
            for _ in texts:
                await self.connection.pause(self.number("gap", 0))
            self.exchange.made = len(texts)
            await self.json(200, self.whole("".join(texts), self.usage(len(texts)) if usage else None))
            return
        await self.begin()
        await self.role()
        await self.deltas(texts)
        await self.finish()
        if usage:
            await self.last_usage(self.usage(len(texts)))
        await self.done()


def _logprobs(text: str) -> Json:
    token = {"token": text, "logprob": -0.25, "bytes": list(text.encode()), "top_logprobs": []}
    return {"content": [token], "refusal": None}


type Scenario = Callable[[Stage], Awaitable[None]]


async def ok(stage: Stage) -> None:
    """n deltas, `gap` ms apart, the first after `first` ms."""
    await stage.answer(words(stage.n))


async def drip(stage: Stage) -> None:
    """As ok, 60 ms between deltas unless told otherwise."""
    stage.given.setdefault("gap", "60")
    await stage.answer(words(stage.n))


async def slow(stage: Stage) -> None:
    """As ok, after a long thought: 3 s unless `first` says otherwise."""
    stage.given.setdefault("first", "3000")
    await stage.answer(words(stage.n))


async def echo(stage: Stage) -> None:
    """The last user message comes back, `size` characters a delta."""
    text = _last_user(stage.body).removeprefix("fault:echo").removeprefix("?").lstrip()
    size = int(stage.number("size", 4))
    await stage.answer([text[i : i + size] for i in range(0, len(text), size)])


async def bytewise(stage: Stage) -> None:
    """A stream of single bytes, `gap` ms apart (500)."""
    await stage.begin()
    for byte in b"data: " + json.dumps(stage.chunk({"role": "assistant", "content": "x"})).encode():
        await stage.connection.write(bytes([byte]))
        await stage.connection.pause(stage.number("gap", 500))


async def hang(stage: Stage) -> None:
    """Takes the request and never says a word."""
    await stage.connection.pause(3_600_000)


async def hang_headers(stage: Stage) -> None:
    """Headers, then silence."""
    await stage.begin()
    await stage.connection.pause(3_600_000)


async def stall(stage: Stage) -> None:
    """`after` deltas (7), then silence."""
    await stage.begin()
    await stage.role()
    await stage.deltas(words(int(stage.number("after", 7))))
    await stage.connection.pause(3_600_000)


async def comments(stage: Stage) -> None:
    """`after` deltas (3), then comments for ever, `gap` ms apart (100)."""
    await stage.begin()
    await stage.role()
    count = int(stage.number("after", 3))
    for text in words(count):
        await stage.event(stage.chunk({"content": text}))
        stage.exchange.deltas += 1
    while True:
        await stage.connection.write(b": still here\n\n")
        await stage.connection.pause(stage.number("gap", 100))


async def _partial(stage: Stage) -> None:
    await stage.begin()
    await stage.role()
    await stage.deltas(words(int(stage.number("after", 7))))
    await stage.connection.pause(50)  # the bytes above shall arrive


async def rst(stage: Stage) -> None:
    """A TCP reset after `after` deltas (7)."""
    await _partial(stage)
    stage.connection.reset()


async def cut(stage: Stage) -> None:
    """The connection closes in mid-chunk after `after` deltas (7)."""
    await _partial(stage)
    await stage.connection.raw(b"ffff\r\ndata: {")
    stage.connection.writer.close()


async def eof(stage: Stage) -> None:
    """A well-ended body after `after` deltas (7), with no finish_reason and no [DONE]."""
    await _partial(stage)
    await stage.connection.end()


async def bad_chunk(stage: Stage) -> None:
    """A malformed chunk header after `after` deltas (7), then silence."""
    await _partial(stage)
    await stage.connection.raw(b"zz-not-hex\r\n")
    await stage.connection.pause(3_600_000)


async def refuse(stage: Stage) -> None:
    """Takes the request and closes without an answer."""
    stage.connection.writer.close()


async def nousage(stage: Stage) -> None:
    await stage.answer(words(stage.n), usage=False)


async def _odd_usage(stage: Stage, *usages: Any, each: bool = False, after_done: Json | None = None) -> None:
    texts = words(stage.n)
    if not stage.streamed:
        await stage.json(200, {**stage.whole("".join(texts), None), "usage": usages[-1]})
        return
    await stage.begin()
    await stage.role()
    for i, text in enumerate(texts, start=1):
        more = {"usage": stage.usage(i)} if each else {}
        await stage.event(stage.chunk({"content": text}, **more))
        stage.exchange.deltas += 1
        await stage.connection.pause(stage.number("gap", 0))
    await stage.finish()
    for usage in usages:
        await stage.event({**stage.chunk(), "choices": [], "usage": usage})
    await stage.event("[DONE]")
    if after_done is not None:
        await stage.event({**stage.chunk(), "choices": [], "usage": after_done})
    await stage.connection.end()


async def usage_twice(stage: Stage) -> None:
    """Two usage chunks; the second is right."""
    await _odd_usage(stage, {**stage.usage(stage.n), "completion_tokens": stage.n - 1}, stage.usage(stage.n))


async def usage_each(stage: Stage) -> None:
    """Running usage on every chunk, as vLLM's continuous_usage_stats."""
    await _odd_usage(stage, stage.usage(stage.n), each=True)


async def usage_after_done(stage: Stage) -> None:
    """Right usage, [DONE], then another with 999 tokens."""
    right = stage.usage(stage.n)
    await _odd_usage(stage, right, after_done={**right, "completion_tokens": 999})


async def usage_negative(stage: Stage) -> None:
    await _odd_usage(stage, {"prompt_tokens": -5, "completion_tokens": -1, "total_tokens": -6})


async def usage_huge(stage: Stage) -> None:
    await _odd_usage(stage, {"prompt_tokens": 10**15, "completion_tokens": 2**63, "total_tokens": 0})


async def usage_string(stage: Stage) -> None:
    await _odd_usage(stage, {"prompt_tokens": "12", "completion_tokens": True, "total_tokens": None})


async def malformed(stage: Stage) -> None:
    """`bad` broken events (1) after three good deltas; then, if the caller is still there, the rest."""
    await stage.begin()
    await stage.role()
    await stage.deltas(words(3))
    variants = [b'data: {"choices": [{"delta"\n\n', b'{"no": "data prefix"}\n\n', b"data: [1, 2, 3]\n\n"]
    for i in range(int(stage.number("bad", 1))):
        await stage.connection.write(variants[i % 3])
    await stage.deltas(words(stage.n)[3:])
    await stage.finish()
    await stage.last_usage(stage.usage(stage.n))
    await stage.done()


async def error200(stage: Stage) -> None:
    """Status 200, and the body is an error (JSON)."""
    await stage.error(200, f"CUDA out of memory at http://10.1.2.3:9999/ {CANARY}")


async def error_event(stage: Stage) -> None:
    """The first event of the stream is an error."""
    await stage.begin()
    await stage.event({"error": {"message": f"engine fell over {CANARY}", "type": "InternalServerError", "code": 500}})
    await stage.connection.end()


async def error_late(stage: Stage) -> None:
    """An error event after `after` deltas (5)."""
    stage.given.setdefault("after", "5")
    await _partial(stage)
    await stage.event({"error": {"message": f"engine fell over {CANARY}", "type": "InternalServerError", "code": 500}})
    await stage.done()


async def html(stage: Stage) -> None:
    page = b"<!doctype html><title>Sign in to the network</title>"
    await stage.text(200, "text/html", page)


async def json_for_stream(stage: Stage) -> None:
    """A whole JSON answer although a stream was asked for."""
    await stage.json(200, stage.whole("".join(words(stage.n)), stage.usage(stage.n)))


async def too_many(stage: Stage) -> None:
    """429 with Retry-After `retry` (7 s), as a date with `form=date`."""
    seconds = int(stage.number("retry", 7))
    value = formatdate(time.time() + seconds, usegmt=True) if stage.given.get("form") == "date" else str(seconds)
    await stage.error(429, "too many", retry_after=value)


async def status(stage: Stage) -> None:
    """The HTTP status `code` (500) with a body that holds the secret, the host and the address; `retry` seconds."""
    leak = f"failure at {stage.exchange.headers.get('host')} key {stage.exchange.headers.get('authorization')} {CANARY}"
    wait = {"retry_after": stage.given["retry"]} if "retry" in stage.given else {}
    await stage.error(int(stage.number("code", 500)), f"{leak} http://10.1.2.3:9999/v1/chat", **wait)


async def context(stage: Stage) -> None:
    """llama.cpp's refusal of a prompt that is too long."""
    error = {"code": 400, "type": "exceed_context_size_error", "message": "the request exceeds the available context",
             "n_prompt_tokens": 9000, "n_ctx": 4096}  # fmt: skip
    await stage.json(400, {"error": error})


async def redirect(stage: Stage) -> None:
    await stage.text(302, "text/plain", b"", location=stage.given.get("to", "http://127.0.0.1:9/"))


async def unicode(stage: Stage) -> None:
    """U+2028, U+0085, NUL, an emoji split over two writes, lone surrogates, raw UTF-8 and escapes."""
    texts = ["a\u2028b", "c\u0085d", "nul\x00", "\x0b\x0c\x1c", "\ud83d", "\ude00", "ñ"]
    if not stage.streamed:
        await stage.json(200, stage.whole("".join(texts), stage.usage(len(texts) + 1)))
        return
    await stage.begin()
    await stage.role()
    for text in texts:
        raw = json.dumps(stage.chunk({"content": text}), ensure_ascii="\ud800" <= text <= "\udfff")
        await stage.event(raw)
        stage.exchange.deltas += 1
    whole = b"data: " + json.dumps(stage.chunk({"content": "😀"}), ensure_ascii=False).encode() + b"\r\n\r\n"
    middle = whole.index("😀".encode()) + 2
    for part in (whole[:middle], whole[middle:-1], whole[-1:]):
        await stage.connection.write(part)
        await stage.connection.pause(30)
    stage.exchange.deltas += 1
    await stage.finish()
    await stage.last_usage(stage.usage(len(texts) + 1))
    await stage.done()


async def bad_utf8(stage: Stage) -> None:
    """One delta holds a byte that is not UTF-8."""
    await stage.begin()
    await stage.role()
    raw = json.dumps(stage.chunk({"content": "x?y"})).encode().replace(b"x?y", b"x\xffy")
    await stage.event(raw)
    stage.exchange.deltas += 1
    await stage.finish()
    await stage.last_usage(stage.usage(1))
    await stage.done()


async def reasoning(stage: Stage) -> None:
    """Five deltas of reasoning under the name `field` (reasoning), then n of text."""
    name, texts = stage.given.get("field", "reasoning"), words(stage.n)
    usage = stage.usage(5 + len(texts), completion_tokens_details={"reasoning_tokens": 5})
    if not stage.streamed:
        await stage.json(200, stage.whole("".join(texts), usage, **{name: "think " * 5}))
        return
    await stage.begin()
    await stage.role()
    for _ in range(5):
        await stage.event(stage.chunk({name: "think "}))
        stage.exchange.deltas += 1
        await stage.connection.pause(stage.number("gap", 0))
    await stage.deltas(texts)
    await stage.finish()
    await stage.last_usage(usage)
    await stage.done()


async def bare(stage: Stage) -> None:
    """Neither a role nor a finish_reason, and an engine's own fields everywhere."""
    if not stage.streamed:
        whole = stage.whole("".join(words(stage.n)), stage.usage(stage.n))
        await stage.json(200, {**whole, "kv_transfer_params": None, "prompt_logprobs": None, "_debug_info": CANARY})
        return
    await stage.begin()
    for text in words(stage.n):
        await stage.event(stage.chunk({"content": text}, _debug_info=CANARY))
        stage.exchange.deltas += 1
    await stage.last_usage(stage.usage(stage.n))
    await stage.done()


async def huge_line(stage: Stage) -> None:
    """One line of `mb` megabytes (200) without an end."""
    await stage.begin()
    await stage.connection.write(b"data: ")
    for _ in range(int(stage.number("mb", 200)) * 16):
        await stage.connection.write(b"x" * 65536)
    await stage.done()


async def huge_body(stage: Stage) -> None:
    """A JSON answer of `mb` megabytes (200)."""
    await stage.connection.head(200, "application/json")
    for _ in range(int(stage.number("mb", 200)) * 16):
        await stage.connection.write(b" " * 65536)
    await stage.connection.end()


async def bomb(stage: Stage) -> None:
    """A gzip bomb that nobody asked for."""
    await stage.text(200, "application/json", gzip.compress(b" " * 50_000_000), content_encoding="gzip")


async def cookie(stage: Stage) -> None:
    """As ok, and sets a cookie."""
    body = json.dumps(stage.whole("".join(words(stage.n)), stage.usage(stage.n))).encode()
    await stage.text(200, "application/json", body, set_cookie="engine=secret; Path=/")


async def tool(stage: Stage) -> None:
    """A tool call in three deltas."""
    call: Json = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    if not stage.streamed:
        whole = stage.whole("", stage.usage(3), tool_calls=[call])
        await stage.json(200, whole)
        return
    await stage.begin()
    await stage.event(stage.chunk({"role": "assistant", "content": None, "tool_calls": [call]}))
    for part in ('{"city": ', '"Lugo"}'):
        await stage.event(stage.chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}))
        stage.exchange.deltas += 1
    await stage.finish("tool_calls")
    await stage.last_usage(stage.usage(3))
    await stage.done()


async def choices(stage: Stage) -> None:
    """`n` of the request (2) answers at once, `words` deltas each (3), by turns; the first ends before the last of
    others.

    With `cut` the connection ends once the first has finished; with `forget` the others do not say that they have;
    with `one` the usage is that of one answer, as llama.cpp has it, and each event says how far its own has come.
    `gap`: milliseconds after each delta of all.
    """
    number, length = int(stage.body.get("n") or 2), int(stage.number("words", 3))
    reported = length if "one" in stage.given else length * number
    if not stage.streamed:
        whole = stage.whole("".join(words(length)), stage.usage(reported))
        whole["choices"] = [{**whole["choices"][0], "index": index} for index in range(number)]
        await stage.json(200, whole)
        return
    await stage.begin()
    for index in range(number):
        await stage.event(stage.chunk({"role": "assistant", "content": ""}, index=index))
    for place, text in enumerate(words(length)[:-1], start=1):
        so_far = {"timings": {"prompt_n": stage.prompt_tokens, "predicted_n": place}} if "one" in stage.given else {}
        for index in range(number):
            await stage.event(stage.chunk({"content": text}, index=index, **so_far))
            stage.exchange.deltas += 1
        await stage.connection.pause(stage.number("gap", 0))
    for index in range(number):
        await stage.event(stage.chunk({"content": words(length)[-1]}, index=index))
        if index == 0 or "forget" not in stage.given:
            await stage.event(stage.chunk({}, finish="stop", index=index))
        stage.exchange.deltas += 1
        if "cut" in stage.given:
            await stage.connection.end()
            return
    await stage.last_usage(stage.usage(reported))
    await stage.done()


async def created(stage: Stage) -> None:
    """As ok, and `created` is another in every event."""
    await stage.begin()
    for place, text in enumerate(words(stage.n)):
        said = {"role": "assistant", "content": text} if place == 0 else {"content": text}
        await stage.event({**stage.chunk(said), "created": 1_790_000_000 + place})
        stage.exchange.deltas += 1
    await stage.finish()
    await stage.last_usage(stage.usage(stage.n))
    await stage.done()


async def crlf(stage: Stage) -> None:
    """As ok, and lines end with CRLF; `size` bytes a write (7)."""
    await stage.begin()
    chunks = [stage.chunk({"content": text}) for text in words(stage.n)]
    usage = {**stage.chunk(), "choices": [], "usage": stage.usage(stage.n)}
    events = [*map(json.dumps, [stage.chunk({"role": "assistant", "content": ""}), *chunks, stage.chunk(finish="stop"),
                                usage]), "[DONE]"]  # fmt: skip
    raw = "".join(f"data: {event}\r\n\r\n" for event in events).encode()
    size = int(stage.number("size", 7))
    for place in range(0, len(raw), size):
        await stage.connection.write(raw[place : place + size])
    stage.exchange.deltas = stage.n
    await stage.connection.end()


async def timings(stage: Stage) -> None:
    """llama.cpp's running count in every event, and no usage; `cached` of the prompt's tokens (2) were known."""
    stage.exchange.cached = cached = int(stage.number("cached", 2))

    def counted(completion: int) -> Json:
        return {"prompt_n": stage.prompt_tokens - cached, "cache_n": cached, "predicted_n": completion,
                "prompt_ms": 1.5, "predicted_per_second": 50.0}  # fmt: skip

    if not stage.streamed:
        stage.exchange.made = stage.n
        await stage.json(200, {**stage.whole("".join(words(stage.n)), None), "timings": counted(stage.n)})
        return
    await stage.begin()
    await stage.role()
    for place, text in enumerate(words(stage.n), start=1):
        await stage.event(stage.chunk({"content": text}, timings=counted(place)))
        stage.exchange.deltas += 1
    await stage.event(stage.chunk(finish="stop", timings=counted(stage.n)))
    await stage.done()


async def refuses(stage: Stage) -> None:
    """The status `code` (400) with the body that the request's `refusal` holds, JSON or text."""
    told = stage.body.get("refusal") or {}
    raw = told.encode() if isinstance(told, str) else json.dumps(told).encode()
    kind = "text/html" if isinstance(told, str) else "application/json"
    await stage.text(int(stage.number("code", 400)), kind, raw)


ODD_VECTORS: Json = {
    "nan": [float("nan")], "nan64": "AADAfw==", "word": ["x"], "short": "QUJD", "text": "###", "big": [10**400],
    "object": {}, "null": None,
}  # fmt: skip


async def embed(stage: Stage) -> None:
    """Embeddings. `encoding` is used whatever is asked for; `usage=0` leaves it out; `odd` names a fault."""
    given = embedded(stage.body.get("input"))
    wanted = stage.given.get("encoding") or stage.body.get("encoding_format") or "float"
    vectors = [vector(one, int(stage.body.get("dimensions") or 4)) for one in given]
    data = [
        {"object": "embedding", "index": place, "embedding": packed(one) if wanted == "base64" else one}
        for place, one in enumerate(vectors)
    ]
    answer: Json = {"object": "list", "data": data, "model": stage.exchange.model}
    if stage.given.get("usage") != "0":
        tokens = sum(len(one.split()) if isinstance(one, str) else len(one) for one in given)
        answer["usage"] = stage.exchange.reported = {"prompt_tokens": tokens, "total_tokens": tokens}
    odd = stage.given.get("odd", "")
    if odd == "order":
        data.reverse()
    elif odd == "extra":
        data[0]["_debug_info"] = CANARY
    elif odd:
        data[0]["embedding"] = ODD_VECTORS[odd]
    await stage.text(200, "application/json", json.dumps(answer, indent=1).encode())


SCENARIOS: dict[str, Scenario] = {
    "ok": ok, "drip": drip, "slow": slow, "echo": echo, "bytes": bytewise, "hang": hang, "hang-headers": hang_headers,
    "stall": stall, "comments": comments, "rst": rst, "cut": cut, "eof": eof, "bad-chunk": bad_chunk, "refuse": refuse,
    "nousage": nousage, "usage-twice": usage_twice, "usage-each": usage_each, "usage-after-done": usage_after_done,
    "usage-negative": usage_negative, "usage-huge": usage_huge, "usage-string": usage_string, "malformed": malformed,
    "error200": error200, "error-event": error_event, "error-late": error_late, "html": html, "json": json_for_stream,
    "429": too_many, "status": status, "context": context, "redirect": redirect, "unicode": unicode,
    "bad-utf8": bad_utf8, "reasoning": reasoning, "bare": bare, "huge-line": huge_line, "huge-body": huge_body,
    "bomb": bomb, "cookie": cookie, "tool": tool, "choices": choices, "created": created, "crlf": crlf,
    "timings": timings, "refuses": refuses, "embed": embed,
}  # fmt: skip
# Those that an engine can come to whatever it speaks.
FAILING = frozenset({"hang", "refuse", "429", "html", "redirect"})


async def _ollama(stage: Stage) -> None:
    """Ollama's native answer: n words as JSON lines, counts in the last one."""
    if stage.exchange.scenario in {"status", "context"}:
        told = "the input length exceeds the context length" if stage.exchange.scenario == "context" else "no luck"
        await stage.json(int(stage.number("code", 400)), {"error": told})
        return
    if stage.exchange.path == "/api/embed":
        await _ollama_embed(stage)
        return
    generated = stage.exchange.path.startswith("/api/generate")
    gap = stage.number("gap", 0)

    def line(text: str, **more: Any) -> Json:
        said = {"response": text} if generated else {"message": {"role": "assistant", "content": text}}
        return {"model": stage.exchange.model, "created_at": "2026-11-23T00:00:00Z", **said, "done": False, **more}

    texts = words(stage.n)
    stage.usage(len(texts))
    last = {"done": True, "done_reason": "stop", "prompt_eval_count": stage.prompt_tokens, "eval_count": len(texts)}
    if stage.body.get("stream") is False:
        await stage.json(200, {**line("".join(texts)), **last})
        return
    await stage.connection.head(200, "application/x-ndjson")
    for text in texts:
        await stage.connection.write(json.dumps(line(text)).encode() + b"\n")
        stage.exchange.deltas += 1
        await stage.connection.pause(gap)
    await stage.connection.write(json.dumps({**line(""), **last}).encode() + b"\n")
    await stage.connection.end()


async def _ollama_embed(stage: Stage) -> None:
    given = stage.body.get("input")
    texts = given if isinstance(given, list) else [given]
    tokens = sum(len(text.split()) for text in texts)
    counts = {} if stage.given.get("usage") == "0" else {"prompt_eval_count": tokens}
    vectors = [vector(text, int(stage.body.get("dimensions") or 4)) for text in texts]
    await stage.json(200, {"model": stage.exchange.model, "embeddings": vectors, "total_duration": 1, **counts})


def counted(exchanges: list[Exchange]) -> tuple[int, int, int, int]:
    """Prompt, cached prompt and completion tokens, and requests: what an engine's own counters say of these."""
    answered = [one for one in exchanges if one.made or one.deltas or (one.reported and one.ended_at)]
    prompt = sum(count_input(one.body) for one in answered)
    return prompt, sum(one.cached for one in answered), sum(one.made + one.deltas for one in answered), len(answered)


def count_input(body: Json) -> int:
    if "input" not in body:
        return count_prompt(body)
    return sum(len(one.split()) if isinstance(one, str) else len(one) for one in embedded(body["input"]))


def as_vllm(exchanges: list[Exchange], started: float) -> str:
    """vLLM's page, as two inner engines have it, with what stands beside the counters."""
    prompt, _, completion, requests = counted(exchanges)
    halves = ({"0": prompt // 2, "1": prompt - prompt // 2}, {"0": completion, "1": 0}, {"0": requests, "1": 0})
    names = ("vllm:prompt_tokens", "vllm:generation_tokens", "vllm:request_success")
    lines = ["# HELP python_info Python platform information", "# TYPE python_info gauge",
             'python_info{implementation="CPython",version="3.12.11"} 1.0', "vllm:bad{ line",
             f"process_start_time_seconds {started!r}"]  # fmt: skip
    for name, values in zip(names, halves, strict=True):
        lines += [f"# HELP {name}_total Number of them.", f"# TYPE {name}_total counter"]
        more = ',finished_reason="stop"' if name.endswith("success") else ""
        lines += [
            f'{name}_total{{engine="{inner}",model_name="served \\"name\\""{more}}} {float(value)!r}'
            for inner, value in values.items()
        ]
        lines += [f'{name}_created{{engine="0",model_name="served"}} 1.79e+09']
    return "\n".join(lines) + "\n"


def as_llamacpp(exchanges: list[Exchange], before: int = 0, *, cached_too: bool = True) -> str:
    """llama.cpp's page, which writes six digits. `before`: completion tokens from before the first exchange."""
    prompt, cached, completion, _ = counted(exchanges)
    values = {"prompt_tokens_total": prompt - cached, "tokens_predicted_total": completion + before,
              "prompt_seconds_total": 1.5}  # fmt: skip
    if cached_too:
        values["prompt_tokens_cached_total"] = cached
    return "".join(
        f"# HELP llamacpp:{name} Of tokens.\n# TYPE llamacpp:{name} counter\nllamacpp:{name} {value:.6g}\n"
        for name, value in values.items()
    )


class Faultd:
    """The server itself, inside one event loop."""

    def __init__(self, models: tuple[str, ...] = MODELS, secret: str = "") -> None:
        self.models, self.secret = models, secret
        self.requests: list[Exchange] = []
        self.port = 0
        self.well = True  # False: whoever looks is answered with 503
        self.failing = 0  # so many calls from now on are answered with `failing_with`
        self.failing_with = 503
        self.counts_as = ""  # whose counters /metrics shows: METRICS below; "" shows none
        self.counted_from = 0  # the first request of this "process"
        self.counted_before = 0  # completion tokens from before it, for large numbers
        self.started = time.time()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, port: int, ready: Callable[[], None]) -> None:
        """Runs until cancelled."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", port, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        ready()
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = Connection(reader, writer)
        try:
            while (request := await connection.request()) is not None:
                await self._answer(connection, *request)
                if writer.is_closing():
                    break
        except (Gone, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _answer(
        self, connection: Connection, method: str, path: str, headers: dict[str, str], raw: bytes
    ) -> None:
        body = json.loads(raw) if raw.strip() else {}
        exchange = Exchange(path=path, headers=headers, body=body)
        if not path.startswith("/_"):
            self.requests.append(exchange)
        connection.watch = asyncio.create_task(connection.reader.read(1))
        try:
            await self._play(connection, exchange, method)
            exchange.ended_at = time.monotonic()
        except (Gone, ConnectionError) as error:
            exchange.closed_at = time.monotonic()
            raise Gone from error
        finally:
            await connection.unwatch()

    async def _play(self, connection: Connection, exchange: Exchange, method: str) -> None:
        stage = Stage(connection, exchange, {})
        if self.secret and exchange.headers.get("authorization") != f"Bearer {self.secret}":
            await stage.error(401, "Unauthorized")
        elif method == "GET":
            await self._look(stage)
        else:
            await self._complete(stage)

    async def _metrics(self, stage: Stage) -> None:
        """Also pages that are none: `slow`, `huge`, `garbage`, `nan`, `unknown`, `html`, or a status."""
        seen = self.requests[self.counted_from :]
        lie = "vllm:prompt_tokens_total 5\nvllm:generation_tokens_total"
        pages = {
            "vllm": lambda: as_vllm(seen, self.started),
            "llamacpp": lambda: as_llamacpp(seen, self.counted_before),
            "llamacpp-old": lambda: as_llamacpp(seen, self.counted_before, cached_too=False),
            "huge": lambda: "x" * (16 << 20),
            "garbage": lambda: f'{lie}{{model_name="half\n',
            "nan": lambda: f"{lie} NaN\n",
            "negative": lambda: f"{lie} -4\n",
            "vast": lambda: f"{lie} 1e300\n",
            "unknown": lambda: "# TYPE http_requests_total counter\nhttp_requests_total 4\n",
            "html": lambda: "<!doctype html><title>Sign in</title>",
        }
        if self.counts_as.isdigit():
            await stage.error(int(self.counts_as), "no metrics here")
            return
        if self.counts_as == "slow":
            await stage.connection.head(200, "text/plain; version=0.0.4")
            await stage.connection.pause(3_600_000)
        more = {}
        if self.counts_as.startswith("llamacpp"):
            more["process_start_time_unix"] = str(int(self.started * 1e6))
        await stage.text(200, "text/plain; version=0.0.4", pages[self.counts_as]().encode(), **more)

    async def _look(self, stage: Stage) -> None:
        if stage.exchange.path == "/metrics" and self.counts_as:
            await self._metrics(stage)
            return
        if stage.exchange.path == "/_log":  # long after thousands of calls, so written for who asks for it alone
            seen = [asdict(exchange) for exchange in self.requests]
            await stage.json(200, {"requests": seen, "now": time.monotonic()})
            return
        cards = [
            {"id": name, "object": "model", "owned_by": "faultd", "max_model_len": CONTEXT} for name in self.models
        ]
        pages: dict[str, Json] = {
            "/v1/models": {"object": "list", "data": cards},
            "/api/tags": {"models": [{"name": name, "model": name} for name in self.models]},
            "/api/version": {"version": "0.0.1-fault"},
            "/version": {"version": "0.11.0"},
            "/health": {"status": "ok"},
            "/props": {
                "default_generation_settings": {"n_ctx": CONTEXT // 2},
                "total_slots": 2,
                "build_info": "b7000",
            },
        }
        page = pages.get(stage.exchange.path)
        if not self.well:
            await stage.error(503, "loading")
            return
        await (stage.json(200, page) if page is not None else stage.error(404, "no such page"))

    async def _complete(self, stage: Stage) -> None:
        if stage.exchange.path == "/api/show":
            await stage.json(200, {"model_info": {"fault.context_length": CONTEXT}, "capabilities": ["completion"]})
            return
        stage.exchange.model = model = str(stage.body.get("model", ""))
        asked = _last_user(stage.body)
        chosen = asked if asked.startswith("fault:") else model
        name, _, rest = chosen.partition(" ")[0].removeprefix("fault:").partition("?")
        stage.given = dict(parse_qsl(rest))
        stage.exchange.scenario = name if chosen.startswith("fault:") else "ok"
        if self.failing:
            self.failing -= 1
            await stage.error(self.failing_with, "not now")
            return
        if stage.exchange.path.startswith("/api/") and stage.exchange.scenario not in FAILING:
            await _ollama(stage)
            return
        if stage.exchange.path.endswith("/embeddings") and stage.exchange.scenario == "ok":
            stage.exchange.scenario = "embed"
        scenario = SCENARIOS.get(stage.exchange.scenario)
        await (scenario(stage) if scenario else stage.error(404, f"no scenario {name}"))


class FaultEngine:
    """The fault engine in a thread of this process."""

    def __init__(self, *, models: tuple[str, ...] = MODELS, secret: str = "", port: int = 0) -> None:
        self._faultd = Faultd(models, secret)
        self._asked_port = port
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="faultd", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._faultd.port}"

    @property
    def requests(self) -> list[Exchange]:
        """Every request so far, the oldest first."""
        return self._faultd.requests

    def completions(self) -> list[Exchange]:
        """The requests that asked for an answer."""
        return [exchange for exchange in self.requests if exchange.model]

    def at_once(self) -> int:
        """The most answers that were in the making at the same time."""
        now = time.monotonic()
        spans = [(one.began_at, one.closed_at or one.ended_at or now) for one in self.completions()]
        return max((sum(begin <= moment < end for begin, end in spans) for moment, _ in spans), default=0)

    def fail_next(self, calls: int, status: int = 503) -> None:
        """So many calls from now on are answered with this status."""
        self._faultd.failing, self._faultd.failing_with = calls, status

    @property
    def well(self) -> bool:
        """Whether it says that it is, to whoever looks."""
        return self._faultd.well

    @well.setter
    def well(self, well: bool) -> None:
        self._faultd.well = well

    def count_as(self, whose: str, *, before: int = 0) -> None:
        """Shows counters of this kind from now on, or a page that is none."""
        self._faultd.counts_as, self._faultd.counted_before = whose, before

    def start_anew(self) -> None:
        """Its counters begin again, as after a restart."""
        self._faultd.counted_from, self._faultd.counted_before = len(self.requests), 0
        self._faultd.started = time.time()

    def wait_for(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Waits until the condition holds; fails after a generous while."""
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, "the fault engine did not see what was waited for"
            time.sleep(0.01)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._faultd.serve(self._asked_port, self._ready.set))
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", action="append", help="a model that /v1/models lists; may be repeated")
    parser.add_argument("--secret", default="", help="the key that callers must bear")
    given = parser.parse_args()
    server = Faultd(tuple(given.model or MODELS), given.secret)

    def ready() -> None:
        print(f"http://127.0.0.1:{server.port}", flush=True)  # noqa: T201  the caller reads the address here

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(server.serve(given.port, ready))


if __name__ == "__main__":
    main()
