"""Alerts in a real browser: the banner that is put away, a webhook whose test ends on the page."""

from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import Team, User
from billing.alerts.noticed import Noticed
from billing.alerts.outbox import claim, done
from billing.alerts.raising import raise_alert
from billing.models import Rule, Severity, Webhook
from tests.browser.steps import let_in
from tests.server import LiveServer

ERRORS = {"requests": 40, "failed": 20, "percent": 20, "minutes": 30, "model": "llama", "model_failed": 20}


def test_a_banner_is_put_away_without_leaving_the_page(page: Page, alice: User, red: Team, server: LiveServer) -> None:
    raise_alert(Noticed(red.pk, Rule.ERRORS, "team", "", Severity.URGENT, detail=ERRORS), now=timezone.now())
    let_in(page, alice, server)
    page.goto(reverse("billing:budget", args=[red.slug]))
    banner = page.get_by_role("status", name="Alerts")
    expect(banner).to_contain_text("Urgent: 50% of the requests failed")
    page.emulate_media(media="print")
    expect(banner).to_be_hidden()  # what holds for the moment is nothing for paper
    page.emulate_media(media="screen")
    page.get_by_label("Amount in a month").fill("77")
    page.get_by_role("button", name="Put away: 50% of the requests failed").click()
    expect(banner).to_be_hidden()
    expect(page.get_by_label("Amount in a month")).to_have_value("77")
    page.reload()
    expect(page.get_by_role("heading", name="Budget", exact=True)).to_be_visible()
    expect(banner).to_have_count(0)


def test_a_webhook_is_added_its_secret_stored_and_a_tests_end_shown(
    page: Page, alice: User, red: Team, server: LiveServer
) -> None:
    let_in(page, alice, server)
    page.goto(reverse("billing:alerts", args=[red.slug]))
    page.get_by_label("Address").fill("https://hooks.example.org/in")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#secret")).to_contain_text("whsec_")
    page.get_by_role("link", name="I have stored it").click()
    page.locator("summary[aria-label='Actions for https://hooks.example.org/in']").click()
    page.get_by_role("button", name="Send a test").click()
    row = page.get_by_role("row").filter(has_text="hooks.example.org")
    expect(row).to_contain_text("waiting")
    hook = Webhook.objects.get(team=red)
    for delivery in claim(now=timezone.now()):  # as the leader would, which is not running here
        if delivery.webhook_id == hook.pk:
            done(delivery, sent=False, answer="503")
    expect(row).to_contain_text("given up")
    expect(row).to_contain_text("503")
