"""The addresses, what each is for, and what it takes and gives."""

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from gateway.allowances import RATES
from gateway.idempotency import LONGEST, NAME
from gateway.openapi import examples
from gateway.openapi.failures import responses
from gateway.openapi.organization import organization_operations
from gateway.openapi.requests import ref

type Json = dict[str, Any]

JSON = "application/json"
EVENTS = "text/event-stream"
OF_A_MODEL = (400, 401, 402, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504)


def paths() -> Json:
    return {
        "/v1/chat/completions": {"post": _chat()},
        "/v1/completions": {"post": _completion()},
        "/v1/embeddings": {"post": _embedding()},
        "/v1/models": {"get": _models()},
        "/v1/models/{model}": {"get": _model()},
        "/v1/usage": {"get": _usage()},
        **{path: {"get": _report(*parts)} for path, parts in organization_operations().items()},
        "/v1/openapi.json": {"get": _openapi()},
    }


def _chat() -> Json:
    asked = {"cloud_temple": examples.CHAT, "saptiva": examples.SAPTIVA_CHAT}
    answers = {"cloud_temple": examples.CHAT_ANSWER, "saptiva": examples.SAPTIVA_ANSWER}
    chunk = _events(["ChatCompletionChunk"], {"stream": examples.STREAM, "broken": examples.BROKEN_STREAM})
    return {
        "operationId": "createChatCompletion",
        "summary": _("Chat completion"),
        "description": _("Answers a conversation, whole or piece by piece."),
        "parameters": [_idempotency_key()],
        "requestBody": _body(ref("ChatRequest"), asked),
        "responses": _found(_json(ref("ChatCompletion"), answers) | chunk) | responses(*OF_A_MODEL),
    }


def _completion() -> Json:
    asked = {"prompt": examples.COMPLETION, "messages": examples.COMPLETION_OF_MESSAGES}
    answers = {"prompt": examples.COMPLETION_ANSWER, "messages": examples.CHAT_ANSWER}
    either = {"anyOf": [ref("TextCompletion"), ref("ChatCompletion")]}
    chunks = ["TextCompletionChunk", "ChatCompletionChunk"]
    chunk = _events(chunks, {"stream": examples.TEXT_STREAM, "broken": examples.BROKEN_STREAM})
    return {
        "operationId": "createCompletion",
        "summary": _("Text completion"),
        "description": _(
            "Goes on from a text. With `messages` in place of `prompt` it answers as `/v1/chat/completions` does."
        ),
        "parameters": [_idempotency_key()],
        "requestBody": _body(ref("CompletionRequest"), asked),
        "responses": _found(_json(either, answers) | chunk) | responses(*OF_A_MODEL),
    }


def _embedding() -> Json:
    return {
        "operationId": "createEmbedding",
        "summary": _("Embeddings"),
        "description": _("Turns texts into vectors, to search and to compare by meaning."),
        "parameters": [_idempotency_key()],
        "requestBody": _body(ref("EmbeddingRequest"), {"texts": examples.EMBEDDING}),
        "responses": _found(_json(ref("Embeddings"), {"texts": examples.EMBEDDING_ANSWER})) | responses(*OF_A_MODEL),
    }


def _models() -> Json:
    return {
        "operationId": "listModels",
        "summary": _("Models"),
        "description": _("The models that the key may use, but for deprecated ones, which answer on."),
        "responses": _found(_json(ref("ModelList"), {"models": examples.MODELS}), engine=False)
        | responses(401, 500, 503),
    }


def _model() -> Json:
    name = {
        "name": "model",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
        "description": _(
            "The model's id or another name of it. It may hold spaces, `:` and `/`, percent-encoded or as they are."
        ),
        "example": "granite3.3:8b",
    }
    return {
        "operationId": "retrieveModel",
        "summary": _("One model"),
        "description": _("The card of one model."),
        "parameters": [name],
        "responses": _found(_json(ref("Model"), {"model": examples.MODEL}), engine=False)
        | responses(401, 403, 404, 500, 503),
    }


def _usage() -> Json:
    return {
        "operationId": "retrieveUsage",
        "summary": _("Usage of the key"),
        "description": _(
            "What the key that asks has used today and this month, in requests, tokens and money, and what its limits "
            "leave of them."
        ),
        "responses": _found(_json(ref("UsageReport"), {"usage": examples.USAGE}), engine=False)
        | responses(401, 500, 503),
    }


def _report(operation: Json, schema: str, example: Json) -> Json:
    answer = _found(_json(ref(schema), {"page": example}), engine=False)
    return {**operation, "responses": answer | responses(400, 401, 500, 503)}


def _openapi() -> Json:
    return {
        "operationId": "retrieveOpenAPI",
        "summary": _("This description"),
        "description": _("What stands on this page, for programs to read. It needs no key."),
        "security": [],
        "responses": _found(_json({"type": "object"}, {}), engine=False) | responses(500),
    }


def _idempotency_key() -> Json:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "pattern": NAME, "maxLength": LONGEST},
        "description": _(
            "A name of your own for the request. While it runs, and for a day after, a second one of the same name is "
            "refused with 409, so that nothing is billed twice. What came to nothing may be repeated."
        ),
    }


def _body(schema: Json, asked: Json) -> Json:
    return {"required": True, "content": _json(schema, asked)}


def _json(schema: Json, values: Json) -> Json:
    named = {name: {"value": value} for name, value in values.items()}
    return {JSON: {"schema": schema} | ({"examples": named} if named else {})}


def _events(chunks: Sequence[str], streams: Json) -> Json:
    schema = {
        "type": "string",
        "x-tertulia-event": {"anyOf": [ref(name) for name in (*chunks, "Error")]},
        "description": _stream_rules(),
    }
    return {EVENTS: {"schema": schema, "examples": {name: {"value": value} for name, value in streams.items()}}}


def _stream_rules() -> str:
    rules = [
        _("Each event is a line `data:` with a chunk as JSON, and a blank line. `data: [DONE]` is the last."),
        _("The first chunk carries the role; the last of each answer its `finish_reason` and the `backend`."),
        _("Lines that begin with a colon, such as `: ping`, only keep the connection open."),
        _("Usage comes in one more event, after the answer, if `stream_options.include_usage` is `true`."),
        _("What fails before the first event has a status of its own; later, an event with `error` ends the stream."),
        _("Close the connection to stop: the engine stops within a second, and what it has written is billed."),
    ]
    listed = "\n".join(f"- {rule}" for rule in rules)
    return _("With `stream` the answer comes as server-sent events, as it is written.") + f"\n\n{listed}"


def _found(content: Json, *, engine: bool = True) -> Json:
    named = ("x-request-id", "id", *(("backend", "server-timing", *RATES, "x-tertulia-ignored") if engine else ()))
    return {
        "200": {
            "description": _("The answer."),
            "headers": {name: ref(name, "headers") for name in named},
            "content": content,
        }
    }
