"""openai for Python with keys that are limited. Prints what it met, and each try with the advice it got."""

import json
import os
import threading
import time
from typing import Any

import httpx
from openai import APIError, APIStatusError, DefaultHttpxClient, OpenAI

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
LONG = "fault:drip?n=40&gap=75"


class Tries:
    """Each answer of the server's: its status, how long it told to wait, how long the client then waited."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self._last = 0.0

    def asked(self, _request: httpx.Request) -> None:
        if self.seen:
            self.seen[-1]["waited"] = time.monotonic() - self._last

    def answered(self, response: httpx.Response) -> None:
        self._last = time.monotonic()
        advice = response.headers.get("retry-after")
        self.seen.append({"status": response.status_code, "advice": advice and int(advice)})

    def client(self, key: str) -> OpenAI:
        hooks: Any = {"request": [self.asked], "response": [self.answered]}
        return OpenAI(api_key=os.environ[key], max_retries=6, http_client=DefaultHttpxClient(event_hooks=hooks))


def created(client: OpenAI, model: str, **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=MESSAGES, **more)


def one_at_a_time() -> Any:
    """A second call while the key's only place is taken by a stream."""
    tries, found = Tries(), {}
    with OpenAI(api_key=os.environ["ONE_KEY"]) as first, tries.client("ONE_KEY") as second:
        stream = created(first, LONG, stream=True)
        next(iter(stream))

        def ask() -> None:
            found["text"] = created(second, os.environ["MODEL"], max_tokens=4).choices[0].message.content

        waiting = threading.Thread(target=ask)
        waiting.start()
        for _chunk in stream:
            pass
        waiting.join()
    return {**found, "tries": tries.seen}


def minute() -> Any:
    """A key with two requests a minute: what its headers say, and the third call."""
    with OpenAI(api_key=os.environ["MINUTE_KEY"], max_retries=0) as client:
        told = []
        for _ in range(2):
            answer = client.chat.completions.with_raw_response.create(
                model=os.environ["MODEL"], messages=MESSAGES, max_tokens=4
            )
            told.append({name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit")})
        return {"told": told, "third": met(client, os.environ["MODEL"], max_tokens=4)}


def met(client: OpenAI, model: str, **more: Any) -> Any:
    try:
        created(client, model, **more)
    except APIStatusError as error:
        return {
            "class": type(error).__name__,
            "status": error.status_code,
            "code": error.code,
            "message": error.message,
            "headers": dict(error.response.headers),
        }
    return None


def budget() -> Any:
    """A key with a budget of a hundred tokens: a call that may use more, and a stream that does."""
    tries = Tries()
    with tries.client("BUDGET_KEY") as client:
        refused = met(client, os.environ["MODEL"], max_tokens=200)
        return {"refused": refused, "tries": tries.seen, "stopped": stopped(client)}


def stopped(client: OpenAI) -> Any:
    text = ""
    try:
        for chunk in created(client, LONG, max_tokens=8, stream=True):
            text += chunk.choices[0].delta.content or "" if chunk.choices else ""
    except APIError as error:
        return {"text": text, "class": type(error).__name__, "code": error.code, "message": error.message}
    return {"text": text, "class": None}


def main() -> None:
    print(json.dumps({"one": one_at_a_time(), "minute": minute(), "budget": budget()}))  # noqa: T201


if __name__ == "__main__":
    main()
