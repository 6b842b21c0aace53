"""Charts that are read by pointing and by keyboard, the numbers spoken being those of the table below."""

import re
from decimal import Decimal

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from accounts.models import Team, User
from billing.budgets.monthly import set_budget
from billing.ledger import log as ledger
from billing.ledger.refusals import write
from billing.models import Unit
from tests.billing.traffic import a_refusal, timed
from tests.browser.conftest import Visitor
from tests.browser.steps import let_in
from tests.server import LiveServer

pytestmark = pytest.mark.spec("U9")


@pytest.fixture
def usage(page: Page, alice: User, red: Team, server: LiveServer) -> Page:
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(5000), hard=True, by=None)
    ledger.write([timed(red.pk, ttft_ms=90 * number, duration_ms=900, model=f"m{number}") for number in (1, 2, 3)])
    write([a_refusal(red.pk) for _ in range(4)])
    let_in(page, alice, server)
    page.goto(reverse("billing:usage", args=[red.slug]))
    expect(page.locator("#refused")).to_be_visible()  # the lower half comes a moment later
    return page


def test_arrow_keys_read_the_columns_and_escape_leaves(usage: Page) -> None:
    figure = usage.locator("#refused")
    chart, reading = figure.locator("svg.chart"), figure.get_by_role("status")
    rows = figure.locator("details.data tbody tr")
    last = rows.count() - 1

    def said(place: int) -> str:
        return rows.nth(place).get_attribute("data-said") or ""

    chart.focus()
    expect(reading).to_have_text("")
    for key, place in (
        ("Home", 0), ("ArrowRight", 1), ("ArrowDown", 2), ("ArrowLeft", 1), ("ArrowUp", 0), ("ArrowLeft", 0),
        ("End", last), ("ArrowRight", last),
    ):  # fmt: skip
        usage.keyboard.press(key)
        expect(reading).to_have_text(said(place))
    assert "the key's limit of requests a minute 4" in said(last)
    mark = chart.locator("rect.pointed")
    assert float((mark.get_attribute("x") or "").removesuffix("%")) == pytest.approx(100 * last / (last + 1))
    usage.keyboard.press("Escape")
    expect(reading).to_have_text("")
    expect(mark).to_have_count(0)


def test_a_chart_that_is_left_speaks_no_more(usage: Page) -> None:
    figure = usage.locator("#hours")
    figure.locator("svg.chart").focus()
    usage.keyboard.press("End")
    expect(figure.get_by_role("status")).to_have_text(re.compile("^23 h: "))
    usage.keyboard.press("Tab")
    expect(figure.get_by_role("status")).to_have_text("")


def test_pointing_reads_the_column_under_the_pointer(usage: Page) -> None:
    figure = usage.locator("#hours")
    chart = figure.locator("svg.chart")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box
    usage.mouse.move(box["x"] + box["width"] * 10.5 / 24, box["y"] + 30)
    expect(figure.get_by_role("status")).to_have_text(re.compile("^10 h: "))
    usage.mouse.move(5, 5)
    expect(figure.get_by_role("status")).to_have_text("")


def test_models_are_read_from_the_top(usage: Page) -> None:
    figure = usage.locator("#models-speed")
    figure.locator("svg.chart").focus()
    usage.keyboard.press("ArrowDown")
    expect(figure.get_by_role("status")).to_have_text(re.compile("^m1: p50 "))
    usage.keyboard.press("ArrowDown")
    expect(figure.get_by_role("status")).to_have_text(re.compile("^m2: p50 "))
    assert figure.locator("rect.pointed").get_attribute("width") == "100%"


def test_charts_that_htmx_brings_are_read_too(usage: Page) -> None:
    usage.get_by_text("7 days", exact=True).click()
    expect(usage.locator("#speed details.data tbody tr")).to_have_count(7)
    chart = usage.locator("#speed svg.chart")
    expect(chart).to_have_attribute("tabindex", "0")
    chart.focus()
    usage.keyboard.press("End")
    expect(usage.locator("#speed").get_by_role("status")).to_have_text(re.compile("p50 "))


def test_without_script_the_titles_and_the_tables_are_there(
    visitor: Visitor, alice: User, red: Team, server: LiveServer
) -> None:
    ledger.write([timed(red.pk, ttft_ms=90, duration_ms=900)])
    page = visitor(java_script_enabled=False)
    let_in(page, alice, server)
    page.goto(reverse("billing:usage", args=[red.slug]) + "?part=below")
    figure = page.locator("#hours")
    assert figure.locator("svg.chart rect title").count() == 7 * 24
    figure.get_by_text("Show the numbers").click()
    expect(figure.get_by_role("row")).to_have_count(25)
    assert figure.locator("svg.chart").get_attribute("tabindex") is None
