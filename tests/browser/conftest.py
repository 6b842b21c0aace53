"""A real browser at the real server, which runs as a child process on the tests' database.

One server and one fault engine serve all tests of the session. What tests write is committed and stays, since nothing
could empty the tables under a running server; each test has people, a team and conversations of its own instead.

Playwright keeps an event loop in the main thread, so these tests run in a pytest process of their own, and the ORM is
told not to mind the loop.
"""

import itertools
import os
from collections.abc import Callable, Iterator

import pytest
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright
from pytest_django import DjangoDbBlocker

from accounts.models import Team, User
from gateway.models import Engine, ServedModel
from tests.engines.faultd import FaultEngine
from tests.factories import join, make_person
from tests.find_browser import installed
from tests.server import LiveServer, free_port

os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

# What is offered to everybody. A question that begins with `fault:` is a scenario of its own for `small`.
MODELS = {"small": "plain", "echo": "fault:echo?size=40&gap=5", "quick-echo": "fault:echo?size=7"}
AWAY = "away"  # a model whose engine is not running

type Visitor = Callable[..., Page]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        program = os.environ.get("CHROMIUM") or installed()
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def database(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="session")
def engine() -> Iterator[FaultEngine]:
    with FaultEngine() as running:
        yield running


@pytest.fixture(scope="session")
def port_of_the_engine_that_is_away() -> int:
    return free_port()


@pytest.fixture(scope="session")
def catalogue(database: None, engine: FaultEngine, port_of_the_engine_that_is_away: int) -> None:
    here = Engine.objects.create(name="fault", type="openai", url=engine.url)
    for name, scenario in MODELS.items():
        ServedModel.objects.create(engine=here, public_id=name, engine_model=scenario)
    away = f"http://127.0.0.1:{port_of_the_engine_that_is_away}"
    ServedModel.objects.create(
        engine=Engine.objects.create(name="away", type="openai", url=away), public_id=AWAY, engine_model="plain"
    )


@pytest.fixture(scope="session")
def server(catalogue: None) -> Iterator[LiveServer]:
    """The web on the tests' database. It shares the tests' secret, so that they can hand out sessions."""
    with LiveServer(SECRET_KEY=settings.SECRET_KEY, DRAIN_SECONDS="2", STATUS_PAGE="1") as running:
        yield running


@pytest.fixture
def db(database: None) -> None:
    """In place of pytest-django's, whose transaction the server would not see into."""


@pytest.fixture
def alice(db: None) -> User:
    return make_person("Alice", email=f"alice-{next(_numbers)}@example.org", is_operator=True)


@pytest.fixture
def bob(red: Team) -> User:
    person = make_person("Bob", email=f"bob-{next(_numbers)}@example.org")
    join(red, person)
    return person


@pytest.fixture
def visitor(chromium: Browser, server: LiveServer) -> Iterator[Visitor]:
    """Opens pages of the console, each in a browser context of its own; at the end their consoles must be empty."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(f"{message.type}: {message.text} ({message.location['url']})")

    def open_page(**options: object) -> Page:
        context = chromium.new_context(base_url=server.url, **options)  # type: ignore[arg-type]  # Playwright's own names
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(visitor: Visitor) -> Page:
    return visitor()
