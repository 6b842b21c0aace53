"""Requests and answers to show: those of the two systems that this API follows, and ours where they have none.

Answers carry what ours add. Saptiva's own answers a question on France with Mexico's capital; this one does not.
"""

from typing import Any

type Json = dict[str, Any]

BACKEND: Json = {"engine_type": "engo", "machine_name": "ma02"}

CHAT: Json = {
    "model": "granite3.3:8b",
    "messages": [{"role": "user", "content": "Salut ! Peux-tu te présenter en français ?"}],
    "max_tokens": 200,
    "temperature": 0.7,
}
CHAT_ANSWER: Json = {
    "id": "chatcmpl-ollama-14b812ef-b21f-430c-b93c-d0d1bf653806",
    "object": "chat.completion",
    "created": 1749110753,
    "model": "granite3.3:8b",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "¡Hola! Soy un modelo de lenguaje virtual..."},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 70,
        "completion_tokens": 200,
        "total_tokens": 270,
        "reasoning_tokens": 0,
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
    "backend": BACKEND,
}

SAPTIVA_CHAT: Json = {
    "model": "Saptiva Turbo",
    "messages": [
        {"role": "system", "content": "Eres un agente servicial"},
        {"role": "user", "content": "¿Cuál es la capital de Francia?"},
    ],
    "max_tokens": 256,
    "temperature": 0.7,
    "top_p": 0.95,
}
SAPTIVA_ANSWER: Json = {
    "id": "chatcmpl-211",
    "object": "chat.completion",
    "created": 1745449715,
    "model": "Saptiva Turbo",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "La capital de Francia es **París**. 🇫🇷 \n",
                "tool_calls": [],
            },
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 22,
        "completion_tokens": 16,
        "total_tokens": 38,
        "reasoning_tokens": 0,
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
    "backend": BACKEND,
    "error": False,
    "status": 200,
}

COMPLETION: Json = {"model": "granite3.3:8b", "prompt": "Once upon a time", "max_tokens": 16}
COMPLETION_OF_MESSAGES: Json = {
    "model": "granite3.3:8b",
    "messages": [{"role": "user", "content": "Salut ! Peux-tu te présenter en français ?"}],
    "max_tokens": 200,
}
COMPLETION_ANSWER: Json = {
    "id": "cmpl-5f0d2b1c8e474a359a556f0d2b1c8e47",
    "object": "text_completion",
    "created": 1749110753,
    "model": "granite3.3:8b",
    "choices": [{"index": 0, "text": " there was a house with four doors.", "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 4,
        "completion_tokens": 9,
        "total_tokens": 13,
        "reasoning_tokens": 0,
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
    "backend": BACKEND,
}

EMBEDDING: Json = {"model": "granite-embedding:278m", "input": ["Salut !", "¡Hola!"]}
EMBEDDING_ANSWER: Json = {
    "object": "list",
    "data": [
        {"object": "embedding", "index": 0, "embedding": [0.0125, -0.0317, 0.0481]},
        {"object": "embedding", "index": 1, "embedding": [0.0119, -0.0298, 0.0502]},
    ],
    "model": "granite-embedding:278m",
    "usage": {"prompt_tokens": 6, "total_tokens": 6},
    "backend": BACKEND,
}

MODEL: Json = {
    "id": "granite3.3:8b",
    "object": "model",
    "created": 1749110897,
    "owned_by": "tertulia",
    "root": "granite3.3:8b",
    "aliases": ["granite3.3:8b"],
    "parent": None,
    "max_model_len": 60000,
    "permission": [
        {
            "id": "modelperm-granite3.3:8b-1749110897",
            "object": "model_permission",
            "created": 1749110897,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
    ],
}
MODELS: Json = {"object": "list", "data": [MODEL]}

_DAY: Json = {
    "start": 1764028800,
    "end": 1764115200,
    "requests": 42,
    "prompt_tokens": 18200,
    "completion_tokens": 5100,
    "total_tokens": 23300,
    "reasoning_tokens": 800,
    "cached_tokens": 4096,
    "estimated_tokens": 0,
    "cost": "0.0735",
    "models": [
        {
            "model": "granite3.3:8b",
            "requests": 42,
            "prompt_tokens": 18200,
            "completion_tokens": 5100,
            "total_tokens": 23300,
            "reasoning_tokens": 800,
            "cached_tokens": 4096,
            "estimated_tokens": 0,
            "cost": "0.0735",
        }
    ],
}
USAGE: Json = {
    "object": "usage",
    "key": {"name": "website", "masked": "sk-tert-9fK2…7Jx7", "expires_at": 1771804800},
    "team": "red",
    "time_zone": "Europe/Madrid",
    "currency": "EUR",
    "today": _DAY,
    "month": {**_DAY, "start": 1761955200, "end": 1764547200},
    "budgets": [
        {
            "of": "team",
            "unit": "tokens",
            "hard": True,
            "limit": 5000000,
            "spent": 3120400,
            "reserved": 4310,
            "left": 1875290,
            "renews_at": 1764543600,
        }
    ],
    "credit": {"balance": "41.70322", "reserved": "0.01638", "available": "41.68684", "hard": True},
    "limits": [
        {
            "of": "team",
            "window": "requests-per-minute",
            "limit": 60,
            "used": 3,
            "remaining": 57,
            "reset": 1764075640,
        },
        {
            "of": "key",
            "window": "tokens-per-day",
            "limit": 100000,
            "used": 23300,
            "remaining": 76700,
            "reset": 1764111600,
        },
    ],
    "as_of": 1764075600,
}

STREAM = """\
data: {"id":"chatcmpl-211","object":"chat.completion.chunk","created":1745449715,"model":"granite3.3:8b",\
"choices":[{"index":0,"delta":{"role":"assistant","content":"Salut"},"finish_reason":null}]}

: ping

data: {"id":"chatcmpl-211","object":"chat.completion.chunk","created":1745449715,"model":"granite3.3:8b",\
"choices":[{"index":0,"delta":{"content":" !"},"finish_reason":null}]}

data: {"id":"chatcmpl-211","object":"chat.completion.chunk","created":1745449715,"model":"granite3.3:8b",\
"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"backend":{"engine_type":"engo","machine_name":"ma02"}}

data: [DONE]

"""
TEXT_STREAM = """\
data: {"id":"cmpl-5f0d2b1c","object":"text_completion","created":1749110753,"model":"granite3.3:8b",\
"choices":[{"index":0,"text":" there was","finish_reason":null}]}

data: {"id":"cmpl-5f0d2b1c","object":"text_completion","created":1749110753,"model":"granite3.3:8b",\
"choices":[{"index":0,"text":" a house.","finish_reason":"stop"}],\
"backend":{"engine_type":"engo","machine_name":"ma02"}}

data: [DONE]

"""
BROKEN_STREAM = """\
data: {"error":{"message":"The engine stopped answering.","type":"upstream_error","param":null,"code":"timeout"}}

"""
