import os
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

from django.urls import reverse
from django.utils import timezone

from accounts.models import Team, User
from billing import settling
from billing.budgets import budgets_of, set_budget
from billing.credit import correct, top_up
from billing.ids import new_request
from billing.models import Unit
from billing.settling import Wanted
from tests.browser.conftest import Visitor
from tests.browser.month import write_a_month
from tests.browser.steps import let_in
from tests.factories import make_key, make_person, make_team
from tests.server import LiveServer

FOLDER = Path(os.environ["SHOTS"])


def test_shots(visitor: Visitor, alice: User, red: Team, bob: User, server: LiveServer) -> None:
    FOLDER.mkdir(exist_ok=True)
    alice.name = "Alice Ferrer"
    alice.language = os.environ.get("SHOTS_LANG", "en")
    alice.save()
    keys = [make_key(red, name=name).key for name in ["archive", "website"]]
    write_a_month(team=red, member=alice, keys=keys)
    make_team("Blue", owner=make_person("Charlie", email="charlie-shots@example.org"))
    money = set_budget(team=red, unit=Unit.MONEY, amount=Decimal(10000), hard=True, by=alice)
    spent = budgets_of(red, now=timezone.now())[0].spent
    set_budget(team=red, unit=Unit.MONEY, amount=(spent * Decimal("1.1")).quantize(Decimal(1)), hard=True, by=alice)
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(4_000_000), hard=False, by=alice, key=keys[0])
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(20_000_000), hard=True, by=alice, key=keys[1])
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(500_000), hard=True, by=alice, member=bob)
    top_up(team=red, amount=Decimal(500), by=alice, note="Invoice 2026-1103")
    correct(team=red, amount=Decimal("-12.5"), by=None, note="Invoice 2026-1098 was entered twice")
    settling.reserve(
        Wanted(red.pk, keys[1].pk, None, timezone.now(), 4230, Decimal("0.0912")),
        request_id=new_request().id,
        process=uuid4(),
        lease=timedelta(hours=1),
    )
    page = visitor(viewport={"width": 1440, "height": 900})
    let_in(page, alice, server)
    pages = {
        "budget": reverse("billing:budget", args=[red.slug]),
        "usage": reverse("billing:usage", args=[red.slug]) + "?period=month",
        "credits": reverse("billing:credits"),
        "credit": reverse("billing:credit", args=[red.slug]),
        "credit-none": reverse("billing:credit", args=["blue"]),
        "budget-empty": reverse("billing:budget", args=[red.slug]) + "?change=" + str(money.pk),
    }
    for theme in ["light", "dark"]:
        page.emulate_media(color_scheme=theme)
        for width, height in {1440: 900, 360: 740}.items():
            page.set_viewport_size({"width": width, "height": height})
            for name, address in pages.items():
                page.goto(address)
                page.wait_for_load_state("networkidle")
                page.screenshot(path=FOLDER / f"{name}-{width}-{theme}.png", full_page=True)
