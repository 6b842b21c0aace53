"""openai for Python, as its users write it. Prints what it got of each call."""

import asyncio
import json
import os
from typing import Any

from openai import AsyncOpenAI, OpenAI

ASK: Any = {
    "model": os.environ["MODEL"],
    "messages": [{"role": "user", "content": "The capital of France is"}],
    "max_tokens": 4,
}
TEXTS = ["The capital of France", "La capital de España"]
WITH_USAGE: Any = {"include_usage": True}


class Streamed:
    """The chunks of one stream, put together."""

    def __init__(self) -> None:
        self.id, self.text, self.usages = "", "", []

    def add(self, chunk: Any) -> None:
        self.id = chunk.id
        self.text += "".join((c.delta.content if hasattr(c, "delta") else c.text) or "" for c in chunk.choices)
        if chunk.usage:
            self.usages.append(counts(chunk.usage))

    def told(self, request_id: str) -> Any:
        assert len(self.usages) < 2
        return call(self.id, self.text, self.usages[0] if self.usages else None, request_id)


def call(answer_id: str, text: str, usage: list[int] | None, request_id: str | None) -> Any:
    return {"id": answer_id, "text": text, "usage": usage, "request_id": request_id}


def counts(usage: Any) -> list[int]:
    return [usage.prompt_tokens, usage.completion_tokens]


def whole(answer: Any) -> Any:
    text = answer.choices[0].message.content
    return call(answer.id, text, counts(answer.usage), answer._request_id)


def raw(client: OpenAI) -> Any:
    response = client.chat.completions.with_raw_response.create(**ASK)
    answer = response.parse()
    return call(answer.id, answer.choices[0].message.content, counts(answer.usage), response.headers["x-request-id"])


def streamed(client: OpenAI, **more: Any) -> Any:
    found = Streamed()
    with client.chat.completions.create(**ASK, stream=True, **more) as chunks:
        for chunk in chunks:
            found.add(chunk)
    return found.told(chunks.response.headers["x-request-id"])


def completed(client: OpenAI) -> Any:
    answer = client.completions.create(model=ASK["model"], prompt="Once upon a time", max_tokens=4)
    return call(answer.id, answer.choices[0].text, counts(answer.usage), answer._request_id)


def completed_in_a_stream(client: OpenAI) -> Any:
    found = Streamed()
    ask: Any = {"model": ASK["model"], "prompt": "Once upon a time", "max_tokens": 4, "stream_options": WITH_USAGE}
    with client.completions.create(**ask, stream=True) as chunks:
        for chunk in chunks:
            found.add(chunk)
    return found.told(chunks.response.headers["x-request-id"])


def embedded(client: OpenAI, given: Any = TEXTS, **more: Any) -> Any:
    """The client asks for base64 unless told otherwise, and hands out numbers."""
    return vectors(client.embeddings.create(model=ASK["model"], input=given, **more))


def vectors(answer: Any) -> Any:
    assert [one.index for one in answer.data] == list(range(len(answer.data)))
    found = {"vectors": [one.embedding for one in answer.data], "usage": [answer.usage.prompt_tokens, 0]}
    return {**found, "request_id": answer._request_id}


async def embedded_asynchronously() -> Any:
    async with AsyncOpenAI() as client:
        return vectors(await client.embeddings.create(model=ASK["model"], input=TEXTS))


async def asynchronously() -> list[Any]:
    async with AsyncOpenAI() as client:
        answer = await client.chat.completions.create(**ASK)
        found = Streamed()
        async with await client.chat.completions.create(**ASK, stream=True, stream_options=WITH_USAGE) as chunks:
            async for chunk in chunks:
                found.add(chunk)
        return [whole(answer), found.told(chunks.response.headers["x-request-id"])]


def main() -> None:
    with OpenAI() as client:
        names = [model.id for model in client.models.list()]
        calls = [
            whole(client.chat.completions.create(**ASK)),
            whole(client.chat.completions.create(**{**ASK, "model": "Saptiva Turbo"})),
            raw(client),
            streamed(client),
            streamed(client, stream_options=WITH_USAGE),
            completed(client),
            completed_in_a_stream(client),
            *asyncio.run(asynchronously()),
        ]
        embeddings = [
            embedded(client),
            embedded(client, encoding_format="float"),
            asyncio.run(embedded_asynchronously()),
            embedded(client, TEXTS[0]),
            embedded(client, [[818, 5279, 529], [2]]),  # token ids
        ]
        retrieved = [client.models.retrieve(name).id for name in names]
    found = {"calls": calls, "embeddings": embeddings, "models": names, "retrieved": retrieved}
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
