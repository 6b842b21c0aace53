"""PostgreSQL goes away and comes back: what a key with a budget meets meanwhile."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx
import pytest

from console.postgres import DATABASE, USER, EmbeddedServer
from tests.engines.faultd import FaultEngine
from tests.server import LiveServer

MODEL = "fault:ok?n=5"


def call(client: httpx.Client, url: str, key: str) -> httpx.Response:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "how are you"}]}
    return client.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}, timeout=30)


@pytest.fixture
def database() -> Iterator[EmbeddedServer]:
    """A PostgreSQL that this test may stop."""
    with tempfile.TemporaryDirectory(prefix="tertulia-away-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # the database server's account passes through
        server = EmbeddedServer(Path(folder))
        server.join()
        yield server
        server.leave()


@pytest.fixture
def server(database: EmbeddedServer) -> Iterator[LiveServer]:
    host = urlencode({"host": str(database.sockets)}, quote_via=quote)
    with tempfile.TemporaryDirectory(prefix="tertulia-away-", ignore_cleanup_errors=True) as data:
        live = LiveServer(data=Path(data), ready=False, DATABASE_URL=f"postgres://{USER}@/{DATABASE}?{host}")
        live.manage("migrate", "--verbosity=0")
        with live:
            live.wait_for(200)
            yield live


def prepare(server: LiveServer, engine: str, keys: list[str]) -> list[str]:
    server.manage("add_engine", "--name", "faults", "--type", "openai", "--url", engine, "--model", MODEL)
    server.manage("create_team", "--name", "Load", "--owner", "owner@example.org")
    return [server.manage("create_key", "--team", "load", "--name", name).stdout.strip() for name in keys]


SET_BUDGET = """
from decimal import Decimal
from accounts.models import ApiKey
from billing.budgets.monthly import set_budget
from billing.models import Unit
key = ApiKey.objects.get(name="limited")
set_budget(team=key.team, key=key, unit=Unit.TOKENS, amount=Decimal(10_000), hard=True, by=None)
"""
ACCOUNT = """
from billing.models import BudgetAccount, Reservation
account = BudgetAccount.objects.get()
print(f"{account.spent:.0f} {account.reserved:.0f} {Reservation.objects.count()}")
"""


@pytest.mark.spec("F16", "F17", "F21", "U4")
def test_without_postgresql_a_key_with_a_budget_waits_and_what_it_ran_is_settled_when_it_is_back(
    server: LiveServer, database: EmbeddedServer
) -> None:
    with FaultEngine() as engine, httpx.Client() as client:
        free, limited = prepare(server, engine.url, ["free", "limited"])
        server.manage("shell", "--verbosity=0", "--command", SET_BUDGET)
        for secret in (free, limited):
            assert call(client, server.url, secret).status_code == 200
        database._run("pg_ctl", "-D", database.cluster, "stop", "-m", "immediate")
        server.wait_for(503)
        refused, answered = call(client, server.url, limited), call(client, server.url, free)
        database.revive()
        server.wait_for(200)
        again = call(client, server.url, limited)

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert (answered.status_code, again.status_code) == (200, 200)
    assert server.terminate() == 0  # the rest of the spool is shipped
    tokens = sum(answer.json()["usage"]["total_tokens"] for answer in (again, again))  # both calls were alike
    assert server.manage("shell", "--verbosity=0", "--command", ACCOUNT).stdout.split() == [str(tokens), "0", "0"]
    assert server.manage("usage_audit").returncode == 0
