"""Where an HTTP request goes first: health, the API or the pages; and nowhere while the process drains."""

import asyncio
import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from wsgiref.headers import Headers

from django.conf import settings

from billing.ids import new_request
from console.lifespan import listening
from console.metrics import metrics
from gateway.running import drain_flag
from gateway.snapshot import holder

RETRY_AFTER = b"5"  # seconds
API = ("/v1/", "/api/v1/organization/")

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Message, Receive, Send], Awaitable[None]]


class Doors:
    """Counts the requests inside, which a drain waits for."""

    def __init__(self, *, api: Application, pages: Application) -> None:
        self._api = api
        self._pages = pages
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/healthz":
            await answer(send, 200, {"status": "ok"})
        elif path == "/readyz":
            await readyz(send)
        elif path == "/metrics":
            await tell_metrics(scope, send)
        elif drain_flag.is_set():
            await refuse(send)
        else:
            self._enter()
            try:
                inside = self._api if path == "/v1" or path.startswith(API) else self._pages
                await inside(as_proxied(scope), receive, send)
            finally:
                self._leave()

    async def empty(self) -> None:
        """Returns when no request is inside."""
        await self._empty.wait()

    def _enter(self) -> None:
        self._inside += 1
        self._empty.clear()

    def _leave(self) -> None:
        self._inside -= 1
        if not self._inside:
            self._empty.set()


async def readyz(send: Send) -> None:
    if drain_flag.is_set():
        await answer(send, 503, {"status": "draining"})
    elif not (listening.database_answers and holder.fresh):
        await answer(send, 503, {"status": "no database"})
    else:
        await answer(send, 200, {"status": "ok"})


async def tell_metrics(scope: Message, send: Send) -> None:
    """Also while the process drains."""
    page = await metrics(dict(scope["headers"]))
    headers = [
        (b"content-type", page.content_type),
        (b"content-length", b"%d" % len(page.body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *([(b"www-authenticate", b"Bearer")] if page.status == 401 else []),
    ]
    await send({"type": "http.response.start", "status": page.status, "headers": headers})
    await send({"type": "http.response.body", "body": page.body})


async def refuse(send: Send) -> None:
    """In the API's own shape: its clients then know to try again, and people do not come this far."""
    message = "This server is restarting. Try again."
    error = {"message": message, "type": "server_error", "code": "draining", "param": None}
    name = str(new_request().id).encode()
    headers = [(b"retry-after", RETRY_AFTER), (b"connection", b"close"), (b"x-request-id", name), (b"id", name)]
    await answer(send, 503, {"error": error}, headers)


async def answer(send: Send, status: int, body: object, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    content = json.dumps(body).encode()
    fixed = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": fixed + (headers or [])})
    await send({"type": "http.response.body", "body": content})


def static_headers(headers: Headers, path: str, url: str) -> None:
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"


def as_proxied(scope: Message) -> Message:
    """The caller's own address and scheme, when one of TRUSTED_PROXIES hands the request on."""
    trusted = settings.TRUSTED_NETWORKS
    client = scope.get("client")
    if not trusted or not client or not _within(client[0], trusted):
        return scope
    named = dict(scope["headers"])
    hops = [hop.strip() for hop in named.get(b"x-forwarded-for", b"").decode("latin-1").split(",") if hop.strip()]
    address = next((hop for hop in reversed(hops) if not _within(hop, trusted)), client[0])
    scheme = "https" if named.get(b"x-forwarded-proto") == b"https" else scope.get("scheme", "http")
    return {**scope, "client": [address, 0], "scheme": scheme}


def _within(address: str, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)
