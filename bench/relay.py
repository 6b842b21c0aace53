"""The calibrator of `bench.gateway`: an ASGI application that hands every request on to an engine, and no more."""

import os
from collections.abc import MutableMapping
from typing import Any

from yarl import URL

from gateway.engines.client import session

HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}


async def body_of(receive: Any) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def application(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    body = await body_of(receive)
    address = URL(os.environ["ENGINE"] + scope["path"], encoded=True)
    async with session().request("POST", address, data=body, headers=HEADERS) as answer:
        kept = [(name, value) for name, value in answer.raw_headers if name.lower() != b"transfer-encoding"]
        await send({"type": "http.response.start", "status": answer.status, "headers": kept})
        while chunk := await answer.content.readany():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
