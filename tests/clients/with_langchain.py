"""LangChain's ChatOpenAI and OpenAIEmbeddings. Prints what it got of each call."""

import asyncio
import json
import os
from functools import reduce
from operator import add
from typing import Any

from langchain_openai import ChatOpenAI, OpenAIEmbeddings

QUESTION = "The capital of France is"
TEXTS = ["The capital of France", "La capital de España"]


def model(**more: Any) -> ChatOpenAI:
    return ChatOpenAI(model=os.environ["MODEL"], max_tokens=4, **more)


def call(message: Any) -> Any:
    usage = message.usage_metadata
    if usage:
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    return {
        "id": message.response_metadata.get("id"),
        "text": message.content,
        "usage": usage and [usage["input_tokens"], usage["output_tokens"]],
        "finished": message.response_metadata["finish_reason"] in {"stop", "length"},
    }


def embedded(**more: Any) -> Any:
    """It sends token ids, counted by tiktoken, unless it shall not care for the length."""
    embeddings = OpenAIEmbeddings(model=os.environ["MODEL"], **more)
    return {"vectors": embeddings.embed_documents(TEXTS)}


def main() -> None:
    calls = [
        call(model().invoke(QUESTION)),
        call(asyncio.run(model().ainvoke(QUESTION))),
        call(reduce(add, model(stream_usage=True).stream(QUESTION))),
        call(reduce(add, model(stream_usage=False).stream(QUESTION))),
        call(reduce(add, model().stream(QUESTION))),
    ]
    embeddings = [
        embedded(check_embedding_ctx_length=False),
        embedded(check_embedding_ctx_length=False, model_kwargs={"encoding_format": "float"}),
        embedded(),
    ]
    print(json.dumps({"calls": calls, "embeddings": embeddings}))  # noqa: T201


if __name__ == "__main__":
    main()
