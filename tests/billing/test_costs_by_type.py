"""What tokens of each type cost, in every roll-up and on the page: exactly what the log's rows say."""

import csv
import io
import random
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.models import Sum
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Team, User
from billing.ledger.adjustments import adjust
from billing.ledger.auditing import audit, rebuild
from billing.ledger.rollups import levels
from billing.models import ThinMonth, UsageDay, UsageRecord
from billing.prices.pricing import cost, cost_lines
from billing.records import Counts, UnitPrices
from billing.usage.files import as_json
from billing.usage.periods import Period
from billing.usage.questions import Bucket, Compared, Filters, Group, Metric, Question, Scope
from billing.usage.reports import Report, usage
from billing.usage.sums import OF_TYPES, Costs
from tests.billing.test_adjustments import logged
from tests.billing.traffic import PRICE

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
MILLIONTH = Decimal("0.000001")
# With more decimals than a request's cost keeps, so that it is rounded.
FINE = UnitPrices(Decimal("0.12345678"), Decimal("0.01234567"), Decimal("1.00000001"), Decimal("2.22222223"))
FREE = UnitPrices(Decimal(0), Decimal(0), Decimal(0), Decimal(0))


def used(prompt: int, completion: int, cached: int | None = None, reasoning: int | None = None) -> Counts:
    return Counts(prompt, completion, "upstream", "upstream", reasoning, cached)


def told_by(row: UsageRecord) -> tuple[Costs, Decimal]:
    """What a row of the log adds to each type, and to none."""
    if row.cost is None:
        return Costs(), Decimal(0)
    assert row.price_input is not None
    assert row.price_output is not None
    cached, reasoning = row.cached_tokens or 0, row.reasoning_tokens or 0
    if row.corrects is None:
        cached, reasoning = min(cached, row.prompt_tokens), min(reasoning, row.completion_tokens)
    cached_cost = cached * (row.price_cached_input or Decimal(0)) * MILLIONTH
    output_cost = (row.completion_tokens - reasoning) * row.price_output * MILLIONTH
    reasoning_cost = reasoning * (row.price_reasoning or Decimal(0)) * MILLIONTH
    others = cached_cost + output_cost + reasoning_cost
    if row.corrects is None:
        return Costs(row.cost - others, cached_cost, output_cost, reasoning_cost), Decimal(0)
    input_cost = (row.prompt_tokens - cached) * row.price_input * MILLIONTH
    return Costs(input_cost, cached_cost, output_cost, reasoning_cost), row.cost - others - input_cost


def told_by_the_log(team: Team) -> tuple[Costs, Decimal]:
    told = [told_by(row) for row in UsageRecord.objects.filter(team=team)]
    whole = (sum((getattr(one, name) for one, _ in told), Decimal(0)) for name in OF_TYPES)
    return Costs(*whole), sum((beyond for _, beyond in told), Decimal(0))


def in_each_level() -> set[Costs]:
    """The sums of each level, in which no other team is."""
    found = set()
    for level in levels():
        if level.only:
            continue
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(f'coalesce(sum({name}), 0)' for name in OF_TYPES)} FROM {level.table}")  # noqa: S608
            found.add(Costs(*cursor.fetchone()))
    return found


def asked(team: Team, *, metric: Metric = Metric.COST, group: Group = Group.TOKENS, whole: bool = True) -> Report:
    now = timezone.now()
    period = Period((now - 10 * DAY).date(), now.date(), ZoneInfo("UTC"))
    question = Question(Scope(team), period, group=group, metric=metric, compared=Compared.NOT)
    return usage(question, now=now, whole=whole)


def costs_of(report: Report) -> dict[str, Decimal]:
    return {one.key: one.total.cost for one in report.series}


CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "prompt": st.integers(0, 5000),
            "completion": st.integers(0, 5000),
            "cached": st.none() | st.integers(0, 9000),  # an engine may report more than there was
            "reasoning": st.none() | st.integers(0, 9000),
            "price": st.sampled_from([None, PRICE, FINE, FREE]),
            "corrected": st.sampled_from(
                ["", "", "tokens", "money", "money, then tokens", "types, then tokens", "types"]
            ),
        }
    ),
    max_size=8,
)


@pytest.mark.spec("U1", "R23")
@given(calls=CALLS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_costs_by_type_are_those_of_the_logs_rows_in_every_level_and_add_up(
    red: Team, calls: list[dict[str, Any]]
) -> None:
    with transaction.atomic():
        for one in calls:
            write(red, **one)
        costs, beyond = told_by_the_log(red)
        assert in_each_level() == {costs}
        assert audit().differences == ()
        rebuild()
        assert in_each_level() == {costs}
        report = asked(red)
        assert sum(costs_of(report).values()) == report.total.cost
        for place, whole in enumerate(report.buckets):
            assert sum(one.buckets[place].cost for one in report.series) == whole.cost
        if report.series:
            dust = abs(beyond) < Decimal("1e-9")
            expected = {"input": costs.input_cost + (beyond if dust else 0), "cached": costs.cached_cost}
            expected |= {"output": costs.output_cost, "reasoning": costs.reasoning_cost}
            assert costs_of(report) == (expected if dust else expected | {"untyped": beyond})
        document = as_json(report)
        for rows in (document["buckets"], document["breakdown"]):
            assert sum((Decimal(row["cost"] or 0) for row in rows), Decimal(0)) == report.total.cost
        transaction.set_rollback(True)


def write(
    team: Team, *, prompt: int, completion: int, cached: int | None, reasoning: int | None, price: UnitPrices | None,
    corrected: str,
) -> None:  # fmt: skip
    if "money" in corrected:  # who corrects sees parts that can be
        cached, reasoning = cached and min(cached, prompt), reasoning and min(reasoning, completion)
    request = logged(team, used(prompt, completion, cached, reasoning), price=price)
    if "money" in corrected and price is not None:
        adjust(request_id=request, money=Decimal("0.123456789012"), reason="as agreed", by=None)
    if "tokens" in corrected:
        adjust(
            request_id=request, prompt_tokens=7, completion_tokens=777, cached_tokens=3, reasoning_tokens=77,
            reason="wrong", by=None,
        )  # fmt: skip
    if "types" in corrected:
        adjust(
            request_id=request, prompt_tokens=9500, completion_tokens=9500, cached_tokens=1, reasoning_tokens=2,
            reason="told later", by=None,
        )  # fmt: skip


@pytest.mark.spec("U1")
def test_what_is_corrected_in_tokens_costs_by_type_what_its_counts_cost_now(red: Team) -> None:
    request = logged(red, used(1001, 333, 7, 11), price=FINE)
    adjust(request_id=request, money=Decimal(5), reason="as agreed", by=None)
    for prompt, completion, cached, reasoning in ((2003, 77, 900, 5), (13, 9999, 0, 9999), (501, 501, 499, 1)):
        adjust(
            request_id=request, prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached,
            reasoning_tokens=reasoning, reason="wrong", by=None,
        )  # fmt: skip
    lines = [line.amount for line in cost_lines(FINE, used(501, 501, 499, 1))]
    report = asked(red)
    found = list(costs_of(report).values())
    assert found[1:] == lines[1:]
    assert abs(found[0] - lines[0]) < Decimal("1e-11")  # the roundings of five entries
    assert sum(found) == report.total.cost == cost(FINE, used(501, 501, 499, 1))


@pytest.mark.spec("U1", "U3")
@pytest.mark.parametrize(
    ("money", "beyond", "said"),
    [
        ("1", "0.9943", "€0.99 of it is of no type"),
        ("0.001", "-0.0047", "Corrections in money took €0.004700 off"),
    ],
)
def test_what_is_corrected_in_money_is_of_no_type_and_has_a_row_of_its_own(
    client: Client, alice: User, red: Team, money: str, beyond: str, said: str
) -> None:
    request = logged(red, used(1000, 1000, 0, 0), price=PRICE._replace(input=Decimal("1.7")))
    adjust(request_id=request, money=Decimal(money), reason="as agreed", by=alice)
    report = asked(red)
    assert costs_of(report) == {
        "input": Decimal("0.0017"), "cached": 0, "output": Decimal("0.004"), "reasoning": 0, "untyped": Decimal(beyond),
    }  # fmt: skip
    client.force_login(alice)
    html = page(client, red, "?group=tokens&metric=cost")
    assert said in html
    (row,) = re.findall(r'<th scope="row">not by type.*?</tr>', html, re.DOTALL)
    assert re.findall(r'data-l="Tokens">(.*?)<', row) == ["–"]
    told = as_json(report)["breakdown"][-1]
    assert (told["id"], told["tokens"], told["cost"], told["prompt_tokens"]) == (
        "untyped", "not by type", beyond, None,
    )  # fmt: skip
    assert "not by type" not in page(client, red, "?group=tokens")


@pytest.mark.spec("U1", "U3")
@pytest.mark.parametrize("metric", ["cost", "tokens"])
def test_files_hold_what_each_type_cost_whatever_the_measure(
    client: Client, alice: User, red: Team, metric: str
) -> None:
    logged(red, used(1000, 2000, 500, 100), price=PRICE)
    adjust(request_id=logged(red, used(10, 10, 5, 5), price=FINE), money=Decimal(3), reason="as agreed", by=alice)
    client.force_login(alice)
    told = as_json(asked(red))
    whole, costs = told["total"]["cost"], {row["id"]: row["cost"] for row in told["breakdown"]}
    query = f"?group=tokens&metric={metric}"
    for table in ("", "&table=breakdown"):
        answer = client.get(reverse("billing:usage-csv", args=[red.slug]) + query + table)
        rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
        assert {row["id"]: row["cost"] for row in rows if row["id"]} == costs
        assert [row["cost"] for row in rows if not row["id"]] == ([whole] if table else [])
    told = client.get(reverse("billing:usage-json", args=[red.slug]) + query).json()
    assert {row["id"]: row["cost"] for row in told["buckets"]} == costs
    assert sum(map(Decimal, costs.values())) == Decimal(whole) == Decimal(told["total"]["cost"])
    assert costs.keys() == {"input", "cached", "output", "reasoning", "untyped"}


@pytest.mark.spec("U1", "U3")
@pytest.mark.parametrize("bucket", [Bucket.HOUR, Bucket.DAY, Bucket.MONTH])
@pytest.mark.parametrize("filters", [Filters(), Filters(models=("llama",)), Filters(outcomes=("ok",))])
def test_every_scope_tells_what_each_type_cost(red: Team, blue: Team, bucket: Bucket, filters: Filters) -> None:
    counts = used(1000, 2000, 500, 100)
    logged(red, counts, price=PRICE, key_id=3, member_id=4)
    logged(red, counts, price=PRICE)
    logged(blue, counts, price=PRICE)
    now = timezone.now()
    period = Period((now - 3 * DAY).date(), now.date(), ZoneInfo("UTC"))
    one = [line.amount for line in cost_lines(PRICE, counts)]
    for scope, times in (
        (Scope(red), 2), (Scope(red, key_id=3), 1), (Scope(red, member_id=4), 1), (Scope(None), 3),
    ):  # fmt: skip
        question = Question(scope, period, Group.TOKENS, Metric.COST, bucket, filters)
        assert list(costs_of(usage(question, now=now)).values()) == [times * amount for amount in one], scope


@pytest.mark.spec("U1", "F07")
def test_a_cost_that_is_not_known_is_never_0(client: Client, alice: User, red: Team) -> None:
    """Not reported, or without a price; what was reported as none at a price costs nothing."""
    logged(red, used(1000, 1000, 0), price=PRICE)
    assert table(client, alice, red) == {
        "input": ["18%", "1,000", "€0.000900"],
        "cached input": ["0%", "0", "€0.00"],
        "output": ["82%", "1,000", "€0.004000"],
        "reasoning": ["–", "–", "–"],
        "Total": ["100%", "2,000", "€0.004900"],
    }
    logged(red, used(0, 10, None, 10))  # the reasoning of a model that has no price
    assert table(client, alice, red)["reasoning"] == ["–", "10", "no price"]
    rows = {row["id"]: row for row in as_json(asked(red))["breakdown"]}
    assert [(rows[kind]["completion_tokens"], rows[kind]["cost"]) for kind in ("output", "reasoning")] == [
        (1000, "0.004"), (10, None),
    ]  # fmt: skip


@pytest.mark.spec("U1")
def test_without_any_price_there_is_no_cost_by_type(client: Client, alice: User, red: Team) -> None:
    logged(red, used(1000, 1000, 10, 10))
    told = table(client, alice, red)
    assert {cells[2] for cells in told.values()} == {"no price"}
    assert {row["cost"] for row in as_json(asked(red))["breakdown"]} == {None}
    assert "No price was in force for these models" in page(client, red, "?group=tokens&metric=cost")


@pytest.mark.spec("U1")
def test_the_finding_names_the_type_that_costs_most(client: Client, alice: User, red: Team) -> None:
    logged(red, used(1000, 2000, 500, 100), price=PRICE)
    client.force_login(alice)
    html = page(client, red, "?group=tokens&metric=cost&compare=off&period=7d")
    assert "most: output (87%)" in html
    assert "Cost per day and by type." in html
    head, today = re.findall(
        r"<tr.*?</tr>", html[html.index('class="data"') : html.index('id="breakdown"')], re.DOTALL
    )[::7]
    assert re.findall(r"<th[^>]*>(?:<[^>]*>)*([^<]+)", head)[1:] == [
        "Total", "input", "cached input", "output", "reasoning",
    ]  # fmt: skip
    assert re.findall(r'<td class="num">([^<]+)', today) == [
        "€0.008775", "€0.000450", "€0.000225", "€0.007600", "€0.000500",
    ]  # fmt: skip


@pytest.mark.spec("U1")
def test_requests_have_no_type_and_the_page_says_so(client: Client, alice: User, red: Team) -> None:
    logged(red, price=PRICE)
    client.force_login(alice)
    html = page(client, red, "?group=tokens&metric=requests")
    assert "A request has tokens of several types, so these are tokens, not requests." in html
    radios = dict(re.findall(r'<input type="radio" name="metric" value="(\w+)" id="\w+"(.*?)>', html))
    assert radios == {"tokens": " checked", "requests": " disabled", "cost": ""}
    assert 'title="A request has tokens of several types"' in html
    place = reverse("billing:usage", args=[red.slug])
    answer = client.get(f"{place}?group=tokens&metric=requests", headers={"HX-Request": "true"})
    assert answer.headers["HX-Push-Url"] == f"{place}?group=tokens"
    usual = page(client, red, "?group=model&metric=requests")
    assert ("several types" in usual, "disabled" in usual) == (False, False)


@pytest.mark.spec("R23")
def test_only_a_question_of_cost_by_type_reads_the_costs_of_types(red: Team) -> None:
    logged(red, price=PRICE)
    for metric, group, whole, wanted in (
        (Metric.COST, Group.TOKENS, False, True), (Metric.TOKENS, Group.TOKENS, False, False),
        (Metric.TOKENS, Group.TOKENS, True, True), (Metric.COST, Group.MODEL, False, False),
        (Metric.COST, Group.MODEL, True, False),
    ):  # fmt: skip
        with CaptureQueriesContext(connection) as queries:
            asked(red, metric=metric, group=group, whole=whole)
        assert any("output_cost" in query["sql"] for query in queries) == wanted, (metric, group, whole)


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("R23")
@pytest.mark.parametrize("thin", [False, True])
def test_costs_by_type_are_filled_in_from_the_log_for_the_months_that_it_has(red: Team, thin: bool) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone="Asia/Kathmandu")
    chance = random.Random(15)
    for day in range(-3, 5):  # over the end of October, in UTC and there
        at = datetime(2026, 11, 1, 18, 10, tzinfo=UTC) + day * DAY
        for price in (PRICE, FINE, None):
            counts = used(chance.randrange(5000), chance.randrange(5000), chance.choice([None, 9000, 10]), 5)
            request = logged(red, counts, at=at, price=price, key_id=3)
    adjust(request_id=request, prompt_tokens=9000, cached_tokens=1, reason="late", by=None)
    if thin:
        ThinMonth.objects.create(month=date(2026, 10, 1), dropped_at=timezone.now())
    (before,) = {
        parent.key[1]
        for parent in MigrationLoader(connection).graph.node_map["billing", "0015_costs_by_type_of_tokens"].parents
    }
    try:
        call_command("migrate", "billing", before, verbosity=0)
    finally:
        call_command("migrate", "billing", verbosity=0)
    assert audit().differences == ()
    october = UsageDay.objects.filter(team=red, day__lt=date(2026, 11, 1)).aggregate(Sum("output_cost"))
    assert bool(october["output_cost__sum"]) is not thin
    assert usage(
        Question(Scope(red), Period(date(2026, 10, 1), date(2026, 11, 30), ZoneInfo("UTC")), group=Group.TOKENS,
                 bucket=Bucket.MONTH, metric=Metric.COST), now=datetime(2026, 12, 1, tzinfo=UTC),
    ).series[-1].key == ("untyped" if thin else "reasoning")  # fmt: skip


def page(client: Client, team: Team, query: str) -> str:
    return client.get(reverse("billing:usage", args=[team.slug]) + query).content.decode()


def table(client: Client, alice: User, team: Team) -> dict[str, list[str]]:
    """Each row's share, tokens and cost."""
    client.force_login(alice)
    html = page(client, team, "?group=tokens&metric=cost&compare=off")
    found = {}
    for row in re.findall(r'<th scope="row">(.*?)</tr>', html[html.index('id="breakdown"') :], re.DOTALL):
        cells = [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]
        found[re.split("<", row)[0].strip()] = cells
    return found
