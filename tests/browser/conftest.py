"""A real browser at the real server, which runs as a child process on the tests' database.

Playwright keeps an event loop in the main thread, so these tests run in a pytest process of their own, and the ORM is
told not to mind the loop.
"""

import os
from collections.abc import Callable, Iterator

import pytest
from django.test import override_settings
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.find_browser import installed
from tests.server import LiveServer

os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

type Visitor = Callable[..., Page]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        program = os.environ.get("CHROMIUM") or installed()
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def real_hashing() -> Iterator[None]:
    """The server knows no hasher of the tests."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.PBKDF2PasswordHasher"]):
        yield


@pytest.fixture
def server(transactional_db: None) -> Iterator[LiveServer]:
    """The web on the tests' database, with the demo engine."""
    with LiveServer() as running:
        running.manage("add_engine", "--name", "Demo", "--type", "demo")
        yield running


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
