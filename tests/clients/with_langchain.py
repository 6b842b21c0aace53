"""LangChain's ChatOpenAI. Prints what it got of each call."""

import asyncio
import json
import os
from functools import reduce
from operator import add
from typing import Any

from langchain_openai import ChatOpenAI

QUESTION = "The capital of France is"


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


def main() -> None:
    calls = [
        call(model().invoke(QUESTION)),
        call(asyncio.run(model().ainvoke(QUESTION))),
        call(reduce(add, model(stream_usage=True).stream(QUESTION))),
        call(reduce(add, model(stream_usage=False).stream(QUESTION))),
        call(reduce(add, model().stream(QUESTION))),
    ]
    print(json.dumps({"calls": calls}))  # noqa: T201


if __name__ == "__main__":
    main()
