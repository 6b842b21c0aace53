import csv
import io
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import translation
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries

from accounts.models import Role, Team, User
from billing import numbers
from billing.ledger import log as ledger
from tests.billing.traffic import PRICE, counts, ended, milliseconds
from tests.factories import join, make_key, make_person


def page(client: Client, team: Team, query: str = "", **headers: str) -> str:
    response = client.get(reverse("billing:usage", args=[team.slug]) + query, headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def footer(html: str) -> list[str]:
    """The cells of the total row."""
    row = html[html.index("<tfoot>") : html.index("</tfoot>")]
    cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)
    return [re.sub(r"\s+", " ", re.sub(r"</?a\b[^>]*>", "", cell)).strip() for cell in cells]


@pytest.fixture
def traffic(red: Team, blue: Team) -> None:
    now = datetime.now(UTC)
    ledger.write([
        ended(red.pk, counts(1000, 200), model="llama", price=PRICE),
        ended(red.pk, counts(500, 100), model="mistral", origin="chat", outcome="upstream_error"),
        ended(red.pk, counts(9, 9), model="old", at_ms=milliseconds(now - timedelta(days=20))),
        ended(blue.pk, counts(7777, 7777), model="blues-secret"),
    ])  # fmt: skip


@pytest.mark.spec("U3")
def test_the_page_shows_the_teams_totals_and_nobody_elses(
    client: Client, alice: User, red: Team, traffic: None
) -> None:
    client.force_login(alice)
    html = page(client, red)
    assert footer(html)[:7] == ["Total", "100%", "1,509", "309", "3", "€0.001700", '<b class="t-warn">33%</b>']
    assert "blues-secret" not in html
    assert footer(page(client, red, "?period=7d"))[2:5] == ["1,500", "300", "2"]
    assert footer(page(client, red, "?period=7d&origin=chat"))[2:5] == ["500", "100", "1"]


@pytest.mark.spec("S05", "S06")
def test_a_member_sees_what_is_his_own_on_the_page_in_its_files_and_by_hour(
    client: Client, alice: User, bob: User, red: Team
) -> None:
    ledger.write([
        ended(red.pk, counts(1000, 200), model="alices-secret", member_id=alice.pk),
        ended(red.pk, counts(9, 1), model="bobs", member_id=bob.pk),
    ])  # fmt: skip
    client.force_login(bob)
    for query in ("", "?group=member", f"?member={alice.pk}", f"?group=key&member={alice.pk}&period=7d"):
        html = page(client, red, query)
        assert footer(html)[2:5] == ["9", "1", "1"]
        assert ("alices-secret" in html, "Alice" in html) == (False, False)
        found = client.get(reverse("billing:usage-json", args=[red.slug]) + query).json()
        assert (found["total"]["prompt_tokens"], found["total"]["requests"]) == (9, 1)
        assert client.get(reverse("billing:usage-csv", args=[red.slug]) + query).content.count(b"alices-secret") == 0
    html = client.get(reverse("gateway:team-in-use", args=[red.slug])).content.decode()
    assert ("bobs" in html, "alices-secret" in html, "Alice" in html) == (True, False, False)
    hours = client.get(reverse("billing:usage-hours", args=[red.slug]), headers={"hx-request": "true"})
    client.force_login(alice)
    assert hours.content != client.get(hours.request["PATH_INFO"], headers={"hx-request": "true"}).content


@pytest.mark.spec("K3", "S05", "S06")
def test_a_key_that_is_not_a_members_has_no_name_for_him_in_a_filter(
    client: Client, alice: User, bob: User, red: Team
) -> None:
    alices, service = make_key(red, name="alices-secret", owner=alice).key, make_key(red, name="nightly-secret").key
    own = make_key(red, name="bobs-own", owner=bob).key
    query = f"?key={alices.pk}&key={service.pk}&key={own.pk}"
    names = ("billing:usage", "billing:log", "billing:usage-csv", "billing:usage-json")
    usage, log, *team_files = [reverse(name, args=[red.slug]) + query for name in names]
    mine, my_file = reverse("billing:my-usage") + query, reverse("billing:my-usage-file", args=["json"]) + query
    client.force_login(bob)
    for address in (usage, f"{usage}&part=filters", log, mine):
        said = client.get(address).content.decode()
        assert ("secret" in said, f"key {alices.pk}" in said, "bobs-own" in said) == (False, True, True)
    assert [one for one in (*team_files, my_file) if b"secret" in client.get(one).content] == []
    client.force_login(alice)
    for address in (usage, f"{usage}&part=filters", log):
        assert "nightly-secret" in client.get(address).content.decode()


def test_outsiders_do_not_learn_that_the_team_exists(client: Client, charlie: User, red: Team) -> None:
    client.force_login(charlie)
    key = make_key(red).key
    for url in (
        reverse("billing:usage", args=[red.slug]),
        reverse("billing:usage-csv", args=[red.slug]),
        reverse("billing:team-week", args=[red.slug]),
        reverse("billing:key-usage", args=[key.pk]),
        reverse("billing:usage", args=["nobody"]),
        reverse("billing:key-usage", args=[key.pk + 1000]),
    ):
        assert client.get(url).status_code == 404


def test_a_viewer_sees_the_usage_and_a_visitor_must_sign_in(client: Client, red: Team) -> None:
    url = reverse("billing:usage", args=[red.slug])
    assert client.get(url).status_code == 302
    viewer = make_person("Vera")
    join(red, viewer, Role.VIEWER)
    client.force_login(viewer)
    assert "Nothing was asked yet" in page(client, red)


def test_htmx_gets_the_page_without_its_frame(client: Client, alice: User, red: Team, traffic: None) -> None:
    client.force_login(alice)
    part = page(client, red, "?group=key", **{"HX-Request": "true"})
    assert "<html" not in part
    assert part.strip().startswith("<header")
    whole = page(client, red, "?group=key", **{"HX-Request": "true", "HX-History-Restore-Request": "true"})
    assert "<html" in whole


def test_all_state_is_in_the_address_and_comes_back_checked(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    html = page(client, red, "?period=custom&first=2026-03-01&last=2026-03-31&group=member&metric=cost&origin=api")
    assert re.search(r'value="custom"[^>]*checked', html)
    assert re.search(r'name="first" value="2026-03-01"', html)
    assert re.search(r'value="member" selected', html)
    assert re.search(r'value="cost"[^>]*checked', html)
    assert escape("?period=custom&first=2026-03-01&last=2026-03-31&group=member&metric=cost&origin=api") in html


@pytest.mark.spec("U3")
def test_what_may_be_filtered_by_comes_when_it_is_asked_for_and_keeps_the_rest_of_the_question(
    client: Client, alice: User, red: Team, traffic: None
) -> None:
    client.force_login(alice)
    query = "?period=7d&group=outcome&model=llama&outcome=ok"
    whole = page(client, red, query)
    assert 'type="checkbox" name="model"' not in whole
    (address,) = re.findall(r'<details class="menu" hx-get="([^"]*)"', whole)
    form = client.get(address.replace("&amp;", "&"), headers={"HX-Request": "true"}).content.decode()
    assert re.match(r'\s*<form class="pop choices"', form)
    assert re.findall(r'type="checkbox" name="(\w+)" value="([^"]*)" checked', form) == [
        ("model", "llama"), ("outcome", "ok"),
    ]  # fmt: skip
    assert re.findall(r'name="model" value="([^"]*)"', form) == ["llama", "mistral"]
    assert "blues-secret" not in form
    assert re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form) == [("period", "7d"), ("group", "outcome")]


def test_without_script_what_may_be_filtered_by_is_a_page_of_its_own(
    client: Client, alice: User, red: Team, traffic: None
) -> None:
    client.force_login(alice)
    html = page(client, red, "?period=7d&part=filters")
    assert "<h1>Usage</h1>" in html
    (form,) = re.findall(r'<form class="choices".*?</form>', html, re.DOTALL)
    assert f'action="{reverse("billing:usage", args=[red.slug])}"' in form
    assert re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form) == [("period", "7d")]


@pytest.mark.parametrize(
    ("query", "said", "unit"),
    [
        ("?period=30d&bucket=hour", "Bars by hour are for 14 days at most.", "per day"),
        ("?period=custom&first={year}&bucket=day", "Bars by day are for 186 days at most.", "per week"),
    ],
)
def test_of_more_bars_than_can_be_told_apart_it_is_said_what_is_shown_instead(
    client: Client, alice: User, red: Team, traffic: None, query: str, said: str, unit: str
) -> None:
    client.force_login(alice)
    html = page(client, red, query.format(year=(datetime.now(UTC) - timedelta(days=200)).date()))
    caption = html[html.index("<figcaption>") : html.index("</figcaption>")]
    assert said in caption
    assert unit in caption
    assert not re.search(r'href="[^"]*bucket=', html)
    assert said not in page(client, red, "?period=7d&bucket=day")


@pytest.mark.parametrize(
    "query",
    [
        "?period=custom&first=2026-05-05&last=2026-05-01",
        "?period=custom&first=0001-01-01&last=9999-12-31",
        "?period=custom&first=9999-12-31&last=9999-12-31",
        "?period=custom&first=0001-01-01&last=0001-01-02",
        "?period=%00&group=%27;drop&metric=%25&origin=%00",
        "?first=yesterday&period=custom",
        "?period=" + "x" * 5000,
    ],
)
@pytest.mark.spec("S16")
def test_bad_input_is_answered_with_the_default_view(client: Client, alice: User, red: Team, query: str) -> None:
    client.force_login(alice)
    assert "Nothing was asked" in page(client, red, query)
    assert client.get(reverse("billing:usage-csv", args=[red.slug]) + query).status_code == 200


@pytest.mark.parametrize("group", ["model", "key", "member", "origin", "outcome", "tokens"])
def test_the_number_of_queries_does_not_grow_with_the_rows(
    client: Client, alice: User, red: Team, group: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(alice)
    page(client, red)  # the first visit also writes the session down
    counted = []
    for name in ("one", "two", "three"):
        key = make_key(red, name=name).key
        ledger.write([ended(red.pk, model=name, key_id=key.pk, member_id=alice.pk)])
        page(client, red, f"?group={group}")  # who is drawn for the first time is given a mark
        with django_assert_max_num_queries(36) as queries:
            page(client, red, f"?group={group}")
        counted.append(len(queries))
    assert counted[0] == counted[2]


def test_the_heading_says_what_stands_out(client: Client, alice: User, red: Team, traffic: None) -> None:
    client.force_login(alice)
    assert '<h2 class="headline" id="finding">1.8K tokens; most: llama (66%)</h2>' in page(client, red)
    assert '<h2 class="headline" id="finding">3 requests</h2>' in page(client, red, "?metric=requests")


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"llama": 99, "qwen": 101}, {"llama": 110, "qwen": 190}, "300 tokens, 50% more; most of the rise: qwen"),
        ({"llama": 100, "qwen": 300}, {"llama": 110, "qwen": 190}, "300 tokens, 25% less; most of the fall: qwen"),
        ({"llama": 100, "mistral": 100}, {"llama": 150, "mistral": 150}, "300 tokens, 50% more; most: llama (50%)"),
        ({"llama": 150, "mistral": 140}, {"llama": 150, "mistral": 150}, "300 tokens, 3.4% more; most: llama (50%)"),
        ({"llama": 100}, {"llama": 200}, "200 tokens, 100% more"),
        ({"old": 200}, {"llama": 100, "mistral": 50}, "150 tokens, 25% less; most of the fall: old"),
    ],
    ids=["rise", "fall", "of all alike", "too small to trace", "of one", "gone"],
)  # fmt: skip
@pytest.mark.spec("U4")
def test_the_heading_says_in_whose_numbers_most_of_a_change_is(
    client: Client, alice: User, red: Team, before: dict[str, int], now: dict[str, int], said: str
) -> None:
    client.force_login(alice)
    week_ago = milliseconds(datetime.now(UTC) - timedelta(days=8))
    ledger.write([
        *(ended(red.pk, counts(tokens, 0), model=model, at_ms=week_ago) for model, tokens in before.items()),
        *(ended(red.pk, counts(tokens, 0), model=model) for model, tokens in now.items()),
    ])  # fmt: skip
    html = page(client, red, "?period=7d")
    assert re.findall(r'<h2 class="headline" id="finding">(.*?)</h2>', html) == [said]


def test_of_outcomes_the_heading_names_only_those_that_nobody_wants(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    week_ago = milliseconds(datetime.now(UTC) - timedelta(days=8))
    ledger.write([ended(red.pk, counts(90, 10), at_ms=week_ago), ended(red.pk, counts(90, 10))])
    ledger.write([ended(red.pk, counts(90, 10)), ended(red.pk, counts(40, 0), outcome="upstream_error")])
    query = "?period=7d&group=outcome&metric="
    assert '"finding">240 tokens, 140% more; most: answered (83%)</h2>' in page(client, red, query + "tokens")
    ledger.write([ended(red.pk, outcome="upstream_error"), ended(red.pk, outcome="upstream_error")])
    assert '"finding">5 requests, 400% more; most of the rise: engine error</h2>' in page(
        client, red, query + "requests"
    )


def test_a_keys_week_is_a_fragment_with_its_tokens(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    key = make_key(red).key
    url = reverse("billing:key-usage", args=[key.pk])
    assert "Not used in 7 days" in client.get(url).content.decode()
    ledger.write([ended(red.pk, counts(1200, 300), key_id=key.pk)])
    html = client.get(url).content.decode()
    assert "1.5K tokens, 1 request" in html
    assert "<svg" in html
    assert "<html" not in html


def test_the_teams_week_is_a_fragment_for_the_home_page(client: Client, alice: User, red: Team, traffic: None) -> None:
    client.force_login(alice)
    html = client.get(reverse("billing:team-week", args=[red.slug])).content.decode()
    assert "1.8K" in html
    assert "<html" not in html


def test_numbers_follow_the_language(client: Client, alice: User, red: Team, traffic: None) -> None:
    client.force_login(alice)
    client.cookies["language"] = "fr"
    html = page(client, red)
    assert footer(html)[2].replace("\u202f", " ").replace("\xa0", " ") == "1 509"
    assert re.search(r'<rect class="bar" x="[\d.]+%" y="[\d.]+" width="[\d.]+%" height="[\d.]+"/>', html)


def test_no_inline_style_or_script(client: Client, alice: User, red: Team, traffic: None) -> None:
    client.force_login(alice)
    html = page(client, red)
    assert " style=" not in html
    assert not re.search(r"<script(?![^>]*src=)", html)
    assert not re.search(r"\son\w+=", html)


@pytest.mark.parametrize("group", ["model", "key", "member", "origin"])
@pytest.mark.spec("U1", "F07")
def test_the_share_that_is_no_engines_count_stands_in_every_grouping(
    client: Client, alice: User, red: Team, group: str
) -> None:
    exact, guessed = counts(900, 0), counts(60, 40, "estimated")
    ledger.write([
        ended(red.pk, exact, model="a", key_id=1, member_id=1, origin="api"),
        ended(red.pk, guessed, model="b", key_id=2, member_id=2, origin="chat"),
    ])  # fmt: skip
    client.force_login(alice)
    html = page(client, red, f"?group={group}")
    assert re.findall(r'<span class="sub">(\d+% estimated)</span>', html) == ["100% estimated", "10% estimated"]
    assert "10% of these tokens were counted or estimated here" in html
    assert 'id="policy"' in html
    answer = client.get(reverse("billing:usage-csv", args=[red.slug]) + f"?group={group}").content.decode()
    rows = list(csv.DictReader(io.StringIO(answer)))
    assert [(row["estimated_tokens"], row["estimated_share"]) for row in rows] == [("0", "0"), ("100", "1")]


@pytest.mark.parametrize(("language", "tenth"), [("en", "< 0.1%"), ("es", "< 0,1\u00a0%"), ("fr", "< 0,1\u00a0%")])
def test_a_share_that_is_small_is_not_called_nothing(language: str, tenth: str) -> None:
    with translation.override(language):
        assert [numbers.percent(part) for part in (0.0001, 0.0004999)] == [tenth, tenth]
        assert numbers.percent(0.001) == tenth.removeprefix("< ")
        assert "<" not in numbers.percent(0)
