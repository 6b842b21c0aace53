"""The calibrator of `bench.gateway`: an ASGI application that hands every request on to an engine, and no more."""

import os
from collections.abc import MutableMapping
from typing import Any

import httpx

from gateway.engines.client import transport


async def application(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    address = os.environ["ENGINE"] + scope["path"]
    request = httpx.Request("POST", address, content=bytes(body), headers=headers, extensions={"timeout": {}})
    answer = await transport().handle_async_request(request)
    kept = [(name, value) for name, value in answer.headers.raw if name.lower() != b"transfer-encoding"]
    await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
    async for chunk in answer.stream:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await answer.aclose()
    await send({"type": "http.response.body", "body": b""})
