"""The newcomer's walk: from the link that `start` prints to the usage of a chat and of a curl."""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor
from tests.browser.steps import create_key, sign_in
from tests.factories import PASSWORD
from tests.server import LiveServer

SHIPPED = 30_000  # ms until the usage page is sure to show a call


@pytest.fixture
def server() -> Iterator[LiveServer]:
    """A fresh installation, as `make start` leaves it."""
    data = Path(tempfile.mkdtemp(dir=settings.DATA))
    data.chmod(0o711)  # the database server's account passes through
    with LiveServer("start", data=data) as running:
        yield running


@pytest.fixture
def link(server: LiveServer) -> str:
    found = re.search(r"First sign-in +(\S+)", server.log())
    assert found
    return found.group(1)


@pytest.mark.spec("S01")
def test_a_newcomer_gets_from_the_first_link_to_the_usage_of_chat_and_curl(page: Page, link: str) -> None:
    enter_by(link, page)
    expect(page.get_by_role("heading", name="First steps")).to_be_visible()
    chat_and_stop(page)
    secret = create_key_from_home(page)
    model = run_the_curl(page, secret)
    expect(page.get_by_text("First request received")).to_be_visible(timeout=SHIPPED)
    see_usage_of_both(page, model)
    the_secret_is_nowhere(page, secret)
    assert page.request.get(link).status == 404, "the first link opens once"


def test_the_walk_works_without_javascript_where_it_is_not_the_chat(visitor: Visitor, link: str) -> None:
    page = visitor(java_script_enabled=False)
    enter_by(link, page)
    expect(page.get_by_role("heading", name="First steps")).to_be_visible()
    secret = create_key_from_home(page)
    model = run_the_curl(page, secret)
    see_usage_of_both(page, model, chatted=False)
    revoke(page)
    sign_out(page)
    sign_in(page, "admin@localhost")


def enter_by(link: str, page: Page) -> None:
    page.goto(link)
    page.get_by_role("button", name="Sign in").click()
    page.locator("[name=password1]").fill(PASSWORD)
    page.locator("[name=password2]").fill(PASSWORD)
    page.get_by_role("button", name="Set the password").click()


def chat_and_stop(page: Page) -> None:
    page.get_by_role("link", name="New conversation").first.click()
    page.get_by_label("Your question").fill("Tell me a long story about the sea")
    page.get_by_role("button", name="Ask").click()
    answer = page.locator(".answer .prose").last
    expect(answer).to_contain_text(re.compile(r"\w+ \w+"))
    page.locator("#stop").click()
    expect(page.locator("#stop")).to_have_count(0)
    written = answer.inner_text()
    page.reload()
    expect(page.locator(".answer .prose").last).to_have_text(re.compile(re.escape(written.split()[0])))
    expect(page.get_by_text("Tell me a long story about the sea").last).to_be_visible()


def create_key_from_home(page: Page) -> str:
    page.goto("/")
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Keys").click()
    secret = create_key(page, "newsletter")
    assert re.fullmatch(r"sk-tert-[0-9A-Za-z]{36}", secret)
    return secret


def run_the_curl(page: Page, secret: str) -> str:
    """Runs what the page shows, to the letter. The model that answered."""
    command = page.locator("#curl").inner_text()
    assert secret in command
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=True)
    answer = json.loads(done.stdout)
    assert answer["usage"]["completion_tokens"] > 0
    return str(answer["model"])


def see_usage_of_both(page: Page, model: str, *, chatted: bool = True) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Usage", exact=True).click()
    usage = page.url.split("?")[0]
    shows(page, f"{usage}?group=key", "newsletter")
    shows(page, f"{usage}?group=model", model)
    if chatted:
        shows(page, f"{usage}?group=origin", "chat")


def shows(page: Page, address: str, words: str) -> None:
    """The page, reloaded until the shipper has brought the call."""
    expect(page.locator("body")).to_be_attached()
    for _ in range(SHIPPED // 500):
        page.goto(address)
        if page.locator("main").get_by_text(words).count():
            return
        page.wait_for_timeout(500)
    expect(page.locator("main")).to_contain_text(words)


def the_secret_is_nowhere(page: Page, secret: str) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Keys").click()
    expect(page.get_by_role("rowheader", name="newsletter")).to_be_visible()
    assert secret not in page.content()


def revoke(page: Page) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Keys").click()
    page.get_by_label("Actions for newsletter").click()
    page.get_by_role("link", name="Revoke…").click()
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("Revoked", exact=True)).to_be_visible()


def sign_out(page: Page) -> None:
    page.get_by_label("Account of").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
