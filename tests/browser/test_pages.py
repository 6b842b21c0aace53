"""Every page: its console stays empty under the strict policy, it fits a phone, it has one heading and a title."""

from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import Team, User
from billing.budgets.credit import top_up
from billing.budgets.monthly import set_budget
from billing.ledger import log as ledger
from billing.ledger import refusals
from billing.limits.tiers import add_tier, give_tier, limit_key
from billing.limits.windows import Bounds
from billing.models import Tier, Unit
from billing.records import Counts, Ended
from gateway.models import Engine, ServedModel
from tests.billing.traffic import PRICE, a_refusal, ended
from tests.browser.conftest import Visitor
from tests.browser.steps import create_key, let_in
from tests.factories import make_key, make_team
from tests.server import LiveServer

PHONE = {"width": 360, "height": 740}
ACCOUNT = ["account_email", "account_change_password", "mfa_index", "usersessions_list", "account_logout"]


def addresses(team: Team) -> list[str]:
    of_team = ["console:team-home", "accounts:keys", "console:team-settings", "console:new-key", "billing:usage"]
    of_team += ["gateway:models", "gateway:team-in-use", "billing:limits", "billing:budget"]
    of_team += ["gateway:models", "billing:limits", "billing:budget", "billing:log", "billing:months"]
    of_team += ["accounts:admin-keys"]
    key = make_key(team).key
    bounds = Bounds(requests_per_minute=600, tokens_per_day=1_000_000_000, output_tokens_per_hour=1_000_000)
    limit_key(key=key, bounds=bounds, by=None)
    tier = Tier.objects.first() or add_tier(name="Small", bounds=bounds, by=None)
    give_tier(team=team, tier=tier, by=None)
    set_budget(team=team, unit=Unit.TOKENS, amount=Decimal(123_456_789_012), hard=True, by=None, key=key)
    set_budget(team=team, unit=Unit.MONEY, amount=Decimal("1234567.89"), hard=False, by=None)
    top_up(team=team, amount=Decimal("1234567.89"), by=None, note="Invoice 2026-1103")
    model = ServedModel.objects.order_by("pk")[0]
    other = make_team("Long names", owner=team.memberships.get().user)
    ledger.write([call := a_long_call(other)])
    refusals.write([refused := a_refusal(other.pk, key_name=call.start.key_name, model=call.start.model)])
    now = timezone.now()
    return [
        *(reverse(name, args=[team.slug]) for name in of_team),
        reverse("billing:key-limits", args=[team.slug, key.pk]),
        reverse("billing:log", args=[other.slug]),
        reverse("billing:log", args=[other.slug]) + f"?show=refused&model={call.start.model}",
        reverse("billing:log-request", args=[other.slug, call.start.id]),
        reverse("billing:log-request", args=[other.slug, refused.id]),
        reverse("billing:month", args=[other.slug, now.year, now.month]),
        reverse("billing:reopen-month", args=[other.slug, now.year, now.month]),
        reverse("accounts:platform-keys"),
        reverse("billing:tiers"),
        reverse("billing:tier", args=[tier.pk]),
        reverse("billing:remove-tier", args=[tier.pk]),
        reverse("billing:credits"),
        reverse("billing:credit", args=[team.slug]),
        reverse("billing:prices"),
        reverse("billing:find-request"),
        reverse("gateway:reconciliation"),
        reverse("gateway:in-use"),
        reverse("gateway:monitor"),
        reverse("gateway:status"),
        reverse("chat:home"),
        reverse("console:quickstart"),
        reverse("gateway:reference"),
        reverse("gateway:engines"),
        reverse("gateway:engine", args=[model.engine_id]),
        reverse("gateway:model", args=[model.pk]),
        *map(reverse, ACCOUNT),
    ]


def a_long_call(team: Team) -> Ended:
    """One whose names and numbers take as much room as any."""
    used = Counts(9_999_999, 9_999_999, "estimated", "estimated", 9_999_999, 9_999_999)
    names = {"model": "m" * 200, "key_id": 1, "key_name": "k" * 100, "member_name": "p" * 100, "end_user": "u" * 256}
    return ended(team.pk, used, price=PRICE, outcome="upstream_timeout", client_request_id="c" * 200, **names)


def scrolls_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


@pytest.mark.spec("S10")
@pytest.mark.parametrize("width", [360, 1440])
def test_every_page_fits_its_screen_with_an_empty_console(
    visitor: Visitor, alice: User, red: Team, server: LiveServer, width: int
) -> None:
    page = visitor(viewport={"width": width, "height": 800})
    let_in(page, alice, server)
    for address in addresses(red):
        response = page.goto(address)
        assert response
        assert (address, response.status, scrolls_sideways(page)) == (address, 200, False)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        assert page.title().endswith("· Tertulia")


@pytest.mark.spec("S10")
def test_the_pages_before_the_door_fit_a_phone_with_an_empty_console(visitor: Visitor, server: LiveServer) -> None:
    page = visitor(viewport=PHONE)
    for name in ["account_login", "account_reset_password", "account_signup"]:
        page.goto(reverse(name))
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        assert not scrolls_sideways(page)


def test_theme_and_language_are_chosen_in_the_menu_without_javascript(
    visitor: Visitor, alice: User, red: Team, server: LiveServer
) -> None:
    page = visitor(java_script_enabled=False)
    let_in(page, alice, server)
    page.goto("/")
    page.get_by_label("Account of Alice").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_label("Account of Alice").click()
    page.get_by_role("button", name="Español").click()
    expect(page.locator("html")).to_have_attribute("lang", "es")


def test_the_navigation_is_a_sheet_on_a_phone(visitor: Visitor, alice: User, red: Team, server: LiveServer) -> None:
    page = visitor(viewport=PHONE, java_script_enabled=False)
    let_in(page, alice, server)
    page.goto("/")
    navigation = page.get_by_role("navigation", name="Main")
    expect(navigation).to_be_hidden()
    page.get_by_role("link", name="Open the menu").click()
    navigation.get_by_role("link", name="Keys").click()
    expect(page.get_by_role("heading", name="Keys", level=1)).to_be_visible()


def test_the_keyboard_reaches_the_content_and_leaves_a_menu(
    page: Page, alice: User, red: Team, server: LiveServer
) -> None:
    let_in(page, alice, server)
    page.goto(reverse("accounts:keys", args=[red.slug]))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    menu = page.get_by_label("Account of Alice")
    menu.press("Enter")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    expect(menu).to_be_focused()


def test_copy_puts_the_secret_on_the_clipboard(visitor: Visitor, alice: User, red: Team, server: LiveServer) -> None:
    page = visitor(permissions=["clipboard-read", "clipboard-write"])
    let_in(page, alice, server)
    page.goto(reverse("accounts:keys", args=[red.slug]))
    secret = create_key(page, "newsletter")
    page.locator(".secret").get_by_role("button", name="Copy").click()
    expect(page.locator(".secret").get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == secret


def test_the_list_of_keys_is_searched_in_place(page: Page, alice: User, red: Team, server: LiveServer) -> None:
    let_in(page, alice, server)
    keys = reverse("accounts:keys", args=[red.slug])
    for name in ["newsletter", "web-search"]:
        page.goto(keys)
        create_key(page, name)
    page.goto(keys)
    page.get_by_label("Search keys").fill("web")
    expect(page.get_by_role("rowheader")).to_have_count(1)
    expect(page.get_by_role("rowheader", name="web-search")).to_be_visible()


def test_revoking_asks_in_a_dialog(page: Page, alice: User, red: Team, server: LiveServer) -> None:
    let_in(page, alice, server)
    keys = reverse("accounts:keys", args=[red.slug])
    page.goto(keys)
    create_key(page, "newsletter")
    page.goto(keys)
    page.get_by_label("Actions for newsletter").click()
    page.get_by_role("link", name="Revoke…").click()
    dialog = page.get_by_role("dialog", name="Revoke “newsletter”?")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_label("Actions for newsletter").click()
    page.get_by_role("link", name="Revoke…").click()
    dialog.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("Revoked", exact=True)).to_be_visible()
    expect(page).to_have_url(keys)


@pytest.mark.spec("C3")
def test_a_preset_is_loaded_by_a_button_and_enter_saves_without_javascript(
    visitor: Visitor, alice: User, red: Team, server: LiveServer
) -> None:
    engine = Engine.objects.create(name="off", type="openai", url="http://127.0.0.1:9", enabled=False)
    model = ServedModel.objects.create(engine=engine, public_id="hidden", engine_model="hidden")
    page = visitor(java_script_enabled=False)
    let_in(page, alice, server)
    page.goto(reverse("gateway:model", args=[model.pk]))
    page.get_by_label("Id", exact=True).fill("Hidden Turbo")
    page.get_by_role("button", name="Saptiva").click()
    expect(page.get_by_text("not saved yet")).to_be_visible()
    expect(page.get_by_label("max_tokens")).to_have_value("600")
    page.get_by_label("Id", exact=True).press("Enter")
    expect(page).to_have_url(reverse("gateway:engine", args=[engine.pk]))
    model.refresh_from_db()
    assert (model.public_id, model.aliases) == ("Hidden Turbo", ["hidden"])
    assert model.defaults == {"temperature": 0.7, "top_p": 0.9, "max_tokens": 600}
