"""openai for Python where calls fail. Prints the error of each, and how often it was tried."""

import json
import os
from typing import Any

from openai import APIError, APIStatusError, OpenAI

MESSAGES: Any = [{"role": "user", "content": "Hello"}]


def met(client: OpenAI, model: str, **more: Any) -> Any:
    try:
        client.chat.completions.create(model=model, messages=MESSAGES, **more)
    except APIStatusError as error:
        return {
            "class": type(error).__name__,
            "status": error.status_code,
            "code": error.code,
            "param": error.param,
            "named": bool(error.request_id),
            "attempts": 1 + int(error.request.headers["x-stainless-retry-count"]),
        }
    return None


def broken_off(client: OpenAI, model: str) -> Any:
    """The text before the error, and the error."""
    text = ""
    try:
        for chunk in client.chat.completions.create(model=model, messages=MESSAGES, stream=True):
            text += chunk.choices[0].delta.content or ""
    except APIError as error:
        return {"text": text, "class": type(error).__name__, "code": error.code, "message": error.message}
    return None


def repeated(client: OpenAI, model: str) -> Any:
    """An order that is sent again, as it was and otherwise."""
    name = {"Idempotency-Key": "order-1"}
    client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=4, extra_headers=name)
    return {
        "repeated": met(client, model, max_tokens=4, extra_headers=name),
        "repeated otherwise": met(client, model, max_tokens=5, extra_headers=name),
    }


def main() -> None:
    with OpenAI() as client, OpenAI(api_key="sk-wrong") as stranger:
        found = {
            "wrong key": met(stranger, os.environ["MODEL"]),
            "unknown model": met(client, "no such model"),
            "bad parameter": met(client, os.environ["MODEL"], temperature=3),
            "engine away": met(client, "fault:status?code=503&retry=1"),
            "engine busy": met(client, "fault:429?retry=1"),
            "broken off": broken_off(client, "fault:error-late"),
            **repeated(client, os.environ["MODEL"]),
        }
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
