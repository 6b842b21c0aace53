"""An engine's answer as callers see it: the id they asked for, one name for reasoning, no engine's private fields.

An event is rebuilt only when a field must go or come; for another model id the bytes are spliced, and where nothing
must change they pass as they came. Most events of a stream are not even parsed: see `gateway.stencils`.
"""

import re
from collections.abc import Mapping
from time import time
from typing import Any, NamedTuple
from uuid import uuid4

from billing.records import Counts
from gateway.dialects import OPENAI, Dialect
from gateway.engines.client import parsed_object, written
from gateway.engines.facts import Item, Json, Kind, Route
from gateway.errors import EngineFailed, UnreadableAnswer
from gateway.stencils import Stencils

BAD_EVENTS = 5  # of one stream that are skipped; one more ends it

TOP = frozenset({"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"})
CHOICE = frozenset({"index", "delta", "message", "text", "finish_reason", "logprobs"})
MESSAGE = frozenset(
    {"role", "content", "refusal", "reasoning_content", "tool_calls", "function_call", "annotations", "audio"}
)
# Inside a JSON string a quote is always escaped, so this meets keys alone.
_MODEL = re.compile(rb'(?<!\\)"model"\s*:\s*"(?:[^"\\]|\\.)*"')


class Shaped(NamedTuple):
    """An engine's event after its shaping. `data` is None when it holds nothing for callers (usage alone)."""

    data: bytes | None
    counts: bool  # its delta brings something
    finishes: bool = False
    usage: object = None


def said(data: bytes) -> tuple[str, str]:
    """What an event that goes out adds, in text and in reasoning."""
    choices = (parsed_object(data) or {}).get("choices") or []
    found = [_said(choice.get("delta", choice)) for choice in choices]
    return "".join(text for text, _ in found), "".join(reasoning for _, reasoning in found)


class Shaper:
    """Shapes the events of one stream, or one whole answer."""

    def __init__(self, route: Route, asked_model: str, kind: Kind, dialect: Dialect = OPENAI) -> None:
        self.answer_id = ""
        self.backend = {"engine_type": route.engine.type, "machine_name": route.engine.machine_name}
        self._model = asked_model
        self._dialect = dialect
        self._chat = kind is Kind.CHAT
        self._bad = 0  # events that could not be read
        self.stencils = Stencils()  # for events like those before: to be tried first
        self._begun: set[object] = set()  # choices that have had their role
        self._ended: set[object] = set()  # choices that have said why they end
        self._base: Json = {}

    @property
    def finished(self) -> bool:
        """Whether every choice has said why it ends."""
        return bool(self._begun) and self._begun <= self._ended

    def event(self, item: Item) -> Shaped | None:
        """None for an event that cannot be read. Raises UnreadableAnswer when they become many, EngineFailed for an
        engine's error.
        """
        parsed = parsed_object(item) if isinstance(item, bytes) else item
        if parsed is not None and is_error(parsed):
            raise EngineFailed("The engine met an error.")
        if parsed is None or not _are_choices(parsed.get("choices")):
            self._bad += 1
            if self._bad > BAD_EVENTS:
                raise UnreadableAnswer("The engine's answer cannot be read.")
            return None
        return self._shaped(item, parsed)

    def _shaped(self, item: Item, parsed: Json) -> Shaped:
        usage, choices = parsed.get("usage") or timed(parsed.get("timings")), parsed["choices"]
        self._name(parsed)
        if not choices:
            return Shaped(None, counts=False, usage=usage)
        begun = len(self._begun)
        texts: list[str] = []
        counts, finishes, mended = False, False, self._strange(parsed)
        for choice in choices:
            mended = self._mend_choice(choice) or mended
            told = self._told(choice)
            texts += told
            counts = counts or bool(told) or _calls_tool(choice.get("delta"))
            if choice.get("finish_reason"):
                finishes = True
                self._ended.add(choice.get("index", 0))
        data = self._rebuilt(parsed) if mended or not isinstance(item, bytes) else self._spliced(item, parsed)
        if finishes:
            data = self._with_backend(data)
        elif isinstance(item, bytes) and len(texts) == 1 and usage is None and begun == len(self._begun):
            self.stencils.learn(item, self._like)
        return Shaped(data, counts, finishes, usage)

    def _like(self, data: bytes, text: str) -> bytes | None:
        """An event whose like has just been shaped, as it goes out; None unless this is all that it says."""
        parsed = parsed_object(data)
        if parsed is None or not _are_choices(parsed.get("choices")):
            return None
        mended = any([self._strange(parsed), *map(self._mend_choice, parsed["choices"])])
        if [told for choice in parsed["choices"] for told in self._told(choice)] != [text]:
            return None
        return self._rebuilt(parsed) if mended else self._spliced(data, parsed)

    def _told(self, choice: Json) -> list[str]:
        return [text for text in _said(choice.get("delta") if self._chat else choice) if text]

    def closing(self) -> bytes:
        """The finish that an engine forgot."""
        said: Json = {"delta": {}} if self._chat else {"text": ""}
        left = list(self._begun - self._ended) or [0]
        choices = [{"index": index, **said, "finish_reason": "stop"} for index in left]
        return self._with_backend(written({**self._base, "choices": choices}))

    def usage(self, counts: Counts, reported: Mapping[str, Any]) -> bytes:
        """The one event that carries usage, for callers who asked for it."""
        return self._with_backend(written({**self._base, "choices": [], "usage": usage_of(counts, reported)}))

    def whole(self, answer: Json) -> list[str]:
        """Mends the answer in place, all but its usage, and returns its choices' texts. Raises UnreadableAnswer."""
        choices = answer.get("choices")
        if not choices or not _are_choices(choices):
            raise UnreadableAnswer("The engine's answer cannot be read.")
        self._name(answer)
        texts: list[str] = []
        for choice in choices:
            self._mend_choice(choice)
            message = choice.get("message") if self._chat else choice
            if not isinstance(message, dict):
                raise UnreadableAnswer("The engine's answer cannot be read.")
            if self._chat:
                message.setdefault("role", "assistant")
                if message.get("content") is None and not message.get("tool_calls"):
                    message["content"] = ""
                for name, value in self._dialect.message.items():
                    message.setdefault(name, value)
            texts.append("".join(_said(message)))
        for extra in answer.keys() - TOP:
            del answer[extra]
        answer |= self._base | {"object": "chat.completion" if self._chat else "text_completion"}
        answer |= self._dialect.answer
        return texts

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

    def _strange(self, parsed: Json) -> bool:
        """Whether it holds something beside its choices that must not go out so."""
        return not parsed.keys() <= TOP or parsed.get("usage") is not None or parsed.get("id") != self.answer_id

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

    def _spliced(self, data: bytes, parsed: Json) -> bytes:
        named = parsed.get("model")
        if named == self._model:
            return data
        if named is None:
            return self._rebuilt(parsed)
        return _MODEL.sub(lambda _: b'"model":' + written(self._model), data)

    def _with_backend(self, data: bytes) -> bytes:
        return data[: data.rindex(b"}")] + b',"backend":' + written(self.backend) + b"}"


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


def timed(timings: object) -> Json | None:
    """llama.cpp's running count, where no usage is beside it: `prompt_n` leaves out what was cached."""
    if not isinstance(timings, dict):
        return None
    prompt, cached, completion = timings.get("prompt_n"), timings.get("cache_n", 0), timings.get("predicted_n")
    if type(prompt) is not int or type(cached) is not int or type(completion) is not int:
        return None
    return {"prompt_tokens": prompt + cached, "completion_tokens": completion, "cached_tokens": cached}


def is_error(found: Json) -> bool:
    """OpenAI's form, and the one of older vLLM."""
    return bool(found.get("error")) or found.get("object") == "error"


def _are_choices(found: object) -> bool:
    return isinstance(found, list) and all(map(_is_choice, found))


def _is_choice(one: object) -> bool:
    if not isinstance(one, dict) or isinstance(one.get("index"), dict | list):
        return False
    return all(isinstance(one.get(name), dict | None) for name in ("delta", "message"))


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
