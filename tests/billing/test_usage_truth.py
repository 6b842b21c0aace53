"""Figures, table, chart, CSV, JSON and workbook say what the log says: any traffic, zone, grouping, bar and filter."""

import csv
import io
import json
import random
import re
import zipfile
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.http import QueryDict
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import ApiKey, Team, User
from billing.ledger import log as ledger
from billing.ledger.adjustments import adjust
from billing.ledger.auditing import rebuild
from billing.models import ENDED_WELL, UsageRecord
from billing.usage.buckets import ends, instant, moments
from billing.usage.files import as_json, has_xlsx
from billing.usage.forms import UsageForm
from billing.usage.periods import Period
from billing.usage.questions import Bucket, Filters, Group, Metric, Question, Scope
from billing.usage.reports import Report, usage
from billing.usage.sums import Sums, added
from tests.billing.traffic import PRICE, ended, milliseconds, random_traffic
from tests.factories import make_key

ZONES = ["Asia/Kolkata", "Asia/Kathmandu", "Europe/Paris", "America/Mexico_City", "UTC"]
# Weeks in which the clocks of Paris change, both ways, and one in which nobody's do.
BEGINS = [date(2026, 3, 24), date(2026, 10, 20), date(2026, 7, 1)]
OWN = {"upstream", "upstream_partial"}
GONE = 10**6  # a key and a person that are in the log alone


def of(rows: Iterable[UsageRecord]) -> Sums:
    """What the log's own rows come to."""
    return added([
        Sums(
            requests=int(row.corrects is None),
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            reasoning_tokens=row.reasoning_tokens or 0,
            cached_tokens=row.cached_tokens or 0,
            reasoning_reported=int(row.reasoning_tokens is not None),
            cached_reported=int(row.cached_tokens is not None),
            estimated_tokens=(row.prompt_tokens if row.prompt_source not in OWN else 0)
            + (row.completion_tokens if row.completion_source not in OWN else 0),
            priced_requests=int(row.cost is not None and row.corrects is None),
            cost=row.cost or Decimal(0),
            errors=int(row.outcome not in ENDED_WELL and row.corrects is None),
        )
        for row in rows
    ])  # fmt: skip


def value(row: UsageRecord, group: Group) -> str:
    return {
        Group.MODEL: row.model,
        Group.KEY: str(row.key_id or 0),
        Group.MEMBER: str(row.member_id or 0),
        Group.ORIGIN: row.origin,
        Group.OUTCOME: row.outcome,
    }[group]


def rows_of(team: Team, question: Question) -> list[UsageRecord]:
    found = UsageRecord.objects.filter(team=team, booked_at__gte=question.period.begin)
    found = found.filter(booked_at__lt=question.period.end)
    wanted = question.filters
    return [
        row
        for row in found
        if (not wanted.models or row.model in wanted.models)
        and (not wanted.keys or (row.key_id or 0) in wanted.keys)
        and (not wanted.members or (row.member_id or 0) in wanted.members)
        and (not wanted.origins or row.origin in wanted.origins)
        and (not wanted.outcomes or row.outcome in wanted.outcomes)
    ]


def write_traffic(team: Team, others: Team, period: Period, seed: int, keys: list[int], people: list[int]) -> None:
    chance = random.Random(seed)
    margin = timedelta(days=2)
    for whose in (team, others):
        made = random_traffic(
            whose.pk, 120, begin=period.begin - margin, end=period.end + margin, chance=chance, keys=[*keys, GONE]
        )
        ledger.write([
            ended(
                whose.pk, one.final.counts, outcome=one.final.outcome, at_ms=one.start.at_ms, model=one.start.model,
                origin=one.start.origin, key_id=one.start.key_id, member_id=chance.choice([None, GONE, *people]),
                price=one.start.price,
            )
            for one in made
        ])  # fmt: skip


def filters(chance: random.Random, keys: list[int], people: list[int]) -> Filters:
    return Filters(
        models=chance.choice([(), ("llama",), ("llama", "qwen")]),
        keys=chance.choice([(), (0, keys[0]), (GONE,)]),
        members=chance.choice([(), (), (0, people[0])]),
        origins=chance.choice([(), (), ("api",)]),
        outcomes=chance.choice([(), (), ("ok",), ("upstream_error", "interrupted")]),
    )


@pytest.mark.spec("U1", "U2", "U3", "R23", "F32")
@given(
    zone=st.sampled_from(ZONES),
    begin=st.sampled_from(BEGINS),
    length=st.sampled_from([1, 2, 8, 40]),
    utc=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_way_to_ask_adds_up_to_the_log(
    red: Team, blue: Team, alice: User, zone: str, begin: date, length: int, utc: bool, seed: int
) -> None:
    UsageRecord.objects.all().delete()
    Team.objects.filter(pk=red.pk).update(time_zone=zone)
    red.refresh_from_db()
    period = Period(begin, begin + timedelta(days=length - 1), ZoneInfo("UTC" if utc else zone))
    keys = list(ApiKey.objects.filter(team=red).values_list("pk", flat=True)) or [make_key(red).key.pk]
    write_traffic(red, blue, period, seed, keys, [alice.pk])
    rebuild()  # the days are those of the new zone
    chance = random.Random(seed)
    now = period.end + timedelta(days=1)
    for group in Scope(red).groups:
        bucket = chance.choice([bucket for bucket in Bucket if bucket != Bucket.HOUR or length <= 8])
        question = Question(
            Scope(red), period, group=group, bucket=bucket, filters=filters(chance, keys, [alice.pk]),
            metric=chance.choice([Metric.TOKENS, Metric.COST] if group == Group.TOKENS else list(Metric)),
        )  # fmt: skip
        rows = rows_of(red, question)
        report = usage(question, now=now)
        assert report.total == of(rows)
        assert added(report.buckets) == of(rows)
        if group == Group.TOKENS:
            by_type = added([one.total for one in report.series])
            assert (by_type.tokens, by_type.cost) == (of(rows).tokens, of(rows).cost)
            assert sum(Decimal(row["cost"] or 0) for row in as_json(report)["buckets"]) == of(rows).cost
            continue
        assert {one.key: one.total for one in report.series if one.total != Sums()} == {
            key: of(row for row in rows if value(row, group) == key) for key in {value(row, group) for row in rows}
        }
        assert [added([one.buckets[place] for one in report.series]) for place in range(len(report.moments))] == list(
            report.buckets
        )
        assert_files(report, of(rows))


def assert_files(report: Report, expected: Sums) -> None:
    told = as_json(report)
    assert total_of(told["buckets"]) == total_of(told["breakdown"]) == plainly(expected)
    assert total_of([told["total"]]) == plainly(expected)


def plainly(sums: Sums) -> tuple[int, int, int, int, int, Decimal]:
    return (
        sums.requests, sums.errors, sums.prompt_tokens, sums.completion_tokens, sums.estimated_tokens, sums.cost,
    )  # fmt: skip


def total_of(rows: Iterable[dict[str, Any]]) -> tuple[int, int, int, int, int, Decimal]:
    rows = list(rows)

    def whole(name: str) -> int:
        return sum(int(row[name] or 0) for row in rows)

    cost = sum((Decimal(row["cost"] or 0) for row in rows), Decimal(0))
    return (
        whole("requests"), whole("errors"), whole("prompt_tokens"), whole("completion_tokens"),
        whole("estimated_tokens"), cost,
    )  # fmt: skip


@pytest.fixture
def busy(red: Team, alice: User) -> Team:
    """Traffic of the last days with a correction, by a key and a person that are there and ones that are gone."""
    now = datetime.now(UTC)
    period = Period(now.date() - timedelta(days=5), now.date() - timedelta(days=1), ZoneInfo("UTC"))
    write_traffic(red, red, period, 7, [make_key(red, name="ci").key.pk], [alice.pk])
    ledger.write([wrong := ended(red.pk, price=PRICE)])
    adjust(request_id=wrong.start.id, prompt_tokens=11, completion_tokens=3, reason="counted twice", by=alice)
    return red


def figures_of(html: str) -> tuple[str, str]:
    """The exact numbers of the total row: tokens in and out."""
    row = html[html.index("<tfoot>") : html.index("</tfoot>")]
    cells = re.findall(r'<td class="num rest"[^>]*>([\d,]+)</td>', row)
    return cells[0], cells[1]


@pytest.mark.spec("U1", "U3", "S16")
@pytest.mark.parametrize("query", ["", "?group=key&metric=cost", "?group=member&origin=api", "?zone=UTC&bucket=week"])
def test_page_and_files_show_the_same(client: Client, alice: User, busy: Team, query: str) -> None:
    client.force_login(alice)
    form = UsageForm(QueryDict(query[1:]), scope=Scope(busy), now=datetime.now(UTC))
    expected = of(rows_of(busy, form.question()))
    assert expected.requests

    html = client.get(reverse("billing:usage", args=[busy.slug]) + query).content.decode()
    assert figures_of(html) == (f"{expected.prompt_tokens:,}", f"{expected.completion_tokens:,}")

    lines = read_csv(client, busy, query)
    assert total_of(lines) == plainly(expected)
    table = read_csv(client, busy, f"{query}{'&' if query else '?'}table=breakdown")
    assert total_of(row for row in table if row["row"] == "series") == plainly(expected)
    assert total_of(row for row in table if row["row"] == "total") == plainly(expected)

    told = json.loads(client.get(reverse("billing:usage-json", args=[busy.slug]) + query).content)
    assert total_of(told["buckets"]) == total_of([told["total"]]) == plainly(expected)
    assert [row["id"] for row in told["breakdown"]] == [row["id"] for row in table if row["row"] == "series"]


def read_csv(client: Client, team: Team, query: str) -> list[dict[str, str]]:
    answer = client.get(reverse("billing:usage-csv", args=[team.slug]) + query)
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.content.decode())))


@pytest.mark.skipif(not has_xlsx(), reason="the extra xlsx is not installed")
def test_the_workbook_holds_what_the_csv_holds(client: Client, alice: User, busy: Team) -> None:
    client.force_login(alice)
    answer = client.get(reverse("billing:usage-xlsx", args=[busy.slug]))
    book = zipfile.ZipFile(io.BytesIO(answer.content))
    assert re.findall(r'<sheet name="(\w+)"', book.read("xl/workbook.xml").decode()) == [
        "Question",
        "Buckets",
        "Breakdown",
    ]
    rows = [sheet_row(row) for row in re.findall(r"<row .*?</row>", book.read("xl/worksheets/sheet2.xml").decode())]
    lines = read_csv(client, busy, "")
    place = rows[0].index("prompt_tokens")
    assert len(rows) - 1 == len(lines)
    assert [row[place] for row in rows[1:]] == [line["prompt_tokens"] for line in lines]


def sheet_row(row: str) -> list[str]:
    return re.findall(r"<(?:v|t)[^>]*>([^<]*)</(?:v|t)>", row)


@pytest.mark.skipif(has_xlsx(), reason="the extra xlsx is installed")
def test_without_its_writer_a_workbook_is_refused_in_words(client: Client, alice: User, busy: Team) -> None:
    client.force_login(alice)
    answer = client.get(reverse("billing:usage-xlsx", args=[busy.slug]))
    assert (answer.status_code, "its extra `xlsx` is not there" in answer.content.decode()) == (501, True)
    assert ">XLSX</a>" not in client.get(reverse("billing:usage", args=[busy.slug])).content.decode()


@pytest.mark.spec("U2")
def test_a_file_says_what_was_asked_with_the_offset_of_its_moments(client: Client, alice: User, red: Team) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone="Europe/Paris")
    red.refresh_from_db()
    at = milliseconds(datetime(2026, 3, 29, 12, tzinfo=UTC))
    ledger.write([ended(red.pk, at_ms=at, model="=cmd()", price=PRICE)])
    client.force_login(alice)
    query = "?period=custom&first=2026-03-29&last=2026-03-29&bucket=day&model=%3Dcmd()"
    (line,) = read_csv(client, red, query)
    assert (line["from"], line["to"]) == ("2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00")
    assert (line["model"], line["filters"]) == ("'=cmd()", "model==cmd()")
    assert (line["zone"], line["currency"], line["bucket"]) == ("Europe/Paris", "EUR", "day")
    told = json.loads(client.get(reverse("billing:usage-json", args=[red.slug]) + query).content)
    assert (told["begin"], told["end"]) == (line["from"], line["to"])
    assert told["filters"] == {"model": ["=cmd()"]}
    assert told["breakdown"][0]["model"] == "=cmd()"


@pytest.mark.spec("U1", "F07")
def test_what_nobody_reported_is_empty_in_files_and_named_on_the_page(client: Client, alice: User, red: Team) -> None:
    ledger.write([ended(red.pk)])
    client.force_login(alice)
    (line,) = read_csv(client, red, "")
    assert (line["reasoning_tokens"], line["cached_tokens"], line["cost"]) == ("", "", "")
    told = json.loads(client.get(reverse("billing:usage-json", args=[red.slug]) + "?group=tokens").content)
    assert {row["id"]: (row["prompt_tokens"], row["completion_tokens"]) for row in told["breakdown"]} == {
        "input": (10, None),
        "cached": (None, None),
        "output": (None, 5),
        "reasoning": (None, None),
    }
    html = client.get(reverse("billing:usage", args=[red.slug]) + "?group=tokens").content.decode()
    assert "No engine reported: cached input, reasoning." in html
    assert html.count('<span class="sub">not reported</span>') == 2


@given(days=st.integers(1, 400), zone=st.sampled_from(ZONES), begin=st.dates(date(2026, 1, 1), date(2027, 1, 1)))
@settings(max_examples=60, deadline=None)
def test_buckets_are_without_gaps_and_end_with_the_period(days: int, zone: str, begin: date) -> None:
    period = Period(begin, begin + timedelta(days=days - 1), ZoneInfo(zone))
    for bucket in Bucket:
        if bucket == Bucket.HOUR and days > 20:
            continue
        begins = moments(period, bucket)
        instants = [instant(moment, period) for moment in begins]
        assert instants[0] == period.begin
        assert instants == sorted(set(instants))
        assert instant(ends(begins, period)[-1], period) == period.end
