"""An engine that fails on command, and the part of a web process that the chat needs."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from django.conf import settings

from accounts import revision
from accounts.database import in_database
from billing.spool.writer import open_spool
from chat.generations import supervisor
from chat.listeners import LISTENERS
from console.listen import Listening
from gateway.engines.client import close_http
from gateway.models import Engine, ServedModel
from gateway.snapshot import holder
from tests.engines.faultd import FaultEngine

settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # console.asgi wants to see it


@pytest.fixture
def engine() -> Iterator[FaultEngine]:
    with FaultEngine() as running:
        yield running


def serve_model(engine: FaultEngine, scenario: str, *, name: str = "small") -> None:
    """Offer the fault engine's `scenario` to everybody as the model `name`."""
    row, _ = Engine.objects.get_or_create(name="fault", defaults={"type": "openai", "url": engine.url})
    ServedModel.objects.update_or_create(engine=row, public_id=name, defaults={"engine_model": scenario})
    revision.bump()


@asynccontextmanager
async def web_process(spool: Path) -> AsyncIterator[None]:
    """What a web process starts for the chat: spool, snapshot, LISTEN, supervisor."""
    ledger = open_spool(spool)
    holder._snapshot = None
    await holder.refresh()
    listening = Listening(LISTENERS)
    listening.start()
    await supervisor.start()
    try:
        yield
    finally:
        await supervisor.stop()
        await listening.stop()
        await close_http()
        await in_database(ledger.close)
