"""The lower half of the usage page: each figure with its finding, its table and its links, for every scope."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.http import QueryDict
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import Team, User
from billing.budgets.monthly import set_budget
from billing.ledger import log as ledger
from billing.ledger.refusals import write
from billing.models import Unit
from billing.usage.forms import UsageForm
from billing.usage.questions import Scope
from billing.usage.sections.page import Sections, sections
from tests.billing.traffic import PRICE, a_refusal, ended, milliseconds, timed
from tests.factories import make_key

pytestmark = pytest.mark.spec("U4", "U9")
FIGURES = ["budget", "hours", "speed", "whole", "models-speed", "errors", "refused"]


def page(client: Client, team: Team, query: str = "", **headers: str) -> str:
    """With the lower half where its script puts it."""
    place = reverse("billing:usage", args=[team.slug]) + query
    upper = client.get(place, headers=headers)
    (address,) = re.findall(r'<div hx-get="([^"]+)" hx-trigger="load"', upper.content.decode())
    lower = client.get(address.replace("&amp;", "&"), headers={"HX-Request": "true", **headers})
    assert (upper.status_code, lower.status_code) == (200, 200)
    return upper.content.decode() + lower.content.decode()


def asked(scope: Scope, query: str = "", **changed: Any) -> Sections:
    now = timezone.now()
    question = UsageForm(QueryDict(query), scope=scope, now=now).question()
    found: Sections = sections(question, now=now, **changed)["sections"]
    return found


@pytest.fixture
def traffic(red: Team) -> None:
    set_budget(team=red, unit=Unit.MONEY, amount=Decimal(5), hard=True, by=None)
    ledger.write([
        timed(red.pk, ttft_ms=90, duration_ms=800, price=PRICE, key_id=1),
        timed(red.pk, ttft_ms=None, duration_ms=800, outcome="upstream_timeout", member_id=2, origin="chat"),
    ])  # fmt: skip
    write([a_refusal(red.pk, key_id=1)])


def figure(html: str, name: str) -> str:
    begin = html.index(f'id="{name}"')
    return html[begin : html.index("</figure>", begin)]


def test_each_figure_is_named_by_its_finding_and_has_the_table_of_its_columns(
    client: Client, alice: User, red: Team, traffic: None
) -> None:
    client.force_login(alice)
    html = page(client, red)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    for name in FIGURES:
        part = figure(html, name)
        (heading,) = re.findall(r'<h2 class="headline" id="([^"]+)">', part)
        assert f'role="img" aria-labelledby="{heading}"' in part
        assert part.count('<svg class="chart') == 1
        assert part.count('<details class="data">') == 1
    rows = {name: figure(html, name).count("data-said=") for name in FIGURES}
    month = rows.pop("budget")
    assert rows == {"hours": 24, "speed": 30, "whole": 30, "models-speed": 1, "errors": 30, "refused": 30}
    assert 28 <= month <= 31
    assert set(re.findall(r'fill="url\(#(q\w)\)"', html)) <= set(re.findall(r'<pattern id="(q\w)"', html))


def test_without_script_the_lower_half_is_a_page_of_its_own(
    client: Client, alice: User, red: Team, traffic: None
) -> None:
    client.force_login(alice)
    place = reverse("billing:usage", args=[red.slug])
    assert f'<a href="{place}?part=below">' in client.get(place).content.decode()
    html = client.get(f"{place}?part=below").content.decode()
    assert "<h1>Usage</h1>" in html
    assert [name for name in FIGURES if f'id="{name}"' not in html] == []
    assert set(re.findall(r'fill="url\(#(q\w)\)"', html)) <= set(re.findall(r'<pattern id="(q\w)"', html))


def test_the_sections_hold_no_style_and_no_script(client: Client, alice: User, red: Team, traffic: None) -> None:
    client.force_login(alice)
    html = page(client, red)
    assert " style=" not in html
    assert not re.search(r"\s(on\w+|hx-on\S*)=", html)


def test_an_outcome_leads_to_what_ended_so_and_keeps_the_rest_of_the_question(
    client: Client, alice: User, red: Team, traffic: None
) -> None:
    client.force_login(alice)
    (address,) = re.findall(r'href="(\?[^"]*)"', figure(page(client, red, "?period=7d&origin=chat"), "errors"))
    query = QueryDict(address.replace("&amp;", "&").partition("#")[0][1:])
    assert (query["outcome"], query["origin"]) == ("upstream_timeout", "chat")
    assert figure(page(client, red, "?" + query.urlencode()), "errors").count("data-said=") == 7
    found = asked(Scope(red), "period=7d&origin=chat&model=llama&outcome=ok")
    assert "outcome" not in found.query
    assert "origin=chat" in found.query
    assert "model=llama" in found.query
    kept = asked(Scope(red), "period=7d", state={"period": "7d", "outcome": ["ok"]})
    assert (kept.query, kept.log_query) == ("period=7d", "period=7d&outcome=upstream_timeout")


def test_without_a_request_there_are_the_budget_and_what_was_refused(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(5000), hard=True, by=None)
    write([a_refusal(red.pk)])
    html = page(client, red)
    present = [name for name in FIGURES if f'<figure class="fig" id="{name}"' in html]
    assert present == ["budget", "refused"]
    assert "1 call was refused; most often: " in figure(html, "refused")
    assert html.count('<pattern id="q1"') == 1


def test_a_long_period_fetches_its_week_when_it_is_looked_at(
    client: Client, alice: User, red: Team, traffic: None
) -> None:
    client.force_login(alice)
    today = datetime.now(UTC).date()
    query = f"?period=custom&first={today - timedelta(days=60)}&last={today}&key=1"
    part = figure(page(client, red, query), "hours")
    (address,) = re.findall(r'hx-get="([^"]+)" hx-trigger="revealed"', part)
    assert f'<a href="{address}">' in part
    fragment = client.get(address.replace("&amp;", "&"), headers={"HX-Request": "true"}).content.decode()
    assert fragment.strip().startswith('<figure class="fig" id="hours">')
    assert "10 h: " in fragment
    alone = client.get(address.replace("&amp;", "&")).content.decode()
    assert "<h1>By weekday and hour</h1>" in alone
    assert 'id="hours"' in alone
    assert asked(Scope(red, key_id=1), query[1:]).week is not None


@pytest.mark.parametrize("query", ["", "?period=today", "?period=7d&zone=UTC&compare=before", "?period=custom"])
def test_the_number_of_queries_does_not_grow_with_the_rows(
    client: Client, alice: User, red: Team, query: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    set_budget(team=red, unit=Unit.MONEY, amount=Decimal(5), hard=True, by=alice)
    counted = []
    for name in ("one", "two", "three"):
        key = make_key(red, name=name).key
        ledger.write([ended(red.pk, model=name, key_id=key.pk, outcome="upstream_error")])
        write([a_refusal(red.pk, key_id=key.pk, code=f"code-{number}") for number in range(3)])
        write([a_refusal(red.pk, key_id=key.pk + 1)])
        with django_assert_max_num_queries(14) as queries:
            asked(Scope(red), query[1:])
        counted.append(len(queries))
    assert counted[0] == counted[2]


def test_a_model_with_a_name_like_markup_is_shown_as_it_is_called(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    ledger.write([timed(red.pk, ttft_ms=90, duration_ms=800, model='<b onload="x">&')])
    part = figure(page(client, red), "models-speed")
    assert '<th scope="row">&lt;b onload=&quot;x&quot;&gt;&amp;</th>' in part
    assert "<b onload" not in part


def test_every_scope_has_its_own_figures(red: Team, blue: Team, traffic: None) -> None:
    ledger.write([ended(blue.pk, outcome="internal_error")])
    write([a_refusal(blue.pk, code="blues")])
    whole, key, member = asked(Scope(red)), asked(Scope(red, key_id=1)), asked(Scope(red, member_id=2))
    platform = asked(Scope(None))
    assert [len(found.budgets) for found in (whole, key, member, platform)] == [1, 0, 0, 0]
    assert [found.week is None for found in (whole, key, member, platform)] == [False, False, False, True]
    for found in (whole, member, platform):
        assert found.errors is not None
        assert found.errors.lines[0].value in {"upstream_timeout", "internal_error"}
    assert key.errors is not None
    assert key.errors.heading == "Every request was answered"
    assert key.refused is not None
    assert member.refused is None
    assert platform.refused is not None
    assert [line.note for line in platform.refused.lines] == ["blues", "rate_limit_exceeded"]
    html = render_to_string("billing/sections.html", {"sections": platform})
    assert "/t/" not in html


def test_refused_calls_are_left_out_where_the_question_is_of_answers_alone(red: Team, traffic: None) -> None:
    assert asked(Scope(red)).refused is not None
    for query in ("origin=chat", "model=llama", "outcome=ok"):
        assert asked(Scope(red), query).refused is None


def test_late_rows_count_where_they_are_booked(red: Team, traffic: None) -> None:
    old = milliseconds(timezone.now() - timedelta(days=50))
    ledger.write([timed(red.pk, ttft_ms=10, duration_ms=20, at_ms=old)])
    found = asked(Scope(red))
    assert found.week is not None
    assert sum(int(cell) for row in found.week.table.rows for cell in row.cells) == 2
