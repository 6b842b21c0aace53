"""`bench.relay` on httpx, the HTTP client that the gateway had at first and most proxies in Python have."""

import os
from collections.abc import MutableMapping
from functools import cache
from typing import Any

import httpx

from bench.relay import HEADERS, body_of


@cache
def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(limits=httpx.Limits(max_connections=None, max_keepalive_connections=100))


async def application(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    body = await body_of(receive)
    address = os.environ["ENGINE"] + scope["path"]
    async with client().stream("POST", address, content=body, headers=HEADERS) as answer:
        kept = [(name, value) for name, value in answer.headers.raw if name.lower() != b"transfer-encoding"]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
        async for chunk in answer.aiter_raw():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
