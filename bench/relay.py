"""The calibrator of `bench.gateway`: an ASGI application that hands every request on to an engine, and no more."""

import os
from collections.abc import MutableMapping
from typing import Any

from gateway.engines.client import http


async def application(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    client = http()
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    request = client.build_request("POST", os.environ["ENGINE"] + scope["path"], content=bytes(body), headers=headers)
    answer = await client.send(request, stream=True)
    kept = [(name, value) for name, value in answer.headers.raw if name.lower() != b"transfer-encoding"]
    await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
    async for chunk in answer.aiter_raw():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await answer.aclose()
    await send({"type": "http.response.body", "body": b""})
