"""One request's page: its times, what it cost line by line, where its counts are from, and when it came to the log."""

import re
from datetime import timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Team, User
from billing.ledger import log as ledger
from billing.ledger.adjustments import adjust, find_request
from billing.log import request_captions
from billing.log.request_captions import timing
from billing.models import UsageRecord
from billing.prices.pricing import SMALLEST, Rates, add_price, cost, cost_lines
from billing.records import Counts, UnitPrices
from tests.billing.traffic import PRICE, counts, ended


def page(client: Client, team: Team, request: UUID) -> str:
    response = client.get(reverse("billing:log-request", args=[team.slug, request]))
    assert response.status_code == 200
    return response.content.decode()


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def logged(team: Team, used: Counts | None = None, **more: object) -> UUID:
    ledger.write([one := ended(team.pk, used, **more)])  # type: ignore[arg-type]
    return one.start.id


def test_the_cost_is_worked_out_line_by_line(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    shown = plain(page(client, red, logged(red, Counts(1000, 200, "upstream", "upstream", 50, 300), price=PRICE)))
    assert "Input 700 × 0.90 €0.00063 Cached input 300 × 0.45 €0.000135" in shown
    assert "Output 150 × 4.00 €0.0006 Reasoning 50 × 5.00 €0.00025 As logged €0.001615" in shown


@pytest.mark.parametrize("tokens", [(0, 0, None, None), (7, 3, None, 9), (123_456, 789, 1000, 1), (1, 1, 0, 0)])
def test_the_lines_of_a_cost_come_to_it(tokens: tuple[int, int, int | None, int | None]) -> None:
    prompt, completion, reasoning, cached = tokens
    used = Counts(prompt, completion, "upstream", "upstream", reasoning, cached)
    for prices in (PRICE, UnitPrices(Decimal("0.00000001"), Decimal(0), Decimal("333.33333333"), Decimal(1))):
        lines = cost_lines(prices, used)
        assert sum(line.amount for line in lines).quantize(SMALLEST) == cost(prices, used)  # type: ignore[union-attr]
        assert sum(line.tokens for line in lines) == prompt + completion


def test_the_price_is_told_with_its_beginning_as_long_as_the_list_has_it(
    client: Client, alice: User, red: Team
) -> None:
    client.force_login(alice)
    since = timezone.now() - timedelta(days=3)
    add_price(model="llama", rates=Rates(Decimal("0.9"), Decimal(4), Decimal("0.45"), Decimal(5)), since=since, by=None)
    request = logged(red, price=PRICE)
    other = logged(red, price=UnitPrices(Decimal(1), Decimal(1), Decimal(1), Decimal(1)))
    assert "At the price in force since" in page(client, red, request)
    assert "The list of prices no longer has it so." in page(client, red, other)
    assert "No price was in force for this model when the request began." in page(client, red, logged(red))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("upstream", "The engine gave its own count at the end"),
        ("upstream_partial", "The answer broke off"),
        ("counted", "the pieces of the answer that came from it were counted here"),
        ("estimated", "it was estimated from the bytes of the text"),
        ("none", "Nothing came from the engine"),
    ],
)
def test_where_the_counts_are_from_is_said_in_words(
    client: Client, alice: User, red: Team, source: str, said: str
) -> None:
    client.force_login(alice)
    assert said in plain(page(client, red, logged(red, counts(1, 1, source)))).replace("&#x27;", "'")


def test_the_page_says_when_the_request_came_to_the_log(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    request = logged(red)
    row = UsageRecord.objects.get(id=request)
    assert row.logged_at is not None
    assert abs(row.logged_at - timezone.now()) < timedelta(minutes=1)
    UsageRecord.objects.filter(id=request).update(logged_at=row.at + timedelta(milliseconds=row.duration_ms + 1500))
    assert "1.50 s after its end" in plain(page(client, red, request))
    UsageRecord.objects.filter(id=request).update(
        logged_at=row.at + timedelta(milliseconds=row.duration_ms, hours=26, minutes=5, seconds=9)
    )
    assert "26 h 5 min after its end" in plain(page(client, red, request))
    UsageRecord.objects.filter(id=request).update(logged_at=None)
    assert "after its end" not in page(client, red, request)


def test_a_correction_stands_on_the_page_and_only_operators_can_make_one(
    client: Client, alice: User, red: Team
) -> None:
    client.force_login(alice)
    request = logged(red, counts(1000, 200), price=PRICE)
    adjust(request_id=request, prompt_tokens=900, reason="the bill", by=alice)
    html = page(client, red, request)
    assert "the bill -100 0 -€0.00009" in plain(html)
    assert "Correct it" not in html
    assert "Correct it" in client.get(reverse("billing:request", args=[request])).content.decode()
    assert client.post(reverse("billing:log-request", args=[red.slug, request])).status_code == 405


@pytest.mark.spec("S05")
def test_a_request_of_another_team_is_not_found(client: Client, alice: User, red: Team, blue: Team) -> None:
    client.force_login(alice)
    theirs = logged(blue)
    assert find_request(theirs) is not None
    for request in (theirs, uuid4()):
        assert client.get(reverse("billing:log-request", args=[red.slug, request])).status_code == 404


def test_the_bar_is_the_whole_time() -> None:
    found = timing(250, 1000)
    assert found is not None
    assert (found.first, found.rest) == ("25.000%", "75.000%")
    assert timing(None, 1000) is None
    assert timing(0, 0) is None
    late = timing(2000, 1000)
    assert late is not None
    assert (late.first, late.rest) == ("100.000%", "0.000%")


def test_times_are_the_teams_own(client: Client, alice: User, red: Team) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone="Asia/Kathmandu")
    client.force_login(alice)
    request = logged(red)
    assert "Kathmandu time (UTC+05:45)" in page(client, red, request)
    found = find_request(request)
    assert found is not None
    assert request_captions.words(found, zone="UTC")["zone"] == "UTC"
