"""LiteLLM as a client. Prints what it got of each call and each error."""

import asyncio
import json
import os
from typing import Any

import litellm

litellm.suppress_debug_info = True  # it would print advice among the errors
ASK: Any = {
    "model": f"openai/{os.environ['MODEL']}",
    "messages": [{"role": "user", "content": "The capital of France is"}],
    "max_tokens": 4,
}


def call(answer: Any) -> Any:
    usage = answer.usage
    text = answer.choices[0].message.content
    return {"id": answer.id, "text": text, "usage": [usage.prompt_tokens, usage.completion_tokens]}


def streamed() -> Any:
    chunks = list(litellm.completion(**ASK, stream=True, stream_options={"include_usage": True}))
    return call(litellm.stream_chunk_builder(chunks, messages=ASK["messages"]))


def embedded(**more: Any) -> Any:
    texts = ["The capital of France", "La capital de España"]
    answer = litellm.embedding(model=ASK["model"], input=texts, **more)
    return {"vectors": [one["embedding"] for one in answer.data], "usage": [answer.usage.prompt_tokens, 0]}


def error_of(**more: Any) -> str:
    try:
        litellm.completion(**{**ASK, **more}, max_retries=0)
    except Exception as error:  # noqa: BLE001 - whichever it is, is what we ask
        return type(error).__name__
    return ""


def main() -> None:
    calls = [call(litellm.completion(**ASK)), streamed(), call(asyncio.run(litellm.acompletion(**ASK)))]
    embeddings = [embedded(), embedded(encoding_format="float")]
    errors = {
        "wrong key": error_of(api_key="sk-wrong"),
        "unknown model": error_of(model="openai/no such model"),
        "bad parameter": error_of(temperature=3),
        "engine away": error_of(model="openai/fault:status?code=503&retry=1"),
        "engine busy": error_of(model="openai/fault:429?retry=1"),
    }
    print(json.dumps({"calls": calls, "embeddings": embeddings, "errors": errors}))  # noqa: T201


if __name__ == "__main__":
    main()
