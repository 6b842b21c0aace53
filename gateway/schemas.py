"""From a request's bytes to what the caller asks. Unknown fields pass; those we know must be what they should.

null stands for absent, as OpenAI's clients mean it. Sources of names and ranges: OpenAI's API reference, Cloud Temple's
and Saptiva's pages.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson
from django.conf import settings

from gateway.dialects import OPENAI, Dialect
from gateway.engines.facts import Json, Kind
from gateway.errors import BadRequest, WrongContentType

MAX_DEPTH = 64
MAX_MESSAGES = 5000
MAX_PARTS = 300_000  # strings, lists, objects and commas of a body: JSON is parsed in one go that nothing can interrupt
MAX_DIGITS = 400  # of a number
MAX_USER = 256  # characters of the end user's name that are kept
ROLES = ("system", "developer", "user", "assistant", "tool", "function")

RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
WHOLE: Mapping[str, tuple[int, int]] = {
    "max_tokens": (1, 10_000_000),
    "max_completion_tokens": (1, 10_000_000),
    "n": (1, 128),
    "best_of": (1, 20),
    "top_logprobs": (0, 20),
    "seed": (-(2**63), 2**64 - 1),
    "dimensions": (1, 65_536),
}
MAX_INPUTS = 2048  # texts of one request for embeddings, as OpenAI has it
OBJECTS = ("options", "stream_options", "response_format", "metadata", "logit_bias")
FIELDS: Mapping[str, type] = {
    **dict.fromkeys(OBJECTS, dict),
    **dict.fromkeys(("stream", "echo", "parallel_tool_calls"), bool),
    **dict.fromkeys(("user", "suffix", "reasoning_effort"), str),
    "tools": list,
}
MESSAGE_FIELDS: Mapping[str, type] = {"name": str, "tool_call_id": str, "tool_calls": list}
TOOL_FIELDS: Mapping[str, type] = {"type": str, "function": dict}
CALL_FIELDS: Mapping[str, type] = {"id": str, **TOOL_FIELDS}
FUNCTION_FIELDS: Mapping[str, type] = {"name": str, "description": str, "parameters": dict}
KINDS: Mapping[type, str] = {str: "a string", bool: "true or false", dict: "an object", list: "a list"}
OURS = ("model", "stream", "stream_options")  # what the engine gets from us alone
# What an engine that an operator has closed may still see: what our reference documents.
DOCUMENTED = frozenset(
    {
        *RANGES, *WHOLE, "messages", "prompt", "input", "encoding_format", "stop", "user", "tools", "tool_choice",
        "parallel_tool_calls", "response_format", "logprobs", "reasoning_effort", "options", "logit_bias", "suffix",
        "echo",
    }
)  # fmt: skip

# What a body's parts are counted by, once no quote is escaped. Possessive, so that a string of any length is one step
# without a way back; one that does not end is a part too.
_PART = re.compile(rb'"[^"]*+"?|[\[{,]')
# A piece of a body that does not end within an escape: none takes so long that others would notice.
_PIECE = re.compile(rb".{1,1000000}+(?:(?<=\\)\\*+.)?", re.DOTALL)


class Ask(NamedTuple):
    """What a caller wants, validated. `body` is what an engine may see of it: all but the names in OURS."""

    endpoint: str
    kind: Kind
    model: str
    body: Mapping[str, Any]
    stream: bool = False
    wants_usage: bool = False
    end_user: str = ""


def json_object(raw: bytes, content_type: bytes) -> Json:
    """Raises WrongContentType or BadRequest."""
    kind = content_type.partition(b";")[0].strip().lower()
    if kind and kind != b"application/json" and not kind.endswith(b"+json"):
        raise WrongContentType("The body must be JSON: send 'content-type: application/json'.")
    if _has_too_many_parts(raw):
        raise BadRequest(f"The body holds more than {MAX_PARTS} values.")
    try:
        found = _parsed(raw)
    except UnicodeDecodeError as error:
        raise BadRequest("The body is not valid UTF-8.") from error
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise BadRequest(f"The body is not valid JSON: {error}"[:200]) from error
    if not isinstance(found, dict):
        raise BadRequest("The body must be a JSON object.")
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _check_depth(found)
    return {name: value for name, value in found.items() if value is not None}


def parse_chat(body: Json, dialect: Dialect = OPENAI) -> Ask:
    _need(body, "messages", *dialect.required)
    body["messages"] = _messages(body["messages"])
    return _ask(body, "chat.completions", Kind.CHAT, dialect)


def parse_completion(body: Json, dialect: Dialect = OPENAI) -> Ask:
    """A text completion of `prompt`, or, as Cloud Temple has it, a chat completion of `messages`."""
    if ("prompt" in body) == ("messages" in body):
        raise BadRequest("Send either 'prompt' or 'messages'.", param="prompt")
    if "messages" in body:
        body["messages"] = _messages(body["messages"])
        return _ask(body, "completions", Kind.CHAT, dialect)
    body["prompt"] = _prompt(body["prompt"])
    if "max_completion_tokens" in body:  # the newer name of chat completions
        body.setdefault("max_tokens", body["max_completion_tokens"])
    ask = _ask(body, "completions", Kind.TEXT, dialect)
    return ask._replace(body={name: value for name, value in ask.body.items() if name != "max_completion_tokens"})


def parse_embedding(body: Json, dialect: Dialect = OPENAI) -> Ask:
    _need(body, "input")
    body["input"] = _input(body["input"])
    if body.get("encoding_format", "float") not in ("float", "base64"):
        raise BadRequest("'encoding_format' must be 'float' or 'base64'.", param="encoding_format")
    if body.pop("stream", False) is not False:
        raise BadRequest("Embeddings cannot be streamed.", param="stream")
    return _ask(body, "embeddings", Kind.EMBEDDING, dialect)


def _ask(body: Json, endpoint: str, kind: Kind, dialect: Dialect) -> Ask:
    _need(body, "model")
    if not isinstance(body["model"], str) or not body["model"].strip():
        raise BadRequest("'model' must be a string that is not empty.", param="model")
    _check_numbers(body, dialect)
    _check_rest(body)
    stream = body.get("stream", False)
    return Ask(
        endpoint=endpoint,
        kind=kind,
        model=body["model"],
        body={name: value for name, value in body.items() if name not in OURS},
        stream=stream,
        wants_usage=stream and body.get("stream_options", {}).get("include_usage") is True,
        end_user=_kept(body.get("user", "")),
    )


def _need(body: Json, *names: str) -> None:
    for name in names:
        if name not in body:
            raise BadRequest(f"'{name}' is required.", param=name, code="missing_required_parameter")


def _messages(given: object) -> list[Json]:
    if not isinstance(given, list) or not given:
        raise BadRequest("'messages' must be a list with at least one message.", param="messages")
    if len(given) > MAX_MESSAGES:
        raise BadRequest(f"'messages' may hold {MAX_MESSAGES} messages at most.", param="messages")
    return [_message(message, f"messages[{place}]") for place, message in enumerate(given)]


def _message(message: object, param: str) -> Json:
    if not isinstance(message, dict):
        raise BadRequest("A message must be an object.", param=param)
    if message.get("role") not in ROLES:
        raise BadRequest(f"A message's role must be one of {', '.join(ROLES)}.", param=f"{param}.role")
    _check_kinds(message, MESSAGE_FIELDS, param)
    for place, call in enumerate(message.get("tool_calls") or ()):
        _check_call(call, f"{param}.tool_calls[{place}]")
    content = message.get("content")
    if isinstance(content, str):
        return message
    if content is None:
        if message["role"] != "assistant":
            raise BadRequest("A message needs content.", param=f"{param}.content")
        return message
    if not isinstance(content, list) or not content:
        raise BadRequest("A message's content must be a string or a list of parts.", param=f"{param}.content")
    parts = [_part(part, f"{param}.content[{place}]") for place, part in enumerate(content)]
    return {**message, "content": parts}


def _part(part: object, param: str) -> Json:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise BadRequest("A part of a message must be an object with a type.", param=param)
    if part["type"] == "text" and not isinstance(part.get("text"), str):
        raise BadRequest("A part of type text needs a text.", param=param)
    if part["type"] == "image":
        part = {"type": "image_url", "image_url": {"url": part.get("image")}}
    if part["type"] == "image_url" and part.get("image_url") is None:
        raise BadRequest("A part of type image_url needs one.", param=param)
    # Of every part: vLLM takes any of these from a part of any type, if it only bears a `uuid`.
    addresses = {name: _address(part[name], param) for name in part if name.endswith("_url") and part[name] is not None}
    return {**part, **addresses}


def _address(given: object, param: str) -> Json:
    """What a part wants to be seen or heard, as {"url": …} with whatever stands beside it."""
    found: Json = given if isinstance(given, dict) else {"url": given}
    url = found.get("url")
    if not isinstance(url, str) or not (url.startswith("data:") or _may_be_fetched(url)):
        raise BadRequest("An image must be a data URI, and so must sound and video.", param=param)
    return found


def _may_be_fetched(url: str) -> bool:
    """An address makes the engine fetch it, from inside the network that it stands in: operators name the hosts."""
    allowed: Sequence[str] = settings.ENVIRONMENT.image_hosts
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and parts.port in {None, 443} and parts.netloc.lower() in allowed
    except ValueError:
        return False


def _input(given: object) -> object:
    """A text, texts, token ids, or lists of them; none empty."""
    if isinstance(given, str) and given:
        return given
    if isinstance(given, list) and given:
        if (ids := _ids(given)) is not None:
            return ids
        if len(given) <= MAX_INPUTS:
            if all(isinstance(item, str) and item for item in given):
                return given
            lists = [_ids(item) for item in given]
            if None not in lists:
                return lists
    message = f"'input' must be a text, up to {MAX_INPUTS} texts, or token ids; none of them empty."
    raise BadRequest(message, param="input")


def _prompt(given: object) -> object:
    if isinstance(given, str) or (isinstance(given, list) and {type(item) for item in given} == {str}):
        return given
    if (ids := _ids(given)) is not None:
        return ids
    raise BadRequest("'prompt' must be a string, a list of strings or a list of token ids.", param="prompt")


def _ids(given: object) -> list[int] | None:
    """A list of whole numbers that is not empty, or None."""
    if not isinstance(given, list) or not given:
        return None
    kinds = {type(item) for item in given}
    if kinds == {int}:
        return given
    whole = [_whole_if_equal(item) for item in given] if kinds <= {int, float} else []
    return whole if {type(item) for item in whole} == {int} else None


def _whole_if_equal(value: Any) -> Any:
    """5.0 is a whole number to JSON Schema, and clients that keep floats write it; an engine gets 5."""
    return int(value) if type(value) is float and value.is_integer() else value


def _check_numbers(body: Json, dialect: Dialect) -> None:
    for name in [name for name in RANGES if name in body]:
        least, most = dialect.ranges.get(name) or RANGES[name]
        value = body[name]
        if type(value) not in {int, float} or not least <= value <= most:
            raise BadRequest(f"'{name}' must be a number between {least:g} and {most:g}.", param=name)
    for name in [name for name in WHOLE if name in body]:
        value, bounds = _whole_if_equal(body[name]), WHOLE[name]
        if type(value) is not int or not bounds[0] <= value <= bounds[1]:
            raise BadRequest(f"'{name}' must be a whole number between {bounds[0]} and {bounds[1]}.", param=name)
        body[name] = value
    limits = {body[name] for name in ("max_tokens", "max_completion_tokens") if name in body}
    if len(limits) > 1:
        message = "'max_tokens' and 'max_completion_tokens' say different things; send one."
        raise BadRequest(message, param="max_completion_tokens")


def _check_rest(body: Json) -> None:
    _check_kinds(body, FIELDS)
    stop = body.get("stop", "")
    words = stop if isinstance(stop, list) else [stop]
    if len(words) > 4 or not all(isinstance(word, str) for word in words):
        raise BadRequest("'stop' must be a string or a list of up to four strings.", param="stop")
    for place, tool in enumerate(body.get("tools", ())):
        _check_tool(tool, f"tools[{place}]")
    if not isinstance(body.get("tool_choice", ""), str | dict):
        raise BadRequest("'tool_choice' must be a string or an object.", param="tool_choice")
    if "logprobs" in body:
        body["logprobs"] = _whole_if_equal(body["logprobs"])
        if not isinstance(body["logprobs"], bool | int):
            raise BadRequest("'logprobs' must be true, false or a whole number.", param="logprobs")
    _check_inside(body)


def _check_inside(body: Json) -> None:
    stream_options = body.get("stream_options", {})
    _check_kinds(stream_options, {"include_usage": bool}, "stream_options")
    options = body.get("options", {})
    if "num_ctx" in options:
        num_ctx = _whole_if_equal(options["num_ctx"])
        if type(num_ctx) is not int or num_ctx < 1:
            raise BadRequest("'options.num_ctx' must be a whole number of at least 1.", param="options.num_ctx")
        body["options"] = {**options, "num_ctx": num_ctx}


def _check_call(call: object, param: str) -> None:
    if not isinstance(call, dict):
        raise BadRequest("A tool call must be an object.", param=param)
    _check_kinds(call, CALL_FIELDS, param)
    _check_kinds(call.get("function") or {}, {"name": str}, f"{param}.function")


def _check_tool(tool: object, param: str) -> None:
    if not isinstance(tool, dict):
        raise BadRequest("A tool must be an object.", param=param)
    _check_kinds(tool, TOOL_FIELDS, param)
    _check_kinds(tool.get("function") or {}, FUNCTION_FIELDS, f"{param}.function")


def _check_kinds(given: Json, fields: Mapping[str, type], param: str = "") -> None:
    """Fields that are absent or null may be so."""
    for name, value in given.items():
        kind = fields.get(name)
        if kind is not None and value is not None and not isinstance(value, kind):
            place = f"{param}.{name}" if param else name
            raise BadRequest(f"'{place}' must be {KINDS[kind]}.", param=place)


def _kept(user: str) -> str:
    """The text as PostgreSQL can hold it."""
    return user[:MAX_USER].replace("\0", "").encode("utf-8", "replace").decode()


def _has_too_many_parts(raw: bytes) -> bool:
    if sum(map(raw.count, (b'"', b"[", b"{", b","))) <= MAX_PARTS:  # those inside strings too: quick, and mostly enough
        return False
    plain = b"".join(piece[0].replace(rb"\\", b"").replace(rb"\"", b"") for piece in _PIECE.finditer(raw))
    return next(islice(_PART.finditer(plain), MAX_PARTS, None), None) is not None


def _check_depth(found: object) -> None:
    level: list[object] = [found]
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
        level = [value for value in inner if isinstance(value, dict | list)]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> BadRequest:
    return BadRequest(f"The body is nested more than {MAX_DEPTH} levels deep.")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(_short(text))
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _whole(text: str) -> int:
    return int(_short(text))


def _short(text: str) -> str:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"the number {text[:20]} is too long")
    return text


def _parsed(raw: bytes) -> object:
    """As the standard library and its hooks have it, and quickly where orjson comes to the same.

    It does not where a number may be past 64 bits; what else it does not hold, it refuses.
    """
    if _LONG_NUMBER.search(raw) is None:
        with suppress(ValueError):
            return orjson.loads(raw)
    return _decoder.decode(raw.decode())


_LONG_NUMBER = re.compile(rb"[0-9]{16}")
# Made once: json.loads with hooks makes one for each body.
_decoder = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, parse_int=_whole)
