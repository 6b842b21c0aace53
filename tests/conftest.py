"""A real PostgreSQL for the session, and a cast of three: Alice owns the red team and operates the platform, Bob is
a member of the red team, Charlie owns the blue team."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from accounts.models import Team, User
from console.postgres import running
from tests.factories import join, make_person, make_team


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> Iterator[None]:
    data = Path(settings.DATA)
    with running(data):
        yield
    shutil.rmtree(data, ignore_errors=True)


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
