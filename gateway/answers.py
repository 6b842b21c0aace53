"""An engine's answer as callers see it: the id they asked for, one name for reasoning, no engine's private fields.

An event is rebuilt only when a field must go or come; for another model id the bytes are spliced, and where nothing
must change they pass as they came.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from time import time
from typing import Any
from uuid import uuid4

from billing.records import Counts
from gateway.engines.client import Chunk, Json, Route, written
from gateway.errors import UnreadableAnswer

TOP = frozenset({"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"})
CHOICE = frozenset({"index", "delta", "message", "text", "finish_reason", "logprobs"})
MESSAGE = frozenset(
    {"role", "content", "refusal", "reasoning_content", "tool_calls", "function_call", "annotations", "audio"}
)
# Inside a JSON string a quote is always escaped, so this meets keys alone.
_MODEL = re.compile(rb'(?<!\\)"model"\s*:\s*"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream: the JSON that goes out, and what its delta adds."""

    data: bytes
    text: str
    reasoning: str


@dataclass(frozen=True, slots=True)
class Shaped:
    """An engine's event after its shaping. `event` is None when it holds nothing for callers (usage alone)."""

    event: Event | None
    counts: bool  # its delta brings something
    finishes: bool
    usage: object


class Shaper:
    """Shapes the events of one stream, or one whole answer."""

    def __init__(self, route: Route, asked_model: str, *, chat: bool) -> None:
        self.answer_id = ""
        self.finished = False
        self.backend = {"engine_type": route.engine.type, "machine_name": route.engine.machine_name}
        self._model = asked_model
        self._model_bytes = b'"model":' + json.dumps(asked_model, ensure_ascii=False).encode()
        self._backend_bytes = b',"backend":' + written(self.backend) + b"}"
        self._chat = chat
        self._begun: set[int] = set()  # choices that have had their role
        self._base: Json = {}

    def chunk(self, chunk: Chunk) -> Shaped:
        parsed = chunk.parsed
        usage, choices = parsed.get("usage"), parsed["choices"]
        self._name(parsed)
        if not choices:
            return Shaped(None, counts=False, finishes=False, usage=usage)
        rebuild = not parsed.keys() <= TOP or usage is not None or parsed.get("id") != self.answer_id
        text, reasoning, counts, finishes = "", "", False, False
        for choice in choices:
            if not isinstance(choice, dict):
                raise UnreadableAnswer("The engine's answer cannot be read.")
            rebuild = self._mend_choice(choice) or rebuild
            delta = choice.get("delta") if self._chat else choice
            said = _said(delta)
            text, reasoning = text + said[0], reasoning + said[1]
            counts = counts or bool(said[0] or said[1]) or _calls_tool(delta)
            finishes = finishes or bool(choice.get("finish_reason"))
        self.finished = self.finished or finishes
        data = self._rebuilt(parsed) if rebuild else self._spliced(chunk)
        if finishes:
            data = self._with_backend(data)
        return Shaped(Event(data, text, reasoning), counts, finishes, usage)

    def closing(self) -> Event:
        """The finish that an engine forgot."""
        said: Json = {"delta": {}} if self._chat else {"text": ""}
        choice = {"index": 0, **said, "finish_reason": "stop"}
        return Event(self._with_backend(written({**self._base, "choices": [choice]})), "", "")

    def usage(self, counts: Counts, reported: Mapping[str, Any]) -> Event:
        """The one event that carries usage, for callers who asked for it."""
        return Event(
            self._with_backend(written({**self._base, "choices": [], "usage": usage_of(counts, reported)})), "", ""
        )

    def whole(self, answer: Json) -> str:
        """Mends the answer in place, all but its usage, and returns its text. Raises UnreadableAnswer."""
        choices = answer.get("choices")
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices) or not choices:
            raise UnreadableAnswer("The engine's answer cannot be read.")
        self._name(answer)
        text = ""
        for choice in choices:
            self._mend_choice(choice)
            message = choice.get("message") if self._chat else choice
            if not isinstance(message, dict):
                raise UnreadableAnswer("The engine's answer cannot be read.")
            if self._chat:
                message.setdefault("role", "assistant")
                if message.get("content") is None and not message.get("tool_calls"):
                    message["content"] = ""
            text += "".join(_said(message))
        for extra in answer.keys() - TOP:
            del answer[extra]
        answer |= self._base | {"object": "chat.completion" if self._chat else "text_completion"}
        return text

    def _name(self, parsed: Json) -> None:
        """Takes the answer's id and time from its first event, or makes them."""
        if self._base:
            return
        given = parsed.get("id")
        fits = isinstance(given, str) and 0 < len(given) <= 200
        self.answer_id = str(given) if fits else f"{'chatcmpl' if self._chat else 'cmpl'}-{uuid4().hex}"
        created = parsed.get("created")
        self._base = {
            "id": self.answer_id,
            "object": "chat.completion.chunk" if self._chat else "text_completion",
            "created": created if type(created) is int else int(time()),
            "model": self._model,
        }

    def _mend_choice(self, choice: Json) -> bool:
        """Mends one choice in place; whether anything was to mend."""
        extras = choice.keys() - CHOICE
        for extra in extras:
            del choice[extra]
        mended = bool(extras)
        message = choice.get("delta", choice.get("message"))
        if self._chat and isinstance(message, dict):
            mended = _mend_message(message) or mended
        index = choice.get("index", 0)
        if index not in self._begun:
            self._begun.add(index)
            if self._chat and "message" not in choice:
                delta = choice.get("delta") or {}
                if delta.get("role") != "assistant":
                    choice["delta"] = {"role": "assistant", **{k: v for k, v in delta.items() if k != "role"}}
                    mended = True
        return mended

    def _rebuilt(self, parsed: Json) -> bytes:
        kept = {name: value for name, value in parsed.items() if name in TOP and name != "usage"}
        return written({**kept, **self._base})

    def _spliced(self, chunk: Chunk) -> bytes:
        named = chunk.parsed.get("model")
        if named == self._model:
            return chunk.data
        if named is None:
            return self._rebuilt(chunk.parsed)
        return _MODEL.sub(lambda _: self._model_bytes, chunk.data)

    def _with_backend(self, data: bytes) -> bytes:
        return data[: data.rindex(b"}")] + self._backend_bytes


def usage_of(counts: Counts, reported: Mapping[str, Any]) -> Json:
    """Usage in OpenAI's form, with Cloud Temple's flat `reasoning_tokens` beside OpenAI's place for it."""
    details = reported.get("completion_tokens_details")
    reasoning = counts.reasoning_tokens or 0
    usage: Json = {
        "prompt_tokens": counts.prompt_tokens,
        "completion_tokens": counts.completion_tokens,
        "total_tokens": counts.prompt_tokens + counts.completion_tokens,
        "reasoning_tokens": reasoning,
        "completion_tokens_details": {
            **(details if isinstance(details, dict) else {}),
            "reasoning_tokens": reasoning,
        },
    }
    if counts.cached_tokens is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": counts.cached_tokens}
    return usage


def _mend_message(message: Json) -> bool:
    mended = False
    if "reasoning" in message:
        reasoning = message.pop("reasoning")
        if reasoning is not None:
            message.setdefault("reasoning_content", reasoning)
        mended = True
    for extra in message.keys() - MESSAGE:
        del message[extra]
        mended = True
    return mended


def _said(message: object) -> tuple[str, str]:
    """Text and reasoning of a delta, a message or a text choice."""
    if not isinstance(message, dict):
        return "", ""
    text = message.get("content", message.get("text"))
    reasoning = message.get("reasoning_content")
    return text if isinstance(text, str) else "", reasoning if isinstance(reasoning, str) else ""


def _calls_tool(delta: object) -> bool:
    return isinstance(delta, dict) and bool(delta.get("tool_calls") or delta.get("refusal"))
