"""Limits and budgets from the form that sets them to the page that tells of a refusal."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from accounts.models import Team, User
from tests.browser.steps import let_in
from tests.browser.test_walk import shows
from tests.server import LiveServer

OPENER = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    error: dict[str, Any]


def call(server: LiveServer, secret: str, **more: int) -> Answer:
    body = {"model": "small", "messages": [{"role": "user", "content": "Hello"}], **more}
    signed = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    request = Request(f"{server.url}/v1/chat/completions", json.dumps(body).encode(), signed)  # noqa: S310
    try:
        with OPENER.open(request, timeout=30) as answer:
            return Answer(answer.status, dict(answer.headers), {})
    except HTTPError as refused:
        return Answer(refused.code, dict(refused.headers), json.load(refused)["error"])


@pytest.mark.spec("U4", "F31", "F32")
def test_an_admin_limits_and_budgets_a_key_its_caller_is_refused_and_the_page_says_so(
    page: Page, alice: User, red: Team, server: LiveServer
) -> None:
    let_in(page, alice, server)
    secret = create_bounded_key(page, red)

    spent = call(server, secret, max_tokens=5000)
    assert (spent.status, spent.error["code"]) == (402, "insufficient_quota")
    assert "The key's monthly budget of 1000 tokens" in spent.error["message"]
    assert [call(server, secret, max_tokens=20).status for _ in range(2)] == [200, 200]
    full = call(server, secret, max_tokens=20)
    assert (full.status, full.error["code"]) == (429, "rate_limit_exceeded")
    assert "this API key may have 2 requests a minute" in full.error["message"]

    usage = reverse("billing:usage", args=[red.slug])
    shows(page, usage, "2 calls were refused")
    for reason in ("a budget or credit that is used up", "the key's limit of requests a minute"):
        expect(page.locator("#refused").get_by_role("row", name=reason).first).to_contain_text("1")
    what_the_other_pages_say(page)
    raise_both(page)
    expect(page.get_by_text("of 2,000,000 tokens")).to_be_visible()


def create_bounded_key(page: Page, team: Team) -> str:
    page.goto(reverse("accounts:keys", args=[team.slug]))
    page.get_by_role("link", name="Create key").first.click()
    page.get_by_label("Name").fill("website")
    page.get_by_text("Limits and more").click()
    page.get_by_label("Requests a minute").fill("2")
    page.get_by_label("Budget a month").fill("1000")
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("heading", name="Store this key now")).to_be_visible()
    return page.locator("#secret").inner_text()


def what_the_other_pages_say(page: Page) -> None:
    go(page, "Limits")
    expect(page.locator("tr", has_text="website")).to_contain_text("Requests a minute: 2 of 2")
    go(page, "Keys")
    row = page.locator("tr", has_text="website")
    expect(row).to_contain_text("at most 2 requests a minute")
    expect(row).to_contain_text("of 1,000 tokens this month")


def raise_both(page: Page) -> None:
    """From the key's own menu, which leads to a form that knows the key."""
    page.get_by_label("Actions for website").click()
    page.locator("tr", has_text="website").get_by_role("link", name="Budget").click()
    expect(page.get_by_label("Whose").locator("option:checked")).to_contain_text("website")
    page.get_by_label("Amount in a month").fill("2000000")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved. It is in force within a second.")).to_be_visible()


def go(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name=name, exact=True).click()
