"""What requests may hold. Ranges, bounds and names come from `gateway.schemas`, which checks them."""

from typing import Any

from django.utils.translation import gettext as _

from gateway.schemas import MAX_INPUTS, MAX_MESSAGES, MAX_USER, OBJECTS, RANGES, ROLES, WHOLE

type Json = dict[str, Any]

ANY_BUT_BLANK = r"\S"
DATA_URI = "^data:"
FETCHED = "^(data:|https://)"


def request_schemas(*, fetches: bool) -> Json:
    """`fetches`: engines may fetch the images of some hosts."""
    return {
        "ChatRequest": _chat_request(),
        "CompletionRequest": _completion_request(),
        "EmbeddingRequest": _embedding_request(),
        "Message": _message(),
        "ContentPart": _content_part(fetches=fetches),
        "Tool": _tool(),
    }


def ref(name: str, kind: str = "schemas") -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _chat_request() -> Json:
    fields = {
        "model": _model(),
        "messages": _messages(_("The conversation so far, oldest message first.")),
        **_shared(),
        "tools": {
            "type": ["array", "null"],
            "items": ref("Tool"),
            "description": _("Functions that the model may call."),
        },
        "tool_choice": {
            "type": ["string", "object", "null"],
            "examples": ["none", "auto", "required"],
            "description": _("Whether the model calls them; an object names the one that it must call."),
        },
        "parallel_tool_calls": {
            "type": ["boolean", "null"],
            "description": _("Whether it may call several at once."),
        },
        "response_format": {
            "type": ["object", "null"],
            "properties": {
                "type": {"x-tertulia-type": "string", "examples": ["text", "json_object", "json_schema"]},
                "json_schema": {"x-tertulia-type": "object"},
            },
            "description": _("The form of the answer: text, JSON, or JSON after a schema."),
        },
        "reasoning_effort": {
            "type": ["string", "null"],
            "description": _("How long a reasoning model thinks, such as `low`, `medium` or `high`."),
        },
        **_rare(),
    }
    return {"type": "object", "required": ["model", "messages"], **_open(), "properties": fields}


def _completion_request() -> Json:
    """Of `prompt`, or of `messages` as Cloud Temple has it: one of the two."""
    fields = {
        "model": _model(),
        "prompt": {
            "anyOf": [
                {"type": ["string", "null"]},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                {"type": "array", "items": {"type": "integer"}, "minItems": 1},
            ],
            "description": _("The text to continue: one, a list of them, or token ids."),
        },
        "messages": {
            **_messages(_("A conversation in place of `prompt`; the answer is then a chat completion.")),
            "type": ["array", "null"],
        },
        **_shared(),
        "suffix": {"type": ["string", "null"], "description": _("What comes after the text that is written.")},
        "echo": {"type": ["boolean", "null"], "description": _("Whether to give the prompt back before the answer.")},
        "best_of": whole("best_of", _("How many answers the engine writes to choose the best of them.")),
        **_rare(),
    }
    by_prompt = {"required": ["prompt"], "properties": {"prompt": _not_null(), "messages": {"type": "null"}}}
    by_messages = {"required": ["messages"], "properties": {"messages": _not_null(), "prompt": {"type": "null"}}}
    return {
        "type": "object",
        "required": ["model"],
        **_open(),
        "properties": fields,
        "oneOf": [by_prompt, by_messages],
    }


def _embedding_request() -> Json:
    words: Json = {"type": "string", "minLength": 1}
    ids: Json = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
    fields = {
        "model": _model(),
        "input": {
            "anyOf": [
                words,
                {"type": "array", "items": words, "minItems": 1, "maxItems": MAX_INPUTS},
                ids,
                {"type": "array", "items": ids, "minItems": 1, "maxItems": MAX_INPUTS},
            ],
            "description": _("The text to embed, up to %(count)s of them, or token ids of one or several.")
            % {"count": MAX_INPUTS},
        },
        "encoding_format": {
            "type": ["string", "null"],
            "enum": ["float", "base64", None],
            "default": "float",
            "description": _("How a vector comes: as numbers, or as base64 of 32-bit floats, little end first."),
        },
        "dimensions": whole("dimensions", _("How long the vectors are, for models that can shorten them.")),
        "user": _user(),
    }
    return {"type": "object", "required": ["model", "input"], **_open(), "properties": fields}


def _open() -> Json:
    return {
        "additionalProperties": True,
        "description": _(
            "`null` stands for absent. Fields that are not listed pass through to the engine, but for those that would "
            "steer the gateway; the header `x-tertulia-ignored` names what was kept back."
        ),
    }


def _shared() -> Json:
    """What chats and text completions have in common."""
    return {
        "stream": {
            "type": ["boolean", "null"],
            "default": False,
            "description": _("Whether the answer comes piece by piece."),
        },
        "stream_options": {
            **_object("stream_options", _("Of a stream alone.")),
            "properties": {
                "include_usage": {
                    "type": ["boolean", "null"],
                    "default": False,
                    "description": _("Whether one more event, the last, carries the usage."),
                }
            },
        },
        "max_tokens": whole("max_tokens", _("The most tokens that the answer may have; never shortened silently.")),
        "max_completion_tokens": whole(
            "max_completion_tokens", _("Another name of `max_tokens`. If both are sent they must be equal.")
        ),
        "temperature": number("temperature", _("How freely words are chosen: 0 is the most predictable.")),
        "top_p": number("top_p", _("Only the likeliest words are chosen from, up to this share of the chances.")),
        "presence_penalty": number("presence_penalty", _("Above 0 the model turns to new subjects.")),
        "frequency_penalty": number("frequency_penalty", _("Above 0 the model repeats itself less.")),
        "stop": {
            "anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": {"type": "string"}, "maxItems": 4}],
            "description": _("Words that end the answer: one, or up to four."),
        },
        "n": {**whole("n", _("How many answers to give.")), "default": 1},
        "seed": whole("seed", _("The same seed gives the same answer, as far as the engine can.")),
        "user": _user(),
        "options": {
            **_object("options", _("Settings for Ollama; other engines do not get them.")),
            "properties": {
                "num_ctx": {
                    "type": "integer",
                    "minimum": 1,
                    "description": _("Size of the context in tokens, up to the model's own."),
                }
            },
        },
    }


def _rare() -> Json:
    return {
        "logprobs": {
            "type": ["boolean", "integer", "null"],
            "description": _("Whether to say how likely each token was; for `prompt`, of how many."),
        },
        "top_logprobs": whole("top_logprobs", _("How many other tokens to name at each place.")),
        "logit_bias": _object("logit_bias", _("Tokens to favour or to avoid, by their ids.")),
        "metadata": _object("metadata", _("Labels of your own.")),
    }


def number(name: str, description: str) -> Json:
    least, most = RANGES[name]
    return {"type": ["number", "null"], "minimum": least, "maximum": most, "description": description}


def whole(name: str, description: str) -> Json:
    least, most = WHOLE[name]
    return {"type": ["integer", "null"], "minimum": least, "maximum": most, "description": description}


def _object(name: str, description: str) -> Json:
    if name not in OBJECTS:
        raise LookupError(f"{name} is not checked to be an object.")
    return {"type": ["object", "null"], "description": description}


def _model() -> Json:
    return {
        "type": "string",
        "pattern": ANY_BUT_BLANK,
        "description": _("The model's id or another name of it; capitals do not matter."),
    }


def _user() -> Json:
    return {
        "type": ["string", "null"],
        "description": _("Your name for the end user, kept in the usage log up to %(count)d characters.")
        % {"count": MAX_USER},
    }


def _messages(description: str) -> Json:
    return {
        "type": "array",
        "items": ref("Message"),
        "minItems": 1,
        "maxItems": MAX_MESSAGES,
        "description": description,
    }


def _not_null() -> Json:
    return {"not": {"type": "null"}}


def _message() -> Json:
    """Only an assistant's message may do without content: it may have called tools instead."""
    fields = {
        "role": {"type": "string", "enum": list(ROLES), "description": _("Who speaks.")},
        "content": {
            "anyOf": [
                {"type": ["string", "null"]},
                {"type": "array", "items": ref("ContentPart"), "minItems": 1},
            ],
            "description": _(
                "What is said: text, or parts of text and images. `null` in an assistant's message alone."
            ),
        },
        "name": {
            "type": ["string", "null"],
            "description": _("The speaker's name, to tell several of one role apart."),
        },
        "tool_calls": {
            "type": ["array", "null"],
            "items": _tool_call(),
            "description": _("What an assistant's message called."),
        },
        "tool_call_id": {"type": ["string", "null"], "description": _("The call that a tool's message answers.")},
    }
    by_assistant = {"properties": {"role": {"const": "assistant"}}}
    by_others = {"required": ["content"], "properties": {"content": _not_null()}}
    return {
        "type": "object",
        "required": ["role"],
        "additionalProperties": True,
        "properties": fields,
        "anyOf": [by_assistant, by_others],
    }


def _tool_call() -> Json:
    text = {"type": ["string", "null"]}
    function = {"type": ["object", "null"], "properties": {"name": text}}
    return {
        "type": "object",
        "additionalProperties": True,
        "properties": {"id": text, "type": text, "function": function},
    }


def _content_part(*, fetches: bool) -> Json:
    uri = {"type": "string", "pattern": FETCHED if fetches else DATA_URI}
    image = {"type": "object", "required": ["url"], "properties": {"url": uri}, "additionalProperties": True}
    known: dict[str, Json] = {
        "text": {"required": ["text"], "properties": {"text": {"type": "string"}}},
        "image_url": {"required": ["image_url"], "properties": {"image_url": {"anyOf": [image, uri]}}},
        "image": {"required": ["image"], "properties": {"image": uri}},
    }
    told = _("An image as a data URI, alone or as `url`.")
    if fetches:
        told = _("An image as a data URI, alone or as `url`, or at an https address of an allowed host.")
    kinds: list[Json] = [
        {**shape, "properties": {"type": {"const": kind}, **shape["properties"]}} for kind, shape in known.items()
    ]
    kinds.append({"properties": {"type": {"type": "string", "not": {"enum": list(known)}}}})
    return {
        "type": "object",
        "required": ["type"],
        "additionalProperties": True,
        "properties": {
            "type": {"type": "string", "description": _("`text`, `image_url` or `image`.")},
            # Their types bind in the parts of their kind alone, below; elsewhere the engine decides.
            "text": {"x-tertulia-type": "string", "description": _("The text of a part of text.")},
            "image_url": {
                "x-tertulia-type": "object | string",
                "description": told,
            },
            "image": {"x-tertulia-type": "string", "description": _("The same, in short.")},
        },
        # Of a part of any kind: engines take some of them whatever the type says.
        "patternProperties": {"_url$": {"anyOf": [{"type": "null"}, image, uri]}},
        "anyOf": kinds,
    }


def _tool() -> Json:
    function = {
        "type": ["object", "null"],
        "properties": {
            "name": {"type": ["string", "null"], "description": _("The name that it is called by.")},
            "description": {"type": ["string", "null"], "description": _("What it does, for the model to read.")},
            "parameters": {"type": ["object", "null"], "description": _("A JSON schema of its arguments.")},
        },
        "description": _("The function."),
    }
    return {
        "type": "object",
        "additionalProperties": True,
        "properties": {"type": {"type": ["string", "null"], "description": _("`function`.")}, "function": function},
    }
