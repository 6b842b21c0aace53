"""What a program needs no client for: the description, and what its key has used. Prints both, once a call is told."""

import json
import os
import time
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

URL = os.environ["OPENAI_BASE_URL"]
SIGNED = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
OPENER = build_opener(ProxyHandler({}))
PATIENCE = 30  # seconds until a call must have come into the log


def sent(path: str, headers: dict[str, str], body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    kind = {} if body is None else {"Content-Type": "application/json"}
    with OPENER.open(Request(URL + path, data, headers | kind), timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def usage(least: int) -> Any:
    until = time.monotonic() + PATIENCE
    while True:
        found = sent("/usage", SIGNED)
        if found["month"]["requests"] >= least or time.monotonic() > until:
            return found
        time.sleep(0.2)


def main() -> None:
    before = usage(0)
    asked = {"model": os.environ["MODEL"], "input": "The capital of France"}
    answer = sent("/embeddings", SIGNED, asked)
    call = {"usage": [answer["usage"]["prompt_tokens"], 0], "length": len(answer["data"][0]["embedding"])}
    found = {"before": before, "calls": [call], "after": usage(1), "described": sent("/openapi.json", {})}
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
