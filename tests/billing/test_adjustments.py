"""Corrections are rows: the log keeps what was, sums and exports say what it comes to."""

import csv
import io
import json
import random
import re
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEntry, Team, User
from billing.budgets.monthly import set_budget
from billing.errors import AdjustmentMistake
from billing.ids import _at
from billing.ledger import log as ledger
from billing.ledger.adjustments import Totals, adjust, find_request
from billing.ledger.auditing import audit, rebuild
from billing.ledger.histograms import size
from billing.ledger.partitions import months
from billing.models import BudgetAccount, PlatformDay, Unit, UsageDay, UsageQuarter, UsageRecord
from billing.records import Counts, Ended
from billing.usage.periods import Period
from billing.usage.questions import Scope
from tests.billing.asking import report_of
from tests.billing.traffic import PRICE, a_final, a_start, counts, milliseconds

DAY = timedelta(days=1)


def call(team: Team, used: Counts | None = None, *, at: datetime | None = None, **changed: object) -> Ended:
    """A request whose id and moment agree, as they always do outside of tests."""
    at_ms = milliseconds(at or timezone.now())
    start = a_start(team.pk, id=_at(at_ms).id, at_ms=at_ms, **changed)
    return Ended(start, a_final(start.id, used))


def logged(team: Team, used: Counts | None = None, **changed: Any) -> UUID:
    ledger.write([made := call(team, used, **changed)])
    return made.start.id


def of_team(team: Team, *, days: int = 60) -> tuple[int, int, int, Decimal, int]:
    """Requests, tokens in, tokens out, cost and estimated tokens on the page."""
    now = timezone.now()
    period = Period((now - days * DAY).date(), now.date(), ZoneInfo("UTC"))
    total = report_of(team, period, now=now).total
    return total.requests, total.prompt_tokens, total.completion_tokens, total.cost, total.estimated_tokens


def export(team: Team, form: str = "json") -> list[dict[str, Any]]:
    out, today = io.StringIO(), timezone.now().date()
    days = {"first": str(today - 60 * DAY), "last": str(today)}
    call_command("usage_export", team=team.slug, format=form, stdout=out, **days)
    return list(json.loads(out.getvalue()) if form == "json" else csv.DictReader(io.StringIO(out.getvalue())))


@pytest.mark.spec("U1", "U2", "R23")
def test_a_correction_is_a_row_with_the_difference_and_the_request_stays(red: Team, alice: User) -> None:
    request = logged(red, counts(1000, 200, "estimated"), price=PRICE, key_id=5, key_name="ci")
    before = UsageRecord.objects.get(id=request)
    made = adjust(request_id=request, prompt_tokens=900, completion_tokens=250, reason="the vendor's bill", by=alice)

    assert UsageRecord.objects.filter(id=request).values().get() == {
        field.attname: getattr(before, field.attname) for field in before._meta.concrete_fields
    }
    assert (made.corrects, made.prompt_tokens, made.completion_tokens) == (request, -100, 50)
    assert made.cost == Decimal("0.00011")  # -100 at 0.9, 50 at 4, for a million
    assert (made.reason, made.adjusted_by) == ("the vendor's bill", str(alice))
    assert (made.booked_at, made.key_name, made.price_output) == (before.booked_at, "ci", Decimal(4))
    assert made.at > before.at
    assert of_team(red) == (1, 900, 250, Decimal("0.00181"), 1150)
    assert audit().agrees


@pytest.mark.spec("R23", "U7")
def test_a_correction_moves_budgets_and_says_nothing_of_speed(red: Team) -> None:
    budget = set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(5000), hard=True, by=None)
    request = logged(red, counts(1000, 200))
    spoken = UsageQuarter.objects.get().duration
    adjust(request_id=request, prompt_tokens=900, completion_tokens=250, reason="the vendor's bill", by=None)
    assert BudgetAccount.objects.get(budget=budget).spent == 1150
    assert [size(int(row.duration)) for row in UsageQuarter.objects.all()] == [size(int(spoken))] == [1]
    assert audit().agrees


def test_it_is_written_down_who_changed_what(red: Team, alice: User) -> None:
    request = logged(red, counts(10, 5), price=PRICE)
    adjust(request_id=request, completion_tokens=6, reason="miscounted", by=alice)
    entry = AuditEntry.objects.get(action="usage.adjusted")
    assert (entry.actor, entry.team, entry.detail) == (
        alice,
        red,
        {
            "request": str(request),
            "before": "10+5 tokens, cost 0.000029",
            "after": "10+6 tokens, cost 0.000033",
            "reason": "miscounted",
        },
    )


def test_a_second_correction_starts_from_the_first(red: Team) -> None:
    request = logged(red, Counts(100, 50, "upstream", "upstream", 20, None), price=PRICE)
    adjust(request_id=request, prompt_tokens=80, reason="one", by=None)
    adjust(request_id=request, prompt_tokens=90, cached_tokens=30, reasoning_tokens=10, reason="two", by=None)
    found = find_request(request)
    assert found is not None
    # 60 at 0.9, 30 at 0.45, 40 at 4 and 10 at 5, for a million
    assert found.totals == Totals(90, 50, 30, 10, Decimal("0.0002775"))
    assert [one.prompt_tokens for one in found.adjustments] == [-20, 10]
    assert audit().agrees


def test_a_cost_may_be_given_and_brought_back(red: Team) -> None:
    request = logged(red, counts(1000, 0), price=PRICE)
    made = adjust(request_id=request, money=Decimal(0), reason="a gift", by=None)
    assert (made.prompt_tokens, made.cost, of_team(red)[3]) == (0, Decimal("-0.0009"), 0)
    adjust(request_id=request, money=Decimal("0.0009"), reason="no gift", by=None)
    assert of_team(red)[:4] == (1, 1000, 0, Decimal("0.0009"))
    assert audit().agrees


@pytest.mark.spec("R23")
def test_it_is_booked_in_the_month_of_the_request(red: Team) -> None:
    last_month = (timezone.now().replace(day=1) - DAY).replace(hour=12)
    request = logged(red, counts(1000, 0), at=last_month, price=PRICE)
    adjust(request_id=request, prompt_tokens=400, reason="too many", by=None)
    zone = ZoneInfo("UTC")
    of_month = report_of(red, Period(last_month.date(), last_month.date(), zone), now=timezone.now()).total
    today = timezone.now().date()
    assert (of_month.prompt_tokens, of_month.requests) == (400, 1)
    assert report_of(red, Period(today, today, zone), now=timezone.now()).total.tokens == 0
    assert audit().agrees


@pytest.mark.spec("R23", "F39")
def test_page_exports_and_log_agree_after_many_corrections_and_a_rebuild(
    client: Client, alice: User, red: Team, blue: Team
) -> None:
    chance, now = random.Random(7), timezone.now()
    calls = [
        call(
            chance.choice([red, blue]),
            Counts(chance.randrange(2000), chance.randrange(500), *[chance.choice(["upstream", "estimated"])] * 2),
            at=now - timedelta(hours=chance.randrange(40 * 24)),
            model=chance.choice(["llama", "qwen"]),
            price=chance.choice([None, PRICE]),
        )
        for _ in range(60)
    ]
    ledger.write(calls)
    for one in chance.choices(calls, k=40):
        adjust(
            request_id=one.start.id,
            prompt_tokens=chance.randrange(3000),
            completion_tokens=chance.randrange(600),
            reason="by chance",
            by=None,
        )
    assert audit().agrees
    rows = list(UsageRecord.objects.filter(team=red))
    expected = (
        sum(row.corrects is None for row in rows),
        sum(row.prompt_tokens for row in rows),
        sum(row.completion_tokens for row in rows),
        sum((row.cost for row in rows if row.cost is not None), Decimal(0)),
    )
    assert of_team(red)[:4] == expected
    for form in ("json", "csv"):
        told = export(red, form)
        assert len(told) == len(rows)
        assert sum(int(row["prompt_tokens"]) for row in told) == expected[1]
        assert sum(Decimal(row["cost"] or 0) for row in told) == expected[3]
    client.force_login(alice)
    first, last = (now - 60 * DAY).date(), now.date()
    for group in Scope(red).groups:
        query = f"?period=custom&first={first}&last={last}&group={group}"
        answer = client.get(reverse("billing:usage-csv", args=[red.slug]) + query).content.decode()
        lines = list(csv.DictReader(io.StringIO(answer)))
        assert sum(int(row["completion_tokens"] or 0) for row in lines) == expected[2]
    sums = [list(table.objects.order_by("pk").values()) for table in (UsageQuarter, UsageDay, PlatformDay)]
    rebuild()
    assert [list(table.objects.order_by("pk").values()) for table in (UsageQuarter, UsageDay, PlatformDay)] == sums


def test_the_export_marks_adjustments_and_estimates(red: Team, alice: User) -> None:
    request = logged(red, counts(10, 5, "counted"))
    exact = logged(red, counts(10, 5))
    made = adjust(request_id=request, completion_tokens=7, reason="=checked", by=alice)
    found = {row["request_id"]: row for row in export(red)}
    marks = ("estimated", "corrects", "reason", "adjusted_by", "completion_tokens")
    assert {key: tuple(row[mark] for mark in marks) for key, row in found.items()} == {
        str(request): (True, None, "", "", 5),
        str(exact): (False, None, "", "", 5),
        str(made.id): (True, str(request), "=checked", str(alice), 2),
    }
    assert {row["reason"] for row in export(red, "csv")} == {"", "'=checked"}


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"prompt_tokens": -1}, "prompt_tokens"),
        ({"completion_tokens": 10_000_001}, "completion_tokens"),
        ({"cached_tokens": 11}, "cached_tokens"),
        ({"reasoning_tokens": 6}, "reasoning_tokens"),
        ({"money": Decimal(-1)}, "money"),
        ({"money": Decimal("NaN")}, "money"),
        ({"money": Decimal("0.0000000000001")}, "money"),
        ({"prompt_tokens": 9, "reason": " "}, "reason"),
        ({"prompt_tokens": 9, "reason": "a\0"}, "reason"),
        ({}, ""),
        ({"prompt_tokens": 10}, ""),
    ],
)
def test_a_correction_that_cannot_be_is_refused_and_nothing_is_written(
    red: Team, changed: dict[str, Any], param: str
) -> None:
    request = logged(red, counts(10, 5), price=PRICE)
    with pytest.raises(AdjustmentMistake) as refused:
        adjust(**{"request_id": request, "reason": "because", "by": None, **changed})
    assert refused.value.param == param
    assert (UsageRecord.objects.count(), AuditEntry.objects.filter(action="usage.adjusted").count()) == (1, 0)


def test_a_request_without_a_price_has_no_cost_to_correct(red: Team) -> None:
    request = logged(red, counts(10, 5))
    with pytest.raises(AdjustmentMistake):
        adjust(request_id=request, money=Decimal(1), reason="late", by=None)
    made = adjust(request_id=request, prompt_tokens=9, reason="fewer", by=None)
    assert made.cost is None


def test_an_id_that_no_request_has_is_refused(red: Team) -> None:
    request = logged(red, counts(10, 5))
    made = adjust(request_id=request, prompt_tokens=9, reason="fewer", by=None)
    for absent in (uuid4(), UUID(int=0), UUID(int=2**128 - 1), made.id):
        assert find_request(absent) is None
        with pytest.raises(AdjustmentMistake):
            adjust(request_id=absent, prompt_tokens=1, reason="because", by=None)


def test_only_adjustments_may_be_negative(red: Team) -> None:
    request = logged(red, counts(10, 5))
    for table in ("billing_usage", f"billing_usage_{timezone.now():%Y_%m}"):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET prompt_tokens = -1 WHERE id = %s", [request])  # noqa: S608
    far = datetime(2031, 5, 5, tzinfo=UTC)
    adjust(request_id=logged(red, counts(10, 5), at=far), prompt_tokens=0, reason="a new month too", by=None)
    assert far.date().replace(day=1) in months()
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE billing_usage_2031_05 SET completion_tokens = -1")


def test_the_command_gives_totals_and_prints_them(red: Team) -> None:
    request, out = logged(red, counts(1000, 200), price=PRICE), io.StringIO()
    call_command("usage_adjust", str(request), "--prompt-tokens", "500", "--reason", "half", stdout=out)
    assert out.getvalue() == "500 in, 200 out, cost 0.00125\n"
    call_command("usage_adjust", str(request), "--cost", "0.5", "--reason", "agreed", stdout=io.StringIO())
    assert of_team(red)[:4] == (1, 500, 200, Decimal("0.5"))
    for wrong in (["nonsense"], [str(uuid4())], [str(request), "--prompt-tokens", "-5"]):
        with pytest.raises(CommandError):
            call_command("usage_adjust", *wrong, "--reason", "because")


def test_the_page_of_a_request_shows_how_it_was_counted(client: Client, alice: User, red: Team) -> None:
    used = Counts(1234, 56, "upstream", "counted", 7, None, "usage_negative")
    request = logged(red, used, price=PRICE, key_name="ci <b>", client_request_id="their-1")
    client.force_login(alice)
    assert client.get(reverse("billing:find-request"), {"request_id": f" {request} "}).status_code == 302
    html = client.get(reverse("billing:request", args=[request])).content.decode()
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    for part in (
        "answered 200",
        "340 ms first token after 12 ms",
        "engine vllm, gpu-1",
        "API chat.completions, as a stream",
        "ci &lt;b&gt;",
        "their-1",
        "Input engine&#x27;s count 1,234 0.90",
        "Output counted here 56 4.00",
        "of it reasoning 7 5.00",
        "usage_negative",
        "€0.0013416",
    ):
        assert part in shown, part


def test_a_correction_on_the_page(client: Client, alice: User, red: Team) -> None:
    request = logged(red, counts(1000, 200), price=PRICE)
    client.force_login(alice)
    place = reverse("billing:request", args=[request])
    given = {"prompt_tokens": "900", "completion_tokens": "200", "money": "", "reason": "the bill"}
    assert client.post(place, given | {"reason": ""}).status_code == 422
    assert client.post(place, given | {"cached_tokens": "901"}).status_code == 422
    assert client.post(place, given | {"money": "-1"}).status_code == 422
    assert client.post(place, given).status_code == 302
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", client.get(place).content.decode()))
    assert "Input engine&#x27;s count 1,000 900 0.90" in shown
    assert "the bill -100 0 -€0.00009" in shown
    assert "€0.00161 €0.0017 as logged" in shown
    assert client.post(place, given).status_code == 422


def test_requests_that_are_not_there_are_not_found(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    assert client.get(reverse("billing:request", args=[uuid4()])).status_code == 404
    for wrong in (str(uuid4()), "nonsense", "\0"):
        assert client.get(reverse("billing:find-request"), {"request_id": wrong}).status_code == 422


@pytest.mark.django_db(transaction=True)
def test_of_several_corrections_at_once_each_starts_from_the_one_before(red: Team) -> None:
    request, barrier = logged(red, counts(1000, 0), price=PRICE), threading.Barrier(4)

    def correct(total: int) -> None:
        barrier.wait()
        try:
            adjust(request_id=request, prompt_tokens=total, reason="at once", by=None)
        finally:
            connection.close()

    threads = [threading.Thread(target=correct, args=(total,)) for total in (100, 200, 300, 400)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = find_request(request)
    assert found is not None
    assert len(found.adjustments) == 4
    assert found.totals.prompt_tokens in {100, 200, 300, 400}
    assert found.totals.cost == found.totals.prompt_tokens * Decimal("0.0000009")
    assert audit().agrees
