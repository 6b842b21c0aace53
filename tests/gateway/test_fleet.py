"""Whole servers: a fleet that counts together or by shares, and a crowd that comes all at once."""

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings

from accounts.models import Team
from billing.ledger.log import ensure_partitions
from billing.limits.tiers import limit_key
from billing.limits.windows import Bounds
from gateway.models import Engine, ServedModel
from tests.engines.faultd import FaultEngine
from tests.factories import make_key
from tests.gateway.conftest import SECRET
from tests.redisd import RedisServer
from tests.server import LiveServer

WORKERS = 4
SLOW = "fault:slow?first=100&n=2"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    took: float  # seconds


async def ask(port: int, key: str, model: str = "plain") -> Answer:
    """One call on a connection of its own."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "x"}]}).encode()
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
        + body
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    await reader.read()
    writer.close()
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return Answer(int(head[0].split()[1]), headers, time.monotonic() - began)


async def ask_all(ports: list[int], key: str, calls: int, over: float) -> list[Answer]:
    """So many calls over so many seconds, each port in its turn."""

    async def one(number: int) -> Answer:
        await asyncio.sleep(over * number / calls)
        return await ask(ports[number % len(ports)], key)

    return list(await asyncio.gather(*(one(number) for number in range(calls))))


@pytest.fixture
def engine(transactional_db: None, red: Team) -> Iterator[FaultEngine]:
    ensure_partitions()
    with FaultEngine(secret=SECRET) as running:
        from gateway.catalogue import add_engine

        row = add_engine(name="fault", type="openai", url=running.url, secret=SECRET)
        for model in ("plain", SLOW):
            ServedModel.objects.create(engine=row, public_id=model, engine_model=model)
        yield running


@pytest.fixture
def folders() -> Iterator[list[Path]]:
    with ExitStack() as stack:
        found = []
        for _ in range(WORKERS):
            found.append(
                Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tertulia-", ignore_cleanup_errors=True)))
            )
            found[-1].chmod(0o711)
        yield found


@pytest.mark.spec("U4", "F32", "R15")
@pytest.mark.parametrize("together", [True, False], ids=["with Redis", "without Redis"])
def test_sixty_a_minute_of_a_fleet(engine: FaultEngine, red: Team, folders: list[Path], together: bool) -> None:
    issued = make_key(red)
    limit_key(key=issued.key, bounds=Bounds(requests_per_minute=60), by=None)
    with ExitStack() as stack:
        more = {"REDIS_URL": stack.enter_context(RedisServer()).url} if together else {}
        servers = [
            LiveServer(data=folder, SECRET_KEY=settings.SECRET_KEY, WORKERS=str(WORKERS), **more) for folder in folders
        ]
        for server in servers:
            stack.enter_context(server)
        answers = asyncio.run(ask_all([server.port for server in servers], issued.secret, 200, over=10))
        logs = [server.log() for server in servers]
    passed = Counter(answer.status for answer in answers)
    assert passed == {200: 60, 429: 140}
    for answer in answers:
        assert answer.headers["x-ratelimit-limit-requests"] == "60"
        if answer.status == 429:
            assert 1 <= int(answer.headers["retry-after"]) <= 120
    assert all(
        ("each process lets in its share of each limit, a 4th (WORKERS=4)" in log) is not together for log in logs
    )
    assert len(engine.completions()) == 60


@pytest.mark.spec("F27")
def test_five_hundred_at_once_are_answered_or_told_when_to_come_again(
    engine: FaultEngine, red: Team, blue: Team, folders: list[Path]
) -> None:
    Engine.objects.update(max_concurrent=8)
    reds, blues = make_key(red).secret, make_key(blue).secret

    async def crowd(port: int) -> tuple[list[Answer], list[Answer]]:
        async def stay() -> list[Answer]:
            """A team that asks little, one call after the other, while the others crowd in."""
            return [await ask(port, blues, SLOW) for _ in range(3)]

        calls = [asyncio.create_task(ask(port, reds, SLOW)) for _ in range(500)]
        few = await stay()
        return list(await asyncio.gather(*calls)), few

    with LiveServer(data=folders[0], SECRET_KEY=settings.SECRET_KEY) as server:
        many, few = asyncio.run(crowd(server.port))
        calm = asyncio.run(ask(server.port, reds))
    found = Counter(answer.status for answer in many)
    assert found[200] + found[503] == 500
    assert found[200] >= 8
    assert engine.at_once() == 8
    waits = {int(answer.headers["retry-after"]) for answer in many if answer.status == 503}
    assert waits <= {1, 2, 3, 4, 5}
    assert len(waits) > 1
    assert [answer.status for answer in few] == [200] * 3
    assert calm.status == 200
