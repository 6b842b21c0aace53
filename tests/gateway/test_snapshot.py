"""What a process knows of keys and models, and how long it trusts that."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.db import connection, connections
from psycopg import sql

from accounts.keys import digest, new_secret
from accounts.models import Team
from gateway.snapshot import Holder
from tests.factories import make_key
from tests.gateway.conftest import Api


def refreshed(holder: Holder, times: int = 1) -> None:
    async def run() -> None:
        await asyncio.gather(*(holder.refresh() for _ in range(times)), return_exceptions=True)

    asyncio.run(run())


def test_a_new_key_is_known_after_a_refresh(transactional_db: None, red: Team) -> None:
    holder = Holder()
    refreshed(holder)
    secret = make_key(red).secret
    assert digest(secret) not in holder.current().callers
    refreshed(holder)
    assert holder.current().callers[digest(secret)].team_slug == red.slug


def test_many_askers_share_a_look(transactional_db: None, red: Team) -> None:
    holder = Holder()
    refreshed(holder, times=50)
    assert holder._begun <= 2


@pytest.mark.spec("F16", "R02")
def test_without_postgres_known_keys_go_on_and_others_wait(api: Api, red: Team, quick: Callable[..., None]) -> None:
    unseen = {"authorization": f"Bearer {make_key(red).secret}"}
    api.reload()
    never_made = {"authorization": f"Bearer {new_secret()}"}
    with no_database():
        assert api.chat().status_code == 200
        refused = api.client.get("/v1/models", headers=never_made)
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert refused.json()["error"]["type"] == "service_unavailable_error"
        assert api.client.get("/v1/models", headers=unseen).status_code == 200
        quick(auth_lease=0)
        assert api.chat().status_code == 503
        quick(auth_lease=7200)
    api.reload()
    assert api.client.get("/v1/models", headers=never_made).status_code == 401
    assert api.row().outcome == "ok"


@contextmanager
def no_database() -> Iterator[None]:
    """The test database takes no connection and has lost those it had."""
    given = connection.get_connection_params()
    name = given.pop("dbname")
    given.pop("pool", None)
    with psycopg.connect(host=given["host"], user=given["user"], dbname="postgres", autocommit=True) as outside:
        connections.close_all()
        outside.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
        outside.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            outside.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name)))
