"""Models in use in a real browser: another period without a page load, with the address that shows it."""

import re

from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import Team, User
from billing.ledger import log as ledger
from billing.ledger.partitions import ensure_partitions
from tests.billing.traffic import ended, milliseconds
from tests.browser.steps import let_in
from tests.server import LiveServer


def test_another_period_is_swapped_in_and_stands_in_the_address(
    page: Page, alice: User, red: Team, server: LiveServer
) -> None:
    ensure_partitions()
    ledger.write([ended(red.pk, model="llama", at_ms=milliseconds(timezone.now()), member_id=alice.pk)])
    let_in(page, alice, server)
    page.goto(f"/t/{red.slug}/models/use/")
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=re.compile("^llama")))
    expect(row).to_contain_text("Alice")
    page.evaluate("document.body.dataset.same = 'yes'")
    page.get_by_text("7 days", exact=True).click()
    page.wait_for_url(re.compile(r"period=7d"))
    expect(row).to_contain_text("today")
    page.get_by_text("Last month", exact=True).click()
    expect(page.get_by_text("Nothing was asked in these days")).to_be_visible()
    assert page.evaluate("document.body.dataset.same") == "yes"
    page.go_back()
    expect(row).to_be_visible()
    row.get_by_role("link", name="llama").click()
    page.wait_for_url(re.compile(rf"/t/{red.slug}/usage/\?period=7d&.*model=llama"))
