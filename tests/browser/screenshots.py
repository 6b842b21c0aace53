"""Pictures of the console, for people to look at: `make screenshots`.

All of them go to the data folder named below, those of the README to docs/pictures. Run it as a pytest file: it uses
the tests' database and server.
"""

import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from accounts.models import ApiKey, Team, User
from billing.budgets.credit import set_binding, top_up
from billing.budgets.monthly import set_budget
from billing.limits.presets import PRESETS
from billing.limits.tiers import give_tier, load_preset
from billing.models import Tier, Unit, UsageRecord
from gateway.models import Engine, ServedModel
from tests.browser.conftest import Visitor
from tests.browser.month import write_a_month
from tests.browser.month_counted import count_a_month
from tests.browser.steps import create_key, let_in
from tests.engines.faultd import FaultEngine
from tests.factories import make_key
from tests.server import LiveServer

FOLDER = Path(os.environ.get("SCREENSHOTS", ".data/screenshots"))
README = Path("docs/pictures")
SIZES = {1440: 900, 360: 740}
FOR_README = {("answering", 1440, "light"): "chat", ("usage", 1440, "light"): "usage"}
QUESTIONS = ["What is a tertulia?", "Write a short poem about patience", "Explain HTTP in a table"]


MODELS = ("llama3.3:70b", "qwen3:30b-a3b-instruct-2507-q8_0", "nvidia/llama-3.3-nemotron-super-49b-v1.5")


@pytest.fixture(scope="session")
def server(database: None) -> Iterator[LiveServer]:
    """With the demo engine, which has something to say, and one that serves what others do."""
    with (
        LiveServer(SECRET_KEY=settings.SECRET_KEY, STATUS_PAGE="1") as running,
        FaultEngine(models=MODELS) as engine,
    ):
        running.manage("add_engine", "--name", "Demo", "--type", "demo")
        running.manage("add_engine", "--name", "gpu-2", "--type", "vllm", "--url", engine.url, "--weight", "2")
        ServedModel.objects.filter(engine_model=MODELS[1]).update(
            public_id="qwen turbo", aliases=["turbo"], defaults={"temperature": 0.7, "top_p": 0.9, "max_tokens": 600}
        )
        yield running


@pytest.fixture
def lived_in(visitor: Visitor, alice: User, red: Team, server: LiveServer) -> Page:
    """A console that was used a little: a few conversations, two keys, some calls, tiers."""
    for preset in PRESETS:
        load_preset(preset=preset, by=None)
    give_tier(team=red, tier=Tier.objects.get(name="Saptiva Free"), by=None)
    alice.name = "Alice Ferrer"
    alice.save(update_fields=["name"])
    keys = [make_key(red, name=name).key for name in ["archive", "website"]]
    write_a_month(team=red, member=alice, keys=keys)
    set_budget(team=red, unit=Unit.MONEY, amount=Decimal(14), hard=False, by=alice)
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(4_000_000), hard=True, by=alice, key=keys[0])
    top_up(team=red, amount=Decimal(250), by=alice, note="Invoice 2026-1103")
    set_binding(team=red, binding=False, by=alice)  # the models of the pictures have no price
    count_a_month(Engine.objects.get(name="gpu-2"))
    page = visitor(viewport={"width": 1440, "height": 900})
    let_in(page, alice, server)
    for question in QUESTIONS:
        page.goto(reverse("chat:home"))
        page.get_by_label("Your question").fill(question)
        page.get_by_role("button", name="Ask").click()
        expect(page.locator(".tally").last).to_be_visible(timeout=60_000)
    for name in ["web-search", "newsletter"]:
        page.goto(reverse("accounts:keys", args=[red.slug]))
        create_key(page, name)
        command = page.locator("#curl").inner_text()
        for _ in range(3):
            subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=True)
    expect(page.get_by_text("First request received")).to_be_visible(timeout=30_000)
    return page


def test_take_the_pictures(lived_in: Page, chromium: Browser, red: Team) -> None:
    page = lived_in
    FOLDER.mkdir(parents=True, exist_ok=True)
    page.goto(reverse("chat:home"))
    conversation = page.locator(".convs li a").first.get_attribute("href")
    pages = {
        "home": reverse("console:team-home", args=[red.slug]),
        "chat": conversation or "",
        "keys": reverse("accounts:keys", args=[red.slug]),
        "new-key": reverse("console:new-key", args=[red.slug]),
        "usage": reverse("billing:usage", args=[red.slug]),
        "usage-outcomes": reverse("billing:usage", args=[red.slug]) + "?group=outcome&metric=requests",
        "usage-tokens": reverse("billing:usage", args=[red.slug]) + "?group=tokens",
        "my-usage": reverse("billing:my-usage"),
        "platform-usage": reverse("billing:platform-usage"),
        "key-usage": reverse("billing:key-report", args=[red.slug, ApiKey.objects.get(team=red, name="website").pk]),
        "budget": reverse("billing:budget", args=[red.slug]),
        "credits": reverse("billing:credits"),
        "credit": reverse("billing:credit", args=[red.slug]),
        "alerts": reverse("billing:alerts", args=[red.slug]),
        "platform-alerts": reverse("billing:platform-alerts"),
        "limits": reverse("billing:limits", args=[red.slug]),
        "tiers": reverse("billing:tiers"),
        "tier": reverse("billing:tier", args=[Tier.objects.get(name="Saptiva Free").pk]),
        "models": reverse("gateway:models", args=[red.slug]),
        "team-in-use": reverse("gateway:team-in-use", args=[red.slug]),
        "in-use": reverse("gateway:in-use"),
        "monitor": reverse("gateway:monitor"),
        "status": reverse("gateway:status"),
        "settings": reverse("console:team-settings", args=[red.slug]),
        "engines": reverse("gateway:engines"),
        "engine": reverse("gateway:engine", args=[Engine.objects.get(name="gpu-2").pk]),
        "reconciliation": reverse("gateway:reconciliation"),
        "model": reverse("gateway:model", args=[ServedModel.objects.get(public_id="qwen turbo").pk]),
        "prices": reverse("billing:prices"),
        "key-limits": reverse("billing:key-limits", args=[red.slug, red.keys.get(name="archive").pk]),
        "request": reverse(
            "billing:request", args=[UsageRecord.objects.filter(team=red, origin="api").latest("at").id]
        ),
        "log": reverse("billing:log", args=[red.slug]),
        "log-request": reverse(
            "billing:log-request", args=[red.slug, UsageRecord.objects.filter(team=red, origin="api").latest("at").id]
        ),
        "months": reverse("billing:months", args=[red.slug]),
        "month": reverse("billing:month", args=[red.slug, *last_month()]),
        "admin-keys": reverse("accounts:admin-keys", args=[red.slug]),
        "find-request": reverse("billing:find-request"),
        "profile": reverse("accounts:profile"),
        "second-factor": reverse("mfa_index"),
        "quickstart": reverse("console:quickstart"),
        "reference": reverse("gateway:reference"),
    }
    for theme in ["light", "dark"]:
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # one of the two words it knows
        for width, height in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            for name, address in pages.items():
                page.goto(address)
                page.wait_for_load_state("networkidle")
                if name == "new-key":
                    page.get_by_text("Limits and more").click()
                take(page, name, width, theme)
            page.goto(pages["new-key"])
            page.get_by_label("Name").fill("nightly-report")
            page.get_by_role("button", name="Create key").click()
            expect(page.locator("#secret")).to_be_visible()
            take(page, "key-created", width, theme)
            page.locator("summary[aria-label^=Account]").click()
            take(page, "menu", width, theme)
            take_an_answer(page, width, theme)
    take_the_door(page)


def last_month() -> tuple[int, int]:
    day = timezone.now().replace(day=1) - timedelta(days=1)
    return day.year, day.month


def take_an_answer(page: Page, width: int, theme: str) -> None:
    """The chat while an answer is being written."""
    page.goto(reverse("chat:home"))
    page.get_by_label("Your question").fill("What do I see here, and how do I connect an engine?")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#blocks table")).to_be_visible(timeout=60_000)
    take(page, "answering", width, theme)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".tally").last).to_be_visible(timeout=60_000)


def take_the_door(page: Page) -> None:
    page.context.clear_cookies()
    for theme in ["light", "dark"]:
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # one of the two words it knows
        for width, height in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            page.goto(reverse("account_login"))
            take(page, "login", width, theme)


def take(page: Page, name: str, width: int, theme: str) -> None:
    if name == "chat":
        page.locator("#log").evaluate("log => { log.scrollTop = 0 }")  # the question, not the end of the answer
    page.screenshot(path=FOLDER / f"{name}-{width}-{theme}.png")
    if kept := FOR_README.get((name, width, theme)):
        README.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=README / f"{kept}.png")
