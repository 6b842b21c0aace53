"""The usage page as people press it: with script, without it, and on paper."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from accounts.models import Team, User
from billing.ledger import log as ledger
from tests.billing.traffic import PRICE, counts, ended, milliseconds
from tests.browser.conftest import Visitor
from tests.browser.steps import let_in
from tests.factories import make_key
from tests.server import LiveServer


@pytest.fixture
def used(red: Team) -> Team:
    """A call each hour of the last three days, of two models."""
    now = datetime.now(UTC)
    ledger.write([
        ended(
            red.pk, counts(1000 + hour, 100), model=("llama", "qwen")[hour % 2], price=PRICE,
            at_ms=milliseconds(now - timedelta(hours=hour)),
        )
        for hour in range(72)
    ])  # fmt: skip
    return red


def usage_of(page: Page, team: Team, alice: User, server: LiveServer, query: str = "") -> None:
    let_in(page, alice, server)
    page.goto(reverse("billing:usage", args=[team.slug]) + query)


@pytest.mark.spec("U3", "U4")
def test_a_choice_changes_the_page_and_the_address_and_the_way_back_undoes_it(
    page: Page, alice: User, used: Team, server: LiveServer
) -> None:
    usage_of(page, used, alice, server)
    page.get_by_text("7 days", exact=True).click()
    expect(page).to_have_url(re.compile(r"[?&]period=7d"))
    page.get_by_label("Group by").select_option("outcome")
    expect(page.get_by_role("heading", name="Outcomes")).to_be_visible()
    expect(page).to_have_url(re.compile(r"group=outcome"))
    page.go_back()
    expect(page.get_by_role("heading", name="Models")).to_be_visible()
    expect(page.get_by_text("7 days", exact=True).locator("input")).to_be_checked()


def test_filters_are_added_in_the_panel_and_taken_away_one_by_one(
    page: Page, alice: User, used: Team, server: LiveServer
) -> None:
    usage_of(page, used, alice, server, "?group=outcome")
    page.locator("summary", has_text="Add a filter").click()
    panel = page.get_by_role("form", name="More filters")
    panel.get_by_label("llama").check()
    panel.get_by_label("answered").check()
    panel.get_by_role("button", name="Filter").click()
    expect(page.locator(".chip")).to_have_text([re.compile("Model: llama"), re.compile("Outcome: answered")])
    expect(page.locator("#breakdown tfoot [data-l=Requests]")).to_have_text("36")
    page.get_by_label("Remove the filter Model: llama").click()
    expect(page.locator("#breakdown tfoot [data-l=Requests]")).to_have_text("72")
    expect(page.get_by_label("Group by")).to_have_value("outcome")
    page.get_by_role("link", name="Clear all").click()
    expect(page.locator(".chip")).to_have_count(0)


def test_a_bar_is_pressed_and_leads_to_its_hours(page: Page, alice: User, used: Team, server: LiveServer) -> None:
    usage_of(page, used, alice, server, "?period=7d")
    page.locator("svg.chart a").nth(5).click()
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    expect(page).to_have_url(re.compile(f"first={yesterday}&last={yesterday}"))
    expect(page.locator(".fig#chart figcaption")).to_contain_text("per hour")


def test_the_bar_of_filters_works_without_script(visitor: Visitor, alice: User, used: Team, server: LiveServer) -> None:
    page = visitor(java_script_enabled=False)
    usage_of(page, used, alice, server, "?model=qwen")
    page.get_by_text("7 days", exact=True).click()
    page.get_by_label("Comparison").select_option("off")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile(r"model=qwen.*period=7d.*compare=off"))
    expect(page.locator("#breakdown tbody th")).to_have_text(["qwen"])
    expect(page.get_by_role("columnheader", name="Change")).to_have_count(0)
    expect(page.get_by_label("Print")).to_be_hidden()
    page.locator("summary", has_text="Add a filter").click()
    page.get_by_role("link", name="More filters").click()
    page.get_by_label("llama").check()
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile(r"period=7d.*compare=off.*model=llama.*model=qwen"))
    expect(page.locator(".chip")).to_have_count(2)


def test_paper_has_the_tables_and_says_what_was_asked_and_when(
    page: Page, alice: User, used: Team, server: LiveServer
) -> None:
    usage_of(page, used, alice, server, "?period=7d&model=qwen")
    page.emulate_media(media="print")
    expect(page.locator(".filters")).to_be_hidden()
    expect(page.locator(".side")).to_be_hidden()
    expect(page.get_by_text("Model: qwen.")).to_be_visible()
    expect(page.locator(".page-head")).to_contain_text("Data up to")
    expect(page.locator("#chart tbody tr").first).to_be_visible()
    printed = page.evaluate(
        "() => { let n = 0; window.print = () => n++; document.querySelector('[data-print]').click(); return n }"
    )
    assert printed == 1


@pytest.mark.spec("S10")
@pytest.mark.parametrize("width", [360, 1440])
def test_all_four_pages_fit_their_screen_with_long_names_and_large_numbers(
    visitor: Visitor, alice: User, used: Team, server: LiveServer, width: int
) -> None:
    key = make_key(used, name="a key with a name that somebody took care to make long enough").key
    long = "nvidia/llama-3.3-nemotron-super-49b-v1.5-with-a-suffix-that-no-engine-needs:q8_0"
    ledger.write([ended(used.pk, counts(12_345_678_901, 987_654_321), model=long, key_id=key.pk, price=PRICE)])
    page = visitor(viewport={"width": width, "height": 800})
    let_in(page, alice, server)
    page.context.add_cookies([{"name": "language", "value": "fr", "url": server.url}])
    team = reverse("billing:usage", args=[used.slug])
    for address in (
        team,
        f"{team}?group=key&metric=cost&key={key.pk}",
        f"{team}?group=tokens&period=7d",
        f"{team}?group=outcome&period=custom&first=2026-06-29&last=2026-12-31&bucket=day",
        f"{reverse('billing:my-usage')}?of={used.slug}",
        reverse("billing:platform-usage"),
        reverse("billing:key-report", args=[used.slug, key.pk]),
    ):
        response = page.goto(address)
        assert response
        sideways = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        assert (address, response.status, sideways) == (address, 200, False)
        page.locator("summary", has_text="Ajouter un filtre").click()
        expect(page.locator(".choices button")).to_be_visible()
        assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")


def test_filters_are_ticked_by_their_words_and_the_panel_stays_open(
    page: Page, alice: User, used: Team, server: LiveServer
) -> None:
    """A press on words focuses what lies around the panel and can have the focus: the page's content."""
    usage_of(page, used, alice, server)
    page.locator("summary", has_text="Add a filter").click()
    panel = page.get_by_role("form", name="More filters")
    panel.locator("legend", has_text="Model").click()
    panel.locator("label", has_text="llama").click()
    expect(panel.get_by_label("llama")).to_be_checked()
    panel.get_by_role("button", name="Filter").click()
    expect(page.locator(".chip")).to_have_text("Model: llama")
    page.get_by_label("Group by").select_option("origin")  # the page goes on as it did before
    expect(page.locator("#breakdown h2")).to_have_text("Chat and API")
    page.locator("summary", has_text="Add a filter").click()
    expect(panel).to_be_visible()
    page.locator("#breakdown h2").click()  # a press outside
    expect(panel).to_be_hidden()


def test_a_row_shows_what_matters_on_a_phone_and_the_rest_when_it_is_opened(
    visitor: Visitor, alice: User, used: Team, server: LiveServer
) -> None:
    page = visitor(viewport={"width": 360, "height": 800}, java_script_enabled=False)
    usage_of(page, used, alice, server)
    row, other = (page.locator("#breakdown tbody tr", has_text=name) for name in ("llama", "qwen"))
    expect(row.locator("[data-l=Requests]")).to_be_visible()
    expect(row.locator("[data-l='Tokens in']")).to_be_hidden()
    row.get_by_label("Everything about llama").check()
    expect(row.locator("[data-l='Tokens in']")).to_be_visible()
    expect(other.locator("[data-l='Tokens in']")).to_be_hidden()
    expect(page.locator("#breakdown tfoot [data-l='Tokens in']")).to_be_visible()
