"""/v1 on a real socket: the ASGI application under uvicorn in a thread, the fault engine behind it."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from accounts.models import Team
from accounts.secrets import encrypt
from billing.ledger.partitions import ensure_partitions
from billing.models import UsageRecord
from billing.spool.shipper import Shipper
from billing.spool.writer import open_spool
from gateway import health, running
from gateway.api import application
from gateway.engines.client import close_http
from gateway.models import Engine, ServedModel
from gateway.snapshot import holder
from tests.engines.faultd import SCENARIOS, FaultEngine
from tests.factories import make_key

SECRET = "sk-engine-canary-0123456789"


@dataclass
class Api:
    """The running gateway and what a test needs to call it and to look behind it."""

    url: str
    secret: str
    engine: FaultEngine
    spool: Path
    loop: asyncio.AbstractEventLoop
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        headers = {"authorization": f"Bearer {self.secret}"}
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)

    def chat(self, model: str = "plain", **more: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "Hola, ¿qué tal?"}], **more}
        return self.client.post("/v1/chat/completions", json=body)

    def stream(self, model: str = "plain", **more: Any) -> "Streamed":
        response = self.chat(model, stream=True, **more)
        return Streamed(response)

    def serve(self, *models: str) -> None:
        """Offers more models of the fault engine, each under its own name."""
        engine = Engine.objects.get(name="fault")
        for model in models:
            ServedModel.objects.get_or_create(engine=engine, public_id=model, defaults={"engine_model": model})
        self.reload()

    def offer(self, name: str, url: str = "", *, public: str = "shared", model: str = "plain", **more: Any) -> Engine:
        """One more engine, the fault engine unless another address is given, and a model of it."""
        defaults = more.pop("defaults", {})
        more = {"type": "openai", "url": url or self.engine.url, "secret": encrypt(SECRET), **more}
        engine = Engine.objects.create(name=name, **more)
        ServedModel.objects.create(engine=engine, public_id=public, engine_model=model, defaults=defaults)
        self.reload()
        return engine

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Does the work where the gateway runs."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def reload(self) -> None:
        """Loads the snapshot anew, as a notification would."""
        holder._snapshot = None
        self.run(holder.refresh())

    def rows(self, least: int = 0) -> list[UsageRecord]:
        """The log, once it holds at least so many rows: a spool file is shipped after the next one has begun."""
        found: list[UsageRecord] = []

        def shipped() -> bool:
            Shipper(self.spool).ship_once()
            found[:] = UsageRecord.objects.order_by("at", "id")
            return len(found) >= least

        self.engine.wait_for(shipped)
        return found

    def row(self) -> UsageRecord:
        """The one row that the log comes to hold."""
        (found,) = self.rows(1)
        return found


class Streamed:
    """A stream that was read to its end."""

    def __init__(self, response: httpx.Response) -> None:
        self.status, self.headers, self.raw = response.status_code, response.headers, response.content
        lines = [line for line in self.raw.split(b"\n\n") if line]
        self.payloads = [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")]
        self.events: list[dict[str, Any]] = [json.loads(data) for data in self.payloads if data != b"[DONE]"]

    @property
    def done(self) -> bool:
        return self.raw.endswith(b"data: [DONE]\n\n")

    @property
    def text(self) -> str:
        deltas = (c["delta"].get("content") or "" for e in self.events for c in e.get("choices", []))
        return "".join(deltas)


@pytest.fixture
def fault() -> Iterator[FaultEngine]:
    with FaultEngine(secret=SECRET) as engine:
        yield engine


@pytest.fixture
def api(transactional_db: None, red: Team, fault: FaultEngine, tmp_path: Path) -> Iterator[Api]:
    from gateway.catalogue import add_engine

    ensure_partitions()
    engine = add_engine(name="fault", type="openai", url=fault.url, secret=SECRET, machine_name="ma02")
    names = ("plain", *(f"fault:{name}" for name in SCENARIOS))
    ServedModel.objects.bulk_create(
        ServedModel(engine=engine, public_id=name, engine_model=name, context_length=8192) for name in names
    )
    secret = make_key(red).secret
    holder.__init__()  # type: ignore[misc]  # the tests' tables were emptied, so a known revision means nothing
    health.forget()
    with _served(tmp_path) as (url, loop):
        found = Api(url, secret, fault, tmp_path, loop)
        found.reload()
        yield found
        found.client.close()


class _served:  # noqa: N801  reads as a verb
    """The application under uvicorn in a thread of its own."""

    def __init__(self, spool_root: Path) -> None:
        self._spool = open_spool(spool_root, rotate_seconds=0.05)
        # The protocol is named so that asyncio sets TCP_NODELAY: without it each answer waits 40 ms for an ACK.
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._sock.bind(("127.0.0.1", 0))
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        config = uvicorn.Config(application, lifespan="off", log_config=None, ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> tuple[str, asyncio.AbstractEventLoop]:
        self._thread.start()
        limit = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < limit
            time.sleep(0.005)
        return f"http://127.0.0.1:{self._sock.getsockname()[1]}", self._loop

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(15)
        self._sock.close()
        self._spool.close()
        running.drain_flag.clear()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._live())
        self._loop.close()

    async def _live(self) -> None:
        """As `Server.serve` does, which looks only every tenth of a second whether it shall stop."""
        self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        await self._server.startup(sockets=[self._sock])
        await self._stop.wait()
        await self._server.shutdown(sockets=[self._sock])
        await close_http()


@pytest.fixture
def quick(settings: Any) -> Callable[..., None]:
    """Shortens deadlines: `quick(first_byte_seconds=0.5)`."""
    from dataclasses import replace

    def set_to(**seconds: float) -> None:
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, **seconds)

    return set_to
