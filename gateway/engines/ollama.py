"""Ollama through its own protocol: its OpenAI door drops `options`, and with it the context length asked for."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from time import time
from typing import Any
from uuid import uuid4

from gateway.engines.client import parsed_object, read_answer, read_json, streamed, written
from gateway.engines.clock import Clock
from gateway.engines.facts import EngineFacts, FoundModel, Item, Json, Kind, Question, Route, version_in
from gateway.engines.openai import DENIED
from gateway.engines.sse import MAX_LINE
from gateway.errors import BadRequest, BrokenOff, EngineFailed, UnreadableAnswer

# OpenAI's name → Ollama's name within `options`
OPTIONS = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "seed": "seed",
    "stop": "stop", "presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty",
    "max_tokens": "num_predict", "max_completion_tokens": "num_predict",
}  # fmt: skip
# What a caller may say in Ollama's own words: what shapes his answer. How the machine is used, and an answer without
# end (`num_predict` of -1), are not his to choose.
OWN_OPTIONS = frozenset(
    {
        "num_ctx", "temperature", "top_k", "top_p", "min_p", "typical_p", "seed", "stop", "repeat_last_n",
        "repeat_penalty", "presence_penalty", "frequency_penalty", "mirostat", "mirostat_tau", "mirostat_eta",
    }
)  # fmt: skip
TAKEN = frozenset(
    {
        *OPTIONS, "options", "messages", "prompt", "input", "tools", "response_format", "reasoning_effort", "think",
        "dimensions", "encoding_format", "user",
    }
)  # fmt: skip
ASK, COMPLETE, EMBED = "/api/chat", "/api/generate", "/api/embed"


class OllamaEngine:
    denied = DENIED - {"options"}
    taken: frozenset[str] | None = TAKEN

    async def models(self, engine: EngineFacts, clock: Clock) -> list[FoundModel]:
        listed = await read_json(engine, clock, "/api/tags", None)
        entries = listed.get("models")
        if not isinstance(entries, list):
            raise UnreadableAnswer("The engine's list of models cannot be read.")
        names = [entry["name"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("name"), str)]
        return [FoundModel(name, await self._context(engine, clock, name)) for name in names]

    async def probe(self, engine: EngineFacts, clock: Clock) -> None:
        await read_answer(engine, clock, "/api/version", None)

    async def version(self, engine: EngineFacts, clock: Clock) -> str:
        return version_in((await read_json(engine, clock, "/api/version", None)).get("version"))

    async def stream(self, route: Route, question: Question, clock: Clock) -> AsyncGenerator[list[Item]]:
        path, payload = _asked(route, question, stream=True)
        shape = _Shape(question.kind, route.engine_model)
        rest = b""
        async with streamed(route.engine, clock, path, payload, "application/x-ndjson") as reading:
            while piece := await reading.piece():
                *lines, rest = (rest + piece).split(b"\n")
                if len(rest) > MAX_LINE:
                    raise UnreadableAnswer("The engine sent a line that is too long.")
                said = [_said(line) for line in lines if line]
                yield [chunk for one in said for chunk in shape.chunks(one)]
                if any(one.get("done") for one in said):
                    return
        raise BrokenOff("The engine's answer broke off.")

    async def answer(self, route: Route, question: Question, clock: Clock) -> Item:
        path, payload = _asked(route, question, stream=False)
        said = await read_json(route.engine, clock, path, payload)
        return _Shape(question.kind, route.engine_model).whole(said)

    async def _context(self, engine: EngineFacts, clock: Clock, name: str) -> int | None:
        try:
            shown = await read_json(engine, clock, "/api/show", {"model": name})
        except EngineFailed:
            return None
        info = shown.get("model_info")
        lengths = [v for k, v in info.items() if k.endswith(".context_length")] if isinstance(info, dict) else []
        return lengths[0] if lengths and isinstance(lengths[0], int) else None


def _said(line: bytes) -> Json:
    said = parsed_object(line)
    if said is None:
        raise UnreadableAnswer("The engine's answer cannot be read.")
    if said.get("error"):
        raise EngineFailed("The engine met an error.")
    return said


def _asked(route: Route, question: Question, *, stream: bool) -> tuple[str, Json]:
    body = question.body
    own = {name: value for name, value in (body.get("options") or {}).items() if name in OWN_OPTIONS}
    options = own | {OPTIONS[name]: value for name, value in body.items() if name in OPTIONS}
    payload: Json = {"model": route.engine_model, "options": options}
    if question.kind is Kind.EMBEDDING:
        return EMBED, payload | {"input": _texts(body["input"]), **_only(body, "dimensions")}
    payload["stream"] = stream
    if (thinks := _thinks(body)) is not None:
        payload["think"] = thinks
    if (form := _form(body.get("response_format"))) is not None:
        payload["format"] = form
    if question.kind is Kind.TEXT:
        return COMPLETE, payload | {"prompt": _prompt(body["prompt"])}
    return ASK, payload | {"messages": _messages(body["messages"]), **_only(body, "tools")}


def _only(body: Mapping[str, Any], name: str) -> Json:
    return {name: body[name]} if name in body else {}


def _prompt(prompt: object) -> str:
    if isinstance(prompt, list) and len(prompt) == 1:
        (prompt,) = prompt
    if not isinstance(prompt, str):
        raise BadRequest("This model takes one prompt as a string.", param="prompt")
    return prompt


def _texts(given: str | Sequence[object]) -> str | Sequence[object]:
    if isinstance(given, str) or all(isinstance(text, str) for text in given):
        return given
    raise BadRequest("This model takes text, not token ids.", param="input")


def _thinks(body: Mapping[str, Any]) -> object:
    """Ollama's `think`: true, false or how hard. OpenAI's word for not at all is "none"."""
    if "think" in body:
        return body["think"]
    effort = body.get("reasoning_effort")
    return False if effort == "none" else effort


def _form(wanted: object) -> object:
    """`response_format` as Ollama's `format`: "json" or a JSON schema."""
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "json_object":
        return "json"
    schema = wanted.get("json_schema")
    return schema.get("schema") if isinstance(schema, dict) else None


def _messages(given: Sequence[Json]) -> list[Json]:
    """OpenAI names a tool's result by its call, Ollama by the tool."""
    calls = [call for message in given for call in message.get("tool_calls") or ()]
    tools = {call.get("id"): (call.get("function") or {}).get("name") for call in calls}
    return [_message(message, tools.get(message.get("tool_call_id"))) for message in given]


def _message(message: Json, tool: str | None) -> Json:
    content = message.get("content") or ""
    found: Json = {"role": "system" if message["role"] == "developer" else message["role"], "content": content}
    if isinstance(content, list):
        found["content"] = "\n".join(part["text"] for part in content if part.get("type") == "text")
        images = [part["image_url"]["url"].partition(",")[2] for part in content if part.get("type") == "image_url"]
        if images:
            found["images"] = images
    if tool:
        found["tool_name"] = tool
    if message.get("tool_calls"):
        found["tool_calls"] = [_their_call(call) for call in message["tool_calls"]]
    return found


def _their_call(call: Json) -> Json:
    """Ollama takes a tool call's arguments as an object, OpenAI gives them as JSON in a string."""
    function = call.get("function") or {}
    arguments = function.get("arguments") or "{}"
    try:
        given = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError) as error:
        raise BadRequest("A tool call's arguments are not JSON.", param="messages") from error
    return {"function": {"name": function.get("name"), "arguments": given}}


class _Shape:
    """Ollama's lines in OpenAI's form."""

    def __init__(self, kind: Kind, model: str) -> None:
        self.kind = kind
        self.chat = chat = kind is Kind.CHAT
        self.called = 0
        self.base = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid4().hex}",
            "object": "chat.completion.chunk" if chat else "text_completion",
            "created": int(time()),
            "model": model,
        }

    def chunks(self, said: Json) -> list[Json]:
        delta = self._delta(said)
        chunks = [self._chunk(delta, None)] if delta or not said.get("done") else []
        if said.get("done"):
            chunks.append(self._chunk({}, self._reason(said)))
            if (usage := _usage(said)) is not None:
                chunks.append({**self.base, "choices": [], "usage": usage})
        return chunks

    def whole(self, said: Json) -> Json:
        if self.kind is Kind.EMBEDDING:
            return self._embeddings(said)
        choice: Json = {"index": 0}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": "", **self._delta(said)}
        else:
            choice["text"] = said.get("response") or ""
        choice["finish_reason"] = self._reason(said)
        kind = "chat.completion" if self.chat else "text_completion"
        usage = _usage(said)
        return {**self.base, "object": kind, "choices": [choice], **({"usage": usage} if usage else {})}

    def _embeddings(self, said: Json) -> Json:
        found = said.get("embeddings")
        if not isinstance(found, list):
            raise UnreadableAnswer("The engine's answer cannot be read.")
        data = [{"object": "embedding", "index": place, "embedding": one} for place, one in enumerate(found)]
        tokens = said.get("prompt_eval_count")
        usage = {"prompt_tokens": tokens, "total_tokens": tokens} if isinstance(tokens, int) else None
        return {"object": "list", "data": data, "model": self.base["model"], **({"usage": usage} if usage else {})}

    def _delta(self, said: Json) -> Json:
        if not self.chat:
            return {"content": said["response"]} if said.get("response") else {}
        message = said.get("message")
        if not isinstance(message, dict):
            return {}
        delta: Json = {}
        if message.get("content"):
            delta["content"] = message["content"]
        if message.get("thinking"):
            delta["reasoning_content"] = message["thinking"]
        if message.get("tool_calls"):
            delta["tool_calls"] = [self._our_call(function) for function in _functions(message["tool_calls"])]
        return delta

    def _our_call(self, function: Json) -> Json:
        index, self.called = self.called, self.called + 1
        arguments = written(function.get("arguments") or {}).decode()
        return {"index": index, "id": f"call_{uuid4().hex[:24]}", "type": "function",
                "function": {"name": function.get("name"), "arguments": arguments}}  # fmt: skip

    def _chunk(self, delta: Json, reason: str | None) -> Json:
        said: Json = {"delta": delta} if self.chat else {"text": delta.get("content", "")}
        return {**self.base, "choices": [{"index": 0, **said, "finish_reason": reason}]}

    def _reason(self, said: Json) -> str:
        if self.called:
            return "tool_calls"
        return "length" if said.get("done_reason") == "length" else "stop"


def _functions(calls: object) -> list[Json]:
    """The functions that an engine's tool calls name. Raises UnreadableAnswer for what is no call."""
    found = [call.get("function") if isinstance(call, dict) else None for call in calls] if type(calls) is list else []
    functions = [function for function in found if isinstance(function, dict)]
    if not functions or len(functions) < len(found):
        raise UnreadableAnswer("The engine's answer cannot be read.")
    return functions


def _usage(said: Json) -> Json | None:
    """None when Ollama kept a count to itself, as it does for a prompt that was wholly cached."""
    prompt, completion = said.get("prompt_eval_count"), said.get("eval_count")
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
