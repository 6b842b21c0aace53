"""What answers hold, whole and in pieces."""

from typing import Any

from django.utils.translation import gettext as _

from billing.limits.windows import WINDOWS
from gateway.openapi.requests import ref

type Json = dict[str, Any]

SIGNED = r"^-?\d+(\.\d+)?$"  # a decimal number
PERMISSION: Json = {  # vLLM's, whose card /v1/models gives
    "id": {"type": "string"},
    "object": {"const": "model_permission"},
    "created": {"type": "integer"},
    "allow_create_engine": {"type": "boolean"},
    "allow_sampling": {"type": "boolean"},
    "allow_logprobs": {"type": "boolean"},
    "allow_search_indices": {"type": "boolean"},
    "allow_view": {"type": "boolean"},
    "allow_fine_tuning": {"type": "boolean"},
    "organization": {"type": "string"},
    "group": {"type": ["string", "null"]},
    "is_blocking": {"type": "boolean"},
}


def answer_schemas() -> Json:
    return {
        "ChatCompletion": _chat_completion(),
        "ChatCompletionChunk": _chat_chunk(),
        "TextCompletion": _text_completion(),
        "TextCompletionChunk": _text_chunk(),
        "AnswerMessage": _answer_message(),
        "Usage": _usage(),
        "Backend": _backend(),
        "Embeddings": _embeddings(),
        "Model": _model(),
        "ModelList": _list_of("Model", _("The models, by id.")),
        "UsageReport": _usage_report(),
        "UsagePeriod": _usage_period(),
        "Error": _error(),
    }


def thing(fields: Json, *, optional: tuple[str, ...] = (), description: str = "") -> Json:
    """An object whose fields are all there but for the optional ones. It may come to hold more."""
    found: Json = {"type": "object", "required": [name for name in fields if name not in optional]}
    return {**found, "properties": fields} | ({"description": description} if description else {})


def text(description: str) -> Json:
    return {"type": "string", "description": description}


def count(description: str) -> Json:
    return {"type": "integer", "minimum": 0, "description": description}


def truth(description: str) -> Json:
    return {"type": "boolean", "description": description}


def moment(description: str) -> Json:
    """Whole seconds since 1970."""
    return {"type": "integer", "description": description}


def _named(kind: str) -> Json:
    """What every answer begins with."""
    return {
        "id": text(_("The answer's id. The request's own is in the headers.")),
        "object": {"const": kind},
        "created": moment(_("When, in seconds since 1970.")),
        "model": text(_("The model, by the name that was asked for.")),
    }


def _choices(fields: Json, *, optional: tuple[str, ...] = ()) -> Json:
    choice = thing(
        {
            "index": count(_("Its place among the answers.")),
            **fields,
            "finish_reason": {
                "type": ["string", "null"],
                "description": _("Why it ended: `stop`, `length`, `tool_calls` or `content_filter`."),
            },
            "logprobs": {"type": ["object", "null"], "description": _("How likely each token was, if asked for.")},
        },
        optional=(*optional, "logprobs"),
    )
    return {"type": "array", "items": choice, "description": _("The answers, one unless `n` asks for more.")}


def _chat_completion() -> Json:
    fields = {
        **_named("chat.completion"),
        "choices": _choices({"message": ref("AnswerMessage")}),
        "usage": ref("Usage"),
        "backend": ref("Backend"),
    }
    return thing(fields)


def _chat_chunk() -> Json:
    fields = {
        **_named("chat.completion.chunk"),
        "choices": {
            **_choices({"delta": _delta()}, optional=("finish_reason",)),
            "description": _("What is new; empty in the event that carries the usage."),
        },
        "usage": _on_the_last("Usage"),
        "backend": ref("Backend"),
    }
    return thing(fields, optional=("usage", "backend"))


def _text_completion() -> Json:
    fields = {
        **_named("text_completion"),
        "choices": _choices({"text": text(_("The text."))}),
        "usage": ref("Usage"),
        "backend": ref("Backend"),
    }
    return thing(fields)


def _text_chunk() -> Json:
    fields = {
        **_named("text_completion"),
        "choices": _choices({"text": text(_("What is new of the text."))}, optional=("finish_reason",)),
        "usage": _on_the_last("Usage"),
        "backend": ref("Backend"),
    }
    return thing(fields, optional=("usage", "backend"))


def _on_the_last(name: str) -> Json:
    return {"anyOf": [ref(name), {"type": "null"}], "description": _("On one event alone, if it was asked for.")}


def _answer_message() -> Json:
    fields = {
        "role": {"const": "assistant"},
        "content": {"type": ["string", "null"], "description": _("The answer; `null` when tools were called instead.")},
        **_said(),
    }
    return thing(fields, optional=("reasoning_content", "tool_calls"), description=_("What the model says."))


def _delta() -> Json:
    fields = {
        "role": {"const": "assistant", "description": _("On the first event.")},
        "content": {"type": ["string", "null"], "description": _("What is new of the answer.")},
        **_said(),
    }
    return thing(fields, optional=tuple(fields))


def _said() -> Json:
    return {
        "reasoning_content": {
            "type": ["string", "null"],
            "description": _("What a reasoning model thought before it answered."),
        },
        "tool_calls": {
            "type": ["array", "null"],
            "items": {"type": "object"},
            "description": _("The functions to call, with their arguments as JSON."),
        },
    }


def _usage() -> Json:
    fields = {
        "prompt_tokens": count(_("Tokens of what was asked.")),
        "completion_tokens": count(_("Tokens of the answer, reasoning included.")),
        "total_tokens": count(_("Both together.")),
        "reasoning_tokens": count(_("How many of the answer's were reasoning; billed once.")),
        "completion_tokens_details": {
            **thing({"reasoning_tokens": count(_("The same, where OpenAI's clients look for it."))}),
            "description": _("What the answer's tokens were."),
        },
        "prompt_tokens_details": {
            **thing({"cached_tokens": count(_("Tokens that the engine still remembered."))}),
            "description": _("What the question's were, where the engine says it."),
        },
    }
    return thing(fields, optional=("prompt_tokens_details",), description=_("What it came to, in tokens."))


def _backend() -> Json:
    fields = {
        "engine_type": text(_("The kind of engine that answered.")),
        "machine_name": text(_("What the operator calls its machine.")),
    }
    return thing(fields, description=_("Who answered."))


def _embeddings() -> Json:
    vector = thing(
        {
            "object": {"const": "embedding"},
            "index": count(_("The place of its text in `input`.")),
            "embedding": {
                "anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}],
                "description": _("The vector, in the encoding that was asked for."),
            },
        }
    )
    usage = thing(
        {"prompt_tokens": count(_("Tokens of what was asked.")), "total_tokens": count(_("The same."))},
        description=_("What it came to, in tokens."),
    )
    fields = {
        "object": {"const": "list"},
        "data": {"type": "array", "items": vector, "description": _("A vector for each text.")},
        "model": text(_("The model, by the name that was asked for.")),
        "usage": usage,
        "backend": ref("Backend"),
    }
    return thing(fields)


def _list_of(name: str, description: str) -> Json:
    return thing(
        {"object": {"const": "list"}, "data": {"type": "array", "items": ref(name), "description": description}}
    )


def _model() -> Json:
    fields = {
        "id": text(_("What to send as `model`.")),
        "object": {"const": "model"},
        "created": moment(_("Since when it is offered, in seconds since 1970.")),
        "owned_by": text(_("Always `tertulia`.")),
        "root": text(_("The same as `id`.")),
        "aliases": {"type": "array", "items": {"type": "string"}, "description": _("Its other names, and its id.")},
        "parent": {"type": "null"},
        "max_model_len": {
            "type": ["integer", "null"],
            "minimum": 1,
            "description": _("Tokens of its context; `null` where the engine does not say."),
        },
        "permission": {
            "type": "array",
            "items": thing(PERMISSION),
            "minItems": 1,
            "maxItems": 1,
            "description": _("One entry, the same for every model: clients of vLLM look for it."),
        },
        "deprecation": text(_("Of a deprecated model alone: until when it is offered, at least.")),
        "deprecation_replacement_model": {
            "type": ["string", "null"],
            "description": _("Of a deprecated model alone: the model to use in its stead."),
        },
    }
    return thing(fields, optional=("deprecation", "deprecation_replacement_model"))


def _usage_report() -> Json:
    key = thing(
        {
            "name": text(_("Its name.")),
            "masked": text(_("Its beginning and its end.")),
            "expires_at": {"type": ["integer", "null"], "description": _("In seconds since 1970; `null`: never.")},
        },
        description=_("The key that asks."),
    )
    fields = {
        "object": {"const": "usage"},
        "key": key,
        "team": text(_("The team that pays, as addresses name it.")),
        "time_zone": text(_("Where the days and the months below begin.")),
        "currency": text(_("Of every cost below.")),
        "today": ref("UsagePeriod"),
        "month": ref("UsagePeriod"),
        "budgets": {"type": "array", "items": _budget(), "description": _("What this key's calls count in.")},
        "credit": _credit(),
        "limits": {
            "type": "array",
            "items": _limit(),
            "description": _("What the key may use in which time; empty where nothing is limited."),
        },
        "as_of": moment(_("When this was counted, in seconds since 1970.")),
    }
    return thing(fields)


def _budget() -> Json:
    def amount(description: str) -> Json:
        return {"type": ["integer", "string"], "pattern": SIGNED, "description": description}

    fields = {
        "of": {"enum": ["team", "key", "member"], "description": _("Whose it is.")},
        "unit": {"enum": ["tokens", "money"], "description": _("Money is a decimal number as text.")},
        "hard": truth(_("Whether calls beyond it are refused.")),
        "limit": amount(_("What may be used in a month.")),
        "spent": amount(_("What this month has used.")),
        "reserved": amount(_("The most that running calls may use.")),
        "left": amount(_("What is left; below 0 where more was used.")),
        "renews_at": moment(_("When the next month begins where the team is, in seconds since 1970.")),
    }
    return thing(fields)


def _credit() -> Json:
    def amount(description: str) -> Json:
        return {"type": "string", "pattern": SIGNED, "description": description}

    fields = {
        "balance": amount(_("What was paid, less what was used.")),
        "reserved": amount(_("The most that running calls may use.")),
        "available": amount(_("What is left for further calls.")),
        "hard": truth(_("Whether calls beyond it are refused.")),
    }
    description = _("The team's prepaid credit; `null`: it has none.")
    return {"anyOf": [thing(fields), {"type": "null"}], "description": description}


def _limit() -> Json:
    return thing(
        {
            "of": {"enum": ["team", "key", "member"], "description": _("Whose calls are counted.")},
            "window": {
                "enum": [window.name for window in WINDOWS],
                "description": _("What is counted, in which time. Days are the team's, hours and minutes UTC's."),
            },
            "limit": count(_("How much may be used in it.")),
            "used": count(_("How much was used in it so far.")),
            "remaining": count(_("How much may still be used.")),
            "reset": {
                "type": ["integer", "null"],
                "description": _("When it ends, in seconds since 1970; `null` for requests at once."),
            },
        }
    )


def _usage_period() -> Json:
    model = thing({"model": text(_("The model's id.")), **_sums()})
    fields = {
        "start": moment(_("From, in seconds since 1970.")),
        "end": moment(_("Up to and without, in seconds since 1970.")),
        **_sums(),
        "models": {"type": "array", "items": model, "description": _("The same by model.")},
    }
    return thing(fields, description=_("What this key has used in that time."))


def _sums() -> Json:
    return {
        "requests": count(_("Requests, also those that failed.")),
        "prompt_tokens": count(_("Tokens of what was asked.")),
        "completion_tokens": count(_("Tokens of the answers.")),
        "total_tokens": count(_("Both together.")),
        "reasoning_tokens": _told(_("How many of the answers' were reasoning, or `null` where no engine said.")),
        "cached_tokens": _told(_("Tokens that engines still remembered, or `null` where none said.")),
        "estimated_tokens": count(_("How many of the tokens are not an engine's own count.")),
        "cost": _cost(),
    }


def _told(description: str) -> Json:
    return {"type": ["integer", "null"], "minimum": 0, "description": description}


def _cost() -> Json:
    return {
        "type": ["string", "null"],
        "pattern": r"^-?\d+(\.\d+)?$",  # below 0 where more of an earlier month was taken back
        "description": _("A decimal number as text, or `null` where there is no price."),
    }


def _error() -> Json:
    error = thing(
        {
            "message": text(_("What happened, in English.")),
            "type": text(_("The family of the error.")),
            "param": {"type": ["string", "null"], "description": _("The field that it is about.")},
            "code": {"type": ["string", "null"], "description": _("The error's name, for programs to tell.")},
        }
    )
    detail = text(_("The message alone, in the `saptiva` dialect."))
    return thing({"error": error, "detail": detail}, optional=("detail",))
