"""Trying the API on its reference page, in a real browser at the real server."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from accounts.models import Team, User
from tests.browser.conftest import Visitor
from tests.browser.steps import let_in
from tests.engines.faultd import FaultEngine
from tests.server import LiveServer


def ask(page: Page, text: str) -> None:
    page.get_by_label("Model").select_option("small")
    page.get_by_label("Text").fill(text)
    page.get_by_role("button", name="Send").click()


@pytest.mark.parametrize("script", [True, False])
def test_a_call_is_tried_with_and_without_javascript(
    visitor: Visitor, alice: User, red: Team, server: LiveServer, script: bool
) -> None:
    page = visitor(java_script_enabled=script)
    let_in(page, alice, server)
    page.goto(reverse("gateway:reference"))
    ask(page, "How are you?")
    expect(page.get_by_text("200 OK")).to_be_in_viewport()
    expect(page.locator("#tried-answer")).to_contain_text('"object": "chat.completion"')
    expect(page.locator("#tried-curl")).to_contain_text("How are you?")
    assert page.url.endswith("/reference/" if script else "/reference/try/#try")


def test_a_stream_that_is_tried_shows_its_events(page: Page, alice: User, red: Team, server: LiveServer) -> None:
    let_in(page, alice, server)
    page.goto(reverse("gateway:reference"))
    page.get_by_label("As a stream").check()
    ask(page, "How are you?")
    expect(page.locator("#tried-answer")).to_contain_text("data: [DONE]")


@pytest.mark.spec("T7")
def test_whoever_leaves_the_page_stops_the_engine(
    page: Page, alice: User, red: Team, server: LiveServer, engine: FaultEngine
) -> None:
    let_in(page, alice, server)
    page.goto(reverse("gateway:reference"))
    ask(page, "fault:hang")
    engine.wait_for(lambda: engine.requests[-1].scenario == "hang")
    expect(page.get_by_text("Waiting for the answer")).to_be_visible()
    page.goto("/")
    engine.wait_for(lambda: engine.requests[-1].closed_at is not None)
