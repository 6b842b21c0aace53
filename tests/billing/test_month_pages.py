"""The pages of a team's months: what each came to, closed by its admins, opened again by its owners with a reason."""

import csv
import io
import random
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import ApiKey, AuditEntry, Role, Team, User
from billing.ledger import log as ledger
from billing.ledger.adjustments import adjust
from billing.ledger.months import changes, close_month, closed_until, closing_of, reopen_month
from billing.log.files import records
from billing.models import UsageRecord
from billing.months.books import Late, month_of, months_of, years
from billing.usage.periods import Period, whole_month
from billing.usage.questions import Question, Scope
from billing.usage.reports import usage
from tests.billing.traffic import PRICE, counts, ended, milliseconds, random_traffic
from tests.factories import join, make_key, make_person

SEPTEMBER, OCTOBER, NOVEMBER = date(2026, 9, 1), date(2026, 10, 1), date(2026, 11, 1)
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture(params=["UTC", "Asia/Kolkata", "Asia/Kathmandu", "Europe/Paris", "America/Mexico_City"])
def team(request: pytest.FixtureRequest, red: Team) -> Team:
    Team.objects.filter(pk=red.pk).update(time_zone=request.param)
    red.refresh_from_db()
    return red


def busy_autumn(team: Team, by: User) -> None:
    """Two months and a half, the first of them closed before some of it came, and a correction."""
    zone, chance = ZoneInfo(team.time_zone), random.Random(team.time_zone)
    keys = [make_key(team).key.pk for _ in range(2)]

    def traffic(number: int, first: date, last: date) -> None:
        period = Period(first, last, zone)
        made = random_traffic(team.pk, number, begin=period.begin, end=period.end, chance=chance, keys=keys)
        ledger.write(made)

    traffic(90, SEPTEMBER, date(2026, 11, 20))
    close_month(team=team, month=SEPTEMBER, by=by)
    traffic(30, SEPTEMBER, date(2026, 10, 31))
    ledger.write([one := ended(team.pk, counts(1000, 200), price=PRICE)])
    adjust(request_id=one.start.id, prompt_tokens=10, reason="half", by=by)
    ApiKey.objects.filter(pk=keys[0]).delete()


@pytest.mark.spec("U3", "R23")
def test_a_months_sums_are_those_of_its_page_its_log_and_its_statement(client: Client, team: Team, alice: User) -> None:
    busy_autumn(team, alice)
    client.force_login(alice)
    zone = ZoneInfo(team.time_zone)
    for month in months_of(team, 2026, now=NOW):
        sums, period = month.sums, whole_month(month.first, zone)
        page = usage(Question(Scope(team), period), now=timezone.now()).total
        lines = list(records(Question(Scope(team), period)))
        place = reverse("billing:month-csv", args=[team.slug, month.first.year, month.first.month])
        statement = list(csv.DictReader(io.StringIO(client.get(place).content.decode())))
        assert sums == page
        assert sums.requests == sum(line["corrects"] is None for line in lines)
        assert sums.requests == sum(int(line["requests"]) for line in statement)
        for name in ("prompt_tokens", "completion_tokens"):
            assert getattr(sums, name) == sum(line[name] for line in lines) == sum(int(row[name]) for row in statement)
        assert sums.cost == sum(Decimal(line["cost"] or 0) for line in lines)
        assert sums.cost == sum(Decimal(line["cost"] or 0) for line in statement)
        assert {row["state"] for row in statement} <= {"closed" if month.is_closed else "open"}
        late = UsageRecord.objects.filter(team=team, booked_at=period.begin, at__lt=period.begin).count()
        assert month.late == Late(late, sum(line["corrects"] is not None for line in lines))


def test_a_year_has_its_first_and_its_last_instant_and_no_other(team: Team) -> None:
    zone = ZoneInfo(team.time_zone)
    begin, end = (datetime(year, 1, 1, tzinfo=zone) for year in (2025, 2026))
    instant = timedelta(milliseconds=1)
    at = [begin - instant, begin, datetime(2025, 10, 31, 23, 59, 59, tzinfo=zone), end - instant, end]
    ledger.write([ended(team.pk, at_ms=milliseconds(moment)) for moment in at])
    found = {month.first: month.sums.requests for month in months_of(team, 2025, now=NOW)}
    assert {first: count for first, count in found.items() if count} == {
        date(2025, 1, 1): 1, date(2025, 10, 1): 1, date(2025, 12, 1): 1,
    }  # fmt: skip
    assert len(found) == 12


def test_months_begin_with_the_first_use_and_end_with_now(red: Team) -> None:
    assert [month.first for month in months_of(red, 2026, now=NOW)] == [NOVEMBER]
    ledger.write([ended(red.pk, at_ms=milliseconds(datetime(2026, 9, 30, tzinfo=UTC)))])
    found = months_of(red, 2026, now=NOW)
    assert [(month.first, month.sums.requests, month.is_over) for month in found] == [
        (NOVEMBER, 0, False), (OCTOBER, 0, True), (SEPTEMBER, 1, True),
    ]  # fmt: skip
    assert years(red) == [2026]
    assert months_of(red, 2027, now=NOW) == months_of(red, 2025, now=NOW) == []
    assert month_of(red, date(2026, 8, 31), now=NOW) is None


def test_who_closed_a_month_is_known_until_it_is_opened(red: Team, alice: User) -> None:
    ledger.write([ended(red.pk, at_ms=milliseconds(datetime(2026, 8, 30, tzinfo=UTC)))])
    close_month(team=red, month=date(2026, 8, 1), by=alice)
    close_month(team=red, month=OCTOBER, by=None)
    reopen_month(team=red, month=OCTOBER, by=alice, reason="a bill came late")
    found = {month.first.month: month for month in months_of(red, 2026, now=NOW)}
    closed = {number: month.closing.by for number, month in found.items() if month.closing}
    assert closed == {8: "Alice", 9: ""}
    assert [month.is_closed for month in found.values()] == [False, False, True, True]
    close_month(team=red, month=OCTOBER, by=alice)
    known = changes(red)
    assert [(change.closed, change.reason) for change in known] == [
        (True, ""), (False, "a bill came late"), (True, ""), (True, ""),
    ]  # fmt: skip
    october = closing_of(datetime(2026, 11, 1, tzinfo=UTC), known)
    assert october is not None
    assert october.by == "Alice"
    AuditEntry.objects.all().delete()
    assert [(one.is_closed, one.closing) for one in months_of(red, 2026, now=NOW)][1:] == [(True, None)] * 3


@pytest.mark.spec("S06")
def test_admins_close_and_owners_open_with_a_reason(client: Client, alice: User, red: Team) -> None:
    ledger.write([ended(red.pk, at_ms=milliseconds(datetime(2026, 9, 30, tzinfo=UTC)))])
    dora = make_person("Dora")
    join(red, dora, Role.ADMIN)
    client.force_login(dora)
    close = reverse("billing:close-month", args=[red.slug, 2026, 10])
    reopen = reverse("billing:reopen-month", args=[red.slug, 2026, 10])
    html = client.post(close, follow=True).content.decode()
    assert closed_until(red) == datetime(2026, 11, 1, tzinfo=UTC)
    assert "by Dora" in html
    assert reopen not in html
    assert client.post(reopen, {"reason": "late"}).status_code == 403
    client.force_login(alice)
    assert client.post(reopen, {"reason": "  "}).status_code == 422
    assert closed_until(red) == datetime(2026, 11, 1, tzinfo=UTC)
    assert reopen in client.get(reverse("billing:months", args=[red.slug]) + "?year=2026").content.decode()
    assert client.post(reopen, {"reason": "a bill came late"}).status_code == 302
    assert closed_until(red) == datetime(2026, 10, 1, tzinfo=UTC)
    assert AuditEntry.objects.latest("pk").detail["reason"] == "a bill came late"


def test_a_month_that_lasts_or_is_closed_is_not_closed(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    now = timezone.now()
    for year, number in ((now.year, now.month), (9998, 12), (2026, 9), (2026, 9)):
        place = reverse("billing:close-month", args=[red.slug, year, number])
        assert client.post(place).status_code == 302
    assert AuditEntry.objects.filter(action="books.closed").count() == 1
    for year, number in ((2026, 13), (2026, 0), (1999, 12), (9999, 12), (99999, 1)):
        assert client.post(reverse("billing:close-month", args=[red.slug, year, number])).status_code == 404
        assert client.get(reverse("billing:month", args=[red.slug, year, number])).status_code == 404
    for wrong in ("nonsense", "99999", "٢٠٢٦", "-5"):
        assert client.get(reverse("billing:months", args=[red.slug]), {"year": wrong}).status_code == 200


def test_the_statement_shows_what_was_used_by_model_and_key(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    key = make_key(red, name="<b>nightly").key
    at = milliseconds(datetime(2026, 10, 5, tzinfo=UTC))
    ledger.write([
        ended(red.pk, counts(1000, 200), at_ms=at, key_id=key.pk, price=PRICE, model="llama"),
        ended(red.pk, counts(10, 2, "estimated"), at_ms=at, origin="chat", model="=qwen"),
    ])  # fmt: skip
    html = client.get(reverse("billing:month", args=[red.slug, 2026, 10])).content.decode()
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    assert (
        "=qwen Chat, without a key chat 1 10 2 12 no price llama &lt;b&gt;nightly API 1 1,000 200 – €0.001700" in shown
    )
    assert "Total 2 1,010 202 12 €0.001700" in shown
    text = client.get(reverse("billing:month-csv", args=[red.slug, 2026, 10])).content.decode()
    assert "2026-10,UTC,open,'=qwen," in text


@pytest.mark.spec("S16")
@pytest.mark.parametrize("year", ["0202699", "02026" + "9" * 5000, "0" * 5000, "-1", "9999", "٢٠٢٦", "%00"])
def test_a_year_that_is_none_is_this_one(client: Client, red: Team, alice: User, year: str) -> None:
    client.force_login(alice)
    ledger.write([ended(red.pk)])
    answer = client.get(f"{reverse('billing:months', args=[red.slug])}?year={year}")
    assert answer.status_code == 200
    assert str(timezone.now().year) in answer.content.decode()


@pytest.mark.parametrize("number", [1, 3])
def test_the_pages_take_as_many_queries_for_one_row_as_for_three(
    client: Client, alice: User, red: Team, number: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(alice)
    at = [milliseconds(datetime(2026, 11 - month, 5, tzinfo=UTC)) for month in range(number)]
    ledger.write([ended(red.pk, at_ms=moment, key_id=make_key(red).key.pk) for moment in at])
    place = reverse("billing:months", args=[red.slug]) + "?year=2026"
    client.get(place)
    with django_assert_num_queries(14):
        html = client.get(place).content.decode()
    assert html.count('<th scope="row">') == number
    with django_assert_num_queries(14):
        client.get(reverse("billing:month", args=[red.slug, 2026, 11]))
