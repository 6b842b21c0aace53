"""A real PostgreSQL for the session, and a cast of three: Alice owns the red team and operates the platform, Bob is
a member of the red team, Charlie owns the blue team."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db.models.signals import post_migrate

from accounts.models import Team, User
from console.postgres import USER, EmbeddedServer, running
from console.preparation import compile_messages_if_changed
from tests.factories import join, make_person, make_team


def pytest_configure(config: pytest.Config) -> None:
    """Once, not in each of the processes that run tests."""
    if not hasattr(config, "workerinput"):
        compile_messages_if_changed()


# Files whose tests start servers and wait for clocks: first, so that no process is left alone with them at the end.
LONG = (
    "tests/gateway/test_fleet.py",
    "tests/faults/",
    "tests/console/test_serving.py",
    "tests/billing/test_truth.py",
    "tests/gateway/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        return next((turn for turn, begin in enumerate(LONG) if item.nodeid.startswith(begin)), len(LONG))

    items.sort(key=turn)  # stable: within a file as they stand


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> Iterator[None]:
    data = Path(settings.DATA)
    # After each test that commits, Django would write its permissions anew, which nothing of ours reads.
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    with running(data) as server:
        _hurry(server)
        yield
    shutil.rmtree(data, ignore_errors=True)


def _hurry(server: EmbeddedServer) -> None:
    """No test loses the machine's power, and each writes to the disk's end otherwise: that is half of their time."""
    with psycopg.connect(host=str(server.sockets), user=USER, dbname="postgres", autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("ALTER SYSTEM SET full_page_writes = off")
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def alice(db: None) -> User:
    return make_person("Alice", is_operator=True)


@pytest.fixture
def red(alice: User) -> Team:
    return make_team("Red", owner=alice)


@pytest.fixture
def bob(red: Team) -> User:
    person = make_person("Bob")
    join(red, person)
    return person


@pytest.fixture
def charlie(db: None) -> User:
    return make_person("Charlie")


@pytest.fixture
def blue(charlie: User) -> Team:
    return make_team("Blue", owner=charlie)
