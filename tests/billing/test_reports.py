"""Page, export and log say the same, in any zone and over the change of clocks."""

import csv
import io
import json
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Team, User
from billing.ledger import log as ledger
from billing.ledger.auditing import audit, rebuild
from billing.models import UsageDay, UsageQuarter, UsageRecord
from billing.usage.glances import week_of_key, week_of_team
from billing.usage.periods import Period
from billing.usage.questions import Filters, Group, Scope
from billing.usage.sums import Sums
from tests.billing.asking import report_of
from tests.billing.traffic import ended, milliseconds, random_traffic
from tests.factories import make_key, make_team

KATHMANDU = "Asia/Kathmandu"
PARIS = "Europe/Paris"
MEXICO = "America/Mexico_City"


def of_log(team: Team, period: Period) -> Sums:
    rows = list(UsageRecord.objects.filter(team=team, at__gte=period.begin, at__lt=period.end))
    own = {"upstream", "upstream_partial"}
    return Sums(
        requests=len(rows),
        prompt_tokens=sum(row.prompt_tokens for row in rows),
        completion_tokens=sum(row.completion_tokens for row in rows),
        reasoning_tokens=sum(row.reasoning_tokens or 0 for row in rows),
        cached_tokens=sum(row.cached_tokens or 0 for row in rows),
        reasoning_reported=sum(row.reasoning_tokens is not None for row in rows),
        cached_reported=sum(row.cached_tokens is not None for row in rows),
        estimated_tokens=sum(row.prompt_tokens for row in rows if row.prompt_source not in own)
        + sum(row.completion_tokens for row in rows if row.completion_source not in own),
        priced_requests=sum(row.cost is not None for row in rows),
        cost=sum((row.cost for row in rows if row.cost is not None), Decimal(0)),
        errors=sum(row.outcome in {"upstream_error", "interrupted"} for row in rows),
    )


def export(team: Team, period: Period, form: str) -> list[dict[str, object]]:
    out = io.StringIO()
    call_command(
        "usage_export", team=team.slug, first=str(period.first), last=str(period.last), format=form, stdout=out
    )
    return list(json.loads(out.getvalue()) if form == "json" else csv.DictReader(io.StringIO(out.getvalue())))


@pytest.mark.parametrize(
    ("zone", "first", "last"),
    [
        (KATHMANDU, date(2026, 11, 1), date(2026, 11, 2)),
        (KATHMANDU, date(2026, 10, 25), date(2026, 11, 20)),
        (PARIS, date(2026, 3, 29), date(2026, 3, 29)),
        (PARIS, date(2026, 3, 20), date(2026, 4, 5)),
        (PARIS, date(2026, 10, 25), date(2026, 10, 25)),
        (PARIS, date(2026, 10, 24), date(2026, 10, 25)),
        (PARIS, date(2026, 10, 1), date(2026, 10, 31)),
        (MEXICO, date(2026, 6, 1), date(2026, 6, 30)),
    ],
)
@pytest.mark.spec("U1", "U2", "U3", "R23")
def test_page_export_and_log_have_the_same_totals(
    client: Client, alice: User, red: Team, blue: Team, zone: str, first: date, last: date
) -> None:
    chance = random.Random(f"{zone}{first}{last}")
    Team.objects.filter(pk=red.pk).update(time_zone=zone)
    red.refresh_from_db()
    period = Period(first, last, ZoneInfo(zone))
    keys = [make_key(red).key.pk for _ in range(3)]
    margin = timedelta(days=2)
    for team in (red, blue):
        ledger.write(
            random_traffic(team.pk, 400, begin=period.begin - margin, end=period.end + margin, chance=chance, keys=keys)
        )
    expected = of_log(red, period)
    now = period.end + timedelta(days=9)
    for group in Scope(red).groups:
        report = report_of(red, period, group=group, now=now)
        assert report.total == expected
        assert sum(report.buckets, Sums()) == expected
        of_series = sum((series.total for series in report.series), Sums())
        assert of_series.tokens == expected.tokens
        if group != Group.TOKENS:  # which tell tokens apart, not requests
            assert of_series == expected
    assert expected.requests > 20

    rows = export(red, period, "json")
    assert len(rows) == expected.requests
    assert sum(int(str(row["prompt_tokens"])) for row in rows) == expected.prompt_tokens
    assert sum(Decimal(str(row["cost"] or 0)) for row in rows) == expected.cost
    as_csv = export(red, period, "csv")
    assert Counter(row["request_id"] for row in as_csv) == Counter(row["request_id"] for row in rows)
    assert sum(int(str(row["completion_tokens"])) for row in as_csv) == expected.completion_tokens

    client.force_login(alice)
    answer = client.get(f"/t/{red.slug}/usage.csv?period=custom&first={first}&last={last}&group=key")
    shown = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert sum(int(row["prompt_tokens"]) + int(row["completion_tokens"]) for row in shown) == expected.tokens
    assert sum(Decimal(row["cost"] or 0) for row in shown) == expected.cost
    assert audit().agrees


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 7, 1), 24)])
def test_a_day_has_the_hours_that_the_clocks_give_it(red: Team, day: date, hours: int) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone=PARIS)
    red.refresh_from_db()
    period = Period(day, day, ZoneInfo(PARIS))
    each = [ended(red.pk, at_ms=milliseconds(moment) + 60_000) for moment in period.hours]
    ledger.write(each)
    report = report_of(red, period, now=period.end)
    assert [sums.requests for sums in report.buckets] == [1] * hours


@pytest.mark.spec("U3")
def test_an_origin_is_filtered_and_other_teams_are_never_in_it(red: Team, blue: Team) -> None:
    now = datetime.now(UTC)
    at = milliseconds(now) - 1000
    ledger.write([
        ended(red.pk, origin="chat", at_ms=at),
        ended(red.pk, origin="api", at_ms=at),
        ended(blue.pk, at_ms=at),
    ])  # fmt: skip
    period = Period(now.date() - timedelta(days=5), now.date(), ZoneInfo("UTC"))
    assert report_of(red, period, now=now).total.requests == 2
    assert report_of(red, period, now=now, filters=Filters(origins=("chat",))).total.requests == 1
    assert week_of_team(red, now=now).total.requests == 2


def test_a_keys_week_is_its_own(red: Team) -> None:
    key, other = make_key(red).key, make_key(red).key
    now = datetime.now(UTC)
    ledger.write([ended(red.pk, key_id=key.pk), ended(red.pk, key_id=key.pk), ended(red.pk, key_id=other.pk)])
    ledger.write([ended(red.pk, key_id=key.pk, at_ms=milliseconds(now - timedelta(days=8)))])
    week = week_of_key(key, now=now)
    assert (week.total.requests, len(week.days)) == (2, 7)


def test_the_period_before_is_compared_up_to_the_same_hour(red: Team) -> None:
    now = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    yesterday = [now - timedelta(days=1, hours=2), now - timedelta(days=1, hours=-2)]
    ledger.write([ended(red.pk, at_ms=milliseconds(at)) for at in yesterday])
    period = Period(now.date(), now.date(), ZoneInfo("UTC"))
    assert report_of(red, period, now=now).before.requests == 1
    assert report_of(red, period, now=period.end).before.requests == 2


@given(
    st.lists(st.tuples(st.integers(0, 40 * 86_400), st.sampled_from(["ok", "stopped"])), max_size=30),
    st.lists(st.integers(0, 29), max_size=20),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.spec("F39", "R23")
def test_roll_ups_equal_the_log_however_often_records_come(
    red: Team, made: list[tuple[int, str]], again: list[int]
) -> None:
    begin = milliseconds(datetime(2026, 10, 10, tzinfo=UTC))
    batch = [ended(red.pk, at_ms=begin + second * 1000, outcome=outcome) for second, outcome in made]
    assert ledger.write(batch) == len(batch)
    assert ledger.write([batch[place] for place in again if place < len(batch)]) == 0
    assert audit().agrees


@pytest.mark.spec("R23")
def test_the_audit_finds_a_single_changed_number_and_a_rebuild_mends_it(red: Team) -> None:
    ledger.write([ended(red.pk) for _ in range(5)])
    assert audit().agrees
    UsageDay.objects.update(prompt_tokens=1)
    UsageQuarter.objects.all().delete()
    report = audit()
    assert {one.table: one.groups for one in report.differences} == {
        "billing_usageday": 1,
        "billing_usagequarter": 1,
    }
    rebuild()
    assert audit().agrees


def test_prices_are_frozen_on_the_row(red: Team) -> None:
    from billing.models import Price
    from billing.prices.pricing import load_prices

    moment = datetime(2026, 11, 1, tzinfo=UTC)
    Price.objects.create(model="llama", effective_from=moment, input=Decimal("1.9"), output=Decimal(3))
    first = load_prices().at("llama", milliseconds(moment))
    assert load_prices().at("llama", milliseconds(moment) - 1) is None
    assert load_prices().at("unknown", milliseconds(moment)) is None
    assert first is not None
    ledger.write([one := ended(red.pk, price=first)])
    Price.objects.update(input=Decimal("1.8"))
    row = UsageRecord.objects.get(id=one.start.id)
    assert (row.price_input, row.cost) == (Decimal("1.9"), Decimal("0.000034"))


@pytest.mark.spec("S16")
def test_no_text_in_an_export_is_read_as_a_formula(red: Team) -> None:
    names = ["=1+1", "+1", "-1", "@a", "\tx", "plain"]
    ledger.write([ended(red.pk, key_name=name, model="=cmd|' /C calc'!A0") for name in names])
    today = datetime.now(UTC).date()
    rows = export(red, Period(today - timedelta(days=1), today, ZoneInfo("UTC")), "csv")
    assert {str(row["key"]) for row in rows} == {"'=1+1", "'+1", "'-1", "'@a", "'\tx", "plain"}
    assert {str(row["model"])[:2] for row in rows} == {"'="}


@pytest.mark.spec("U1")
def test_the_export_has_the_fields_in_their_forms(red: Team) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone=KATHMANDU)
    at = datetime(2026, 11, 9, 20, 15, 0, 123_000, tzinfo=UTC)
    one = ended(red.pk, at_ms=milliseconds(at), key_id=1, key_name="ci", member_id=2, member_name="Bob", stream=False)
    ledger.write([one])
    red.refresh_from_db()
    period = Period(date(2026, 11, 10), date(2026, 11, 10), ZoneInfo(KATHMANDU))
    assert export(red, period, "json") == [
        {
            "request_id": str(one.start.id),
            "at": "2026-11-10T02:00:00.123+05:45",
            "key": "ci",
            "member": "Bob",
            "model": "llama",
            "engine": "engine",
            "origin": "api",
            "stream": False,
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "reasoning_tokens": None,
            "cached_tokens": None,
            "prompt_source": "upstream",
            "completion_source": "upstream",
            "outcome": "ok",
            "status": 200,
            "ttft_ms": 12,
            "duration_ms": 340,
            "cost": None,
            "estimated": False,
            "booked_at": "2026-11-10T02:00:00.123+05:45",
            "corrects": None,
            "reason": "",
            "adjusted_by": "",
        }
    ]
    assert export(red, Period(date(2026, 11, 9), date(2026, 11, 9), ZoneInfo(KATHMANDU)), "json") == []


@pytest.mark.spec("F37")
def test_reports_add_up_after_a_key_is_revoked_and_a_person_is_gone(red: Team, blue: Team) -> None:
    now = datetime.now(UTC)
    ledger.write([ended(red.pk, key_id=10**6, member_id=10**6), ended(red.pk)])
    period = Period(now.date() - timedelta(days=6), now.date(), ZoneInfo("UTC"))
    labels = {one.label: one.total.requests for one in report_of(red, period, group=Group.KEY, now=now).series}
    assert labels == {"key 1000000": 1, "Chat, without a key": 1}
    assert report_of(red, period, group=Group.MEMBER, now=now).total.requests == 2


def test_a_team_without_a_request_has_an_empty_report(charlie: User) -> None:
    team = make_team("Empty", owner=charlie)
    now = datetime.now(UTC)
    report = report_of(team, Period(now.date(), now.date(), ZoneInfo("UTC")), now=now)
    assert (report.series, report.total) == ((), Sums())
