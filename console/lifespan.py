"""What lives as long as a web process: its spool and shipper, what it knows of keys and models, LISTEN, the chat.

One function for both servers: uvicorn calls it through ASGI's lifespan, and so does `console.serving` for daphne, which
drains by itself.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from django.conf import settings

from billing.limits.limiter import limiter
from billing.spool.shipper import Shipper, spool_root
from billing.spool.writer import open_spool
from chat.generations import supervisor
from chat.listeners import LISTENERS as CHAT
from console import watchdog
from console.draining import Drain
from console.listen import Listening
from gateway import health
from gateway.engines.client import close_http
from gateway.listeners import LISTENERS as GATEWAY
from gateway.monitor.pulse import heart
from gateway.snapshot import holder

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]

DRAINS = "tertulia.drains"  # an extension of lifespan's scope: the server drains, and we need not

listening = Listening({**GATEWAY, **CHAT})
shipper = Shipper(spool_root())

logger = logging.getLogger(__name__)


@asynccontextmanager
async def life(*, drained_by_server: bool) -> AsyncIterator[None]:
    """Begins without a database too: /readyz says so, and everything catches up when it comes."""
    environment = settings.ENVIRONMENT
    async with AsyncExitStack() as stack:
        spool = open_spool(spool_root(), sync=environment.spool_sync, rotate_seconds=environment.spool_rotate_seconds)
        stack.callback(spool.close)
        shipper.start()
        stack.push_async_callback(asyncio.to_thread, shipper.stop)
        stack.push_async_callback(close_http)
        await limiter.open(workers=environment.workers, redis_url=environment.redis_url)
        stack.push_async_callback(limiter.close)
        polling = asyncio.create_task(holder.poll(), name="snapshot")
        stack.push_async_callback(_end, polling)
        looking = asyncio.create_task(health.watch(holder.engines), name="engines")
        stack.push_async_callback(_end, looking)
        beating = asyncio.create_task(heart.beat(), name="pulse")
        stack.push_async_callback(heart.stop)
        stack.push_async_callback(_end, beating)
        watching = asyncio.create_task(watchdog.watch(), name="watchdog")
        stack.push_async_callback(_end, watching)
        listening.start()
        stack.push_async_callback(listening.stop)
        await supervisor.start()
        stack.push_async_callback(supervisor.stop)
        if not drained_by_server:
            drain = Drain(environment.drain_seconds)
            stack.enter_context(drain.heard())
            stack.push_async_callback(drain.over)
        yield


async def lifespan(scope: Message, receive: Receive, send: Send) -> None:
    """ASGI's lifespan protocol around `life`."""
    await receive()
    try:
        async with life(drained_by_server=DRAINS in scope.get("extensions", {})):
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except Exception as error:
        logger.exception("The web process cannot live")
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.shutdown.complete"})


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
