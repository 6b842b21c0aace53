"""A relay in front of an engine that passes every byte on and remembers the usage that the engine reported."""

import asyncio
import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from aiohttp import ClientSession, DummyCookieJar, web

_HOP = {"connection", "host", "content-length", "transfer-encoding", "keep-alive"}


@dataclass(frozen=True, slots=True)
class Reported:
    """What the engine said of one request. `answer_id` is the id in its body; embeddings have none."""

    answer_id: str
    prompt_tokens: int
    completion_tokens: int


@dataclass
class Recorder:
    upstream: str
    reported: list[Reported] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        if not started.wait(20):
            raise TimeoutError("the recorder did not start")
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._relay)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with ClientSession(cookie_jar=DummyCookieJar(), auto_decompress=False) as self._session:
            started.set()
            await self._stop.wait()
        await runner.cleanup()

    async def _relay(self, request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = self.upstream + request.rel_url.raw_path_qs
        body = bytearray()
        async with self._session.request(request.method, url, data=await request.read(), headers=headers) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                body += chunk
                await response.write(chunk)
        if request.method == "POST" and answer.status == 200:
            self._remember(bytes(body))
        with suppress(ConnectionError):  # a reader may leave after [DONE]
            await response.write_eof()
        return response

    def _remember(self, body: bytes) -> None:
        lines = body.split(b"\n") if body.startswith(b"data:") else [b"data:" + body]
        for line in lines:
            payload = line.removeprefix(b"data:").strip()
            if payload and payload != b"[DONE]" and (usage := json.loads(payload).get("usage")):
                answer_id = json.loads(payload).get("id", "")
                self.reported.append(Reported(answer_id, usage["prompt_tokens"], usage.get("completion_tokens", 0)))
