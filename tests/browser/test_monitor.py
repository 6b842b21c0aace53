"""The live monitor in a real browser: it changes while calls run, without the page being loaded again."""

import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.conf import settings
from playwright.sync_api import Locator, Page, expect

from accounts.models import Team, User
from tests.browser.conftest import Visitor
from tests.browser.steps import let_in
from tests.engines.faultd import FaultEngine
from tests.factories import make_key
from tests.server import LiveServer

HELD = "fault:drip?n=60&gap=20&hold=40"
SOON = 15_000  # ms


def ask(server: LiveServer, secret: str, text: str) -> int:
    body = {"model": "small", "stream": True, "messages": [{"role": "user", "content": text}]}
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=60).status_code


@pytest.fixture
def secret(red: Team) -> str:
    return make_key(red).secret


def row(page: Page, table: str, name: str) -> Locator:
    return page.locator(f"#region-{table} tr", has=page.locator("th", has_text=re.compile(rf"^\s*{name}\s*$")))


def cell(page: Page, table: str, name: str, label: str) -> Locator:
    return row(page, table, name).locator(f"[data-l='{label}']")


def test_it_follows_a_call_from_its_begin_to_its_end(
    page: Page, alice: User, secret: str, server: LiveServer, engine: FaultEngine
) -> None:
    let_in(page, alice, server)
    page.goto("/operator/monitor/")
    loads: list[str] = []
    page.on("load", lambda _: loads.append(page.url))
    running = cell(page, "models", "small", "Running")
    expect(running).to_have_text("0", timeout=SOON)
    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(ask, server, secret, HELD)
        expect(running).to_have_text("1", timeout=SOON)
        expect(cell(page, "engines", "fault", "Running")).to_have_text("1")
        tokens = cell(page, "models", "small", "Tokens a second")
        expect(tokens).not_to_have_text("0", timeout=SOON)
        engine.completions()[-1].released = True
        assert call.result() == 200
    expect(running).to_have_text("0", timeout=SOON)
    expect(cell(page, "models", "small", "Requests a minute")).not_to_have_text("0")
    assert loads == []


def test_an_engine_that_does_not_answer_is_named_first(page: Page, alice: User, server: LiveServer) -> None:
    """The web process finds it out by itself: nobody has called it."""
    let_in(page, alice, server)
    page.goto("/operator/monitor/")
    expect(cell(page, "engines", "away", "Now")).to_contain_text("Not asked", timeout=SOON)
    expect(page.get_by_role("status").first).to_have_text("One engine does not work: away.")
    expect(cell(page, "engines", "fault", "Now")).to_contain_text("Not looked at yet")


def test_it_holds_still_when_asked_to(page: Page, alice: User, secret: str, server: LiveServer) -> None:
    let_in(page, alice, server)
    page.goto("/operator/monitor/")
    at = page.locator("#read-at")
    first = at.inner_text()
    expect(at).not_to_have_text(first, timeout=SOON)
    page.get_by_role("button", name="Hold still").click()
    page.wait_for_timeout(300)
    held = at.inner_text()
    page.wait_for_timeout(3000)
    assert at.inner_text() == held
    page.get_by_role("button", name="Go on").click()
    expect(at).not_to_have_text(held, timeout=SOON)


def test_what_somebody_selects_stays_as_it_is(page: Page, alice: User, server: LiveServer) -> None:
    let_in(page, alice, server)
    page.goto("/operator/monitor/")
    at = page.locator("#read-at")
    expect(at).not_to_have_text(at.inner_text(), timeout=SOON)
    selected = at.evaluate("place => { getSelection().selectAllChildren(place); return getSelection().toString(); }")
    page.wait_for_timeout(3000)
    assert page.evaluate("() => getSelection().toString()") == selected


def test_without_script_it_is_read_and_loaded_again(visitor: Visitor, alice: User, server: LiveServer) -> None:
    page = visitor(java_script_enabled=False)
    let_in(page, alice, server)
    page.goto("/operator/monitor/")
    expect(page.get_by_role("heading", name="Engines")).to_be_visible()
    expect(page.get_by_role("link", name="Load again")).to_be_visible()
    expect(page.get_by_role("button", name="Hold still")).to_be_hidden()
    first = page.locator("#read-at").inner_text()
    page.wait_for_timeout(1100)
    page.get_by_role("link", name="Load again").click()
    expect(page.locator("#read-at")).not_to_have_text(first, timeout=SOON)


def test_another_process_is_part_of_the_sum(
    page: Page, alice: User, secret: str, server: LiveServer, engine: FaultEngine
) -> None:
    """Calls to one web process, seen on a page of another."""
    let_in(page, alice, server)
    page.goto("/operator/monitor/")
    with (
        LiveServer(SECRET_KEY=settings.SECRET_KEY, DRAIN_SECONDS="2") as second,
        ThreadPoolExecutor(1) as caller,
    ):
        expect(page.locator("#region-processes tbody tr")).to_have_count(2, timeout=SOON)
        call = caller.submit(ask, second, secret, HELD)
        expect(cell(page, "models", "small", "Running")).to_have_text("1", timeout=SOON)
        engine.completions()[-1].released = True
        assert call.result() == 200
    expect(page.locator("#region-processes tbody tr")).to_have_count(1, timeout=30_000)
