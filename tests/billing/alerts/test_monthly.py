"""The report of a month: made out once, in time, with the figures of the usage page."""

import csv
import io
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import Role, Team, User
from billing.alerts.month_figures import month_figures
from billing.alerts.monthly import due_month, make_out, make_out_due
from billing.alerts.outbox import deliver
from billing.alerts.report_mail import csv_of, month_message
from billing.alerts.wishes import choose, decline, watch
from billing.budgets.monthly import set_budget
from billing.ledger import log as ledger
from billing.ledger.refusals import write as write_refusals
from billing.models import Budget, BudgetAccount, Delivery, MonthReported, Unit
from tests.billing.alerts.conftest import words
from tests.billing.traffic import PRICE, a_refusal, counts, ended, milliseconds, random_traffic
from tests.factories import join, make_key, make_person, make_team

pytestmark = pytest.mark.django_db

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
SOON = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def founded_long_ago(red: Team) -> None:
    Team.objects.update(created_at=datetime(2026, 1, 1, tzinfo=UTC))
    red.refresh_from_db()


def used(team: Team, at: datetime, number: int = 1000, **changed: object) -> None:
    ledger.write([ended(team.pk, counts(number, 0), at_ms=milliseconds(at), **changed)])


IN_OCTOBER = datetime(2026, 10, 15, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "now", "month"),
    [
        ("UTC", datetime(2026, 11, 1, 5, 59, tzinfo=UTC), None),
        ("UTC", datetime(2026, 11, 1, 6, 0, tzinfo=UTC), OCTOBER),
        ("UTC", datetime(2026, 11, 11, 0, 0, tzinfo=UTC), OCTOBER),
        ("UTC", datetime(2026, 11, 11, 0, 1, tzinfo=UTC), None),
        ("Asia/Kathmandu", datetime(2026, 11, 1, 0, 14, tzinfo=UTC), None),
        ("Asia/Kathmandu", datetime(2026, 11, 1, 0, 15, tzinfo=UTC), OCTOBER),
        ("America/Mexico_City", datetime(2026, 11, 1, 11, 59, tzinfo=UTC), None),
        ("America/Mexico_City", datetime(2026, 11, 1, 12, 0, tzinfo=UTC), OCTOBER),
        ("Europe/Paris", datetime(2026, 11, 1, 5, 0, tzinfo=UTC), OCTOBER),
    ],
)
def test_a_month_is_due_from_six_hours_after_its_end_in_the_teams_zone(
    red: Team, zone: str, now: datetime, month: date | None
) -> None:
    red.time_zone = zone
    assert due_month(red, now) == month


def test_a_team_that_was_founded_after_the_month_has_none_of_it(red: Team) -> None:
    red.created_at = datetime(2026, 11, 1, 0, 0, tzinfo=UTC)
    assert due_month(red, SOON) is None


def test_it_is_made_out_once_and_sent_to_who_is_told(red: Team, alice: User, bob: User) -> None:
    used(red, IN_OCTOBER)
    choose(team=red, alerts=set(), reports={alice.pk, bob.pk}, by=alice)
    for hour in range(3):
        make_out_due(now=SOON + timedelta(hours=hour))
    assert MonthReported.objects.get().month == OCTOBER
    assert set(Delivery.objects.values_list("user", "kind")) == {(alice.pk, "report"), (bob.pk, "report")}
    Delivery.objects.update(due_at=timezone.now())
    deliver()
    assert sorted(message.to[0] for message in mail.outbox) == ["alice@example.org", "bob@example.org"]


@pytest.mark.django_db(transaction=True)
def test_two_leaders_make_it_out_once(red: Team) -> None:
    used(red, IN_OCTOBER)
    together = threading.Barrier(2)

    def lead() -> None:
        together.wait()
        try:
            make_out_due(now=SOON)
        finally:
            connection.close()

    leaders = [threading.Thread(target=lead) for _ in range(2)]
    for leader in leaders:
        leader.start()
    for leader in leaders:
        leader.join()
    assert (MonthReported.objects.count(), Delivery.objects.count()) == (1, 1)


@pytest.mark.parametrize("teams", [1, 3])
def test_looking_whose_month_is_due_asks_no_more_for_many_teams(
    red: Team, alice: User, teams: int, django_assert_num_queries: Any
) -> None:
    for number in range(teams - 1):
        make_team(f"Team {number}", owner=alice)
    Team.objects.update(created_at=datetime(2026, 1, 1, tzinfo=UTC))
    make_out_due(now=SOON)
    assert MonthReported.objects.count() == teams
    with django_assert_num_queries(2):
        make_out_due(now=SOON)


def test_a_month_without_anything_and_a_team_that_wants_none_get_no_mail(red: Team, blue: Team, alice: User) -> None:
    Team.objects.update(created_at=datetime(2026, 1, 1, tzinfo=UTC))
    used(blue, IN_OCTOBER)
    watch(team=blue, by=alice, monthly_report=False)
    make_out_due(now=SOON)
    assert list(MonthReported.objects.values_list("team", flat=True)) == [red.pk]
    assert not Delivery.objects.exists()


def test_who_declines_gets_none_though_the_team_chose_it(red: Team, alice: User) -> None:
    used(red, IN_OCTOBER)
    decline(team=red, user=alice, reports=True, by=alice)
    make_out_due(now=SOON)
    assert not Delivery.objects.exists()


def test_only_the_teams_own_month_is_in_it(alice: User) -> None:
    """Kathmandu is 5:45 ahead: its October ends at 18:15 UTC of the 31st."""
    team = make_team("Kathmandu", owner=alice, time_zone="Asia/Kathmandu")
    used(team, datetime(2026, 9, 30, 18, 14, tzinfo=UTC), 1)
    used(team, datetime(2026, 9, 30, 18, 15, tzinfo=UTC), 10)
    used(team, datetime(2026, 10, 31, 18, 14, tzinfo=UTC), 100)
    used(team, datetime(2026, 10, 31, 18, 15, tzinfo=UTC), 1000)
    for minute, count in ((14, 3), (15, 5)):
        at = datetime(2026, 9, 30, 18, minute, tzinfo=UTC)
        write_refusals([a_refusal(team.pk, at_ms=milliseconds(at)) for _ in range(count)])
    found = month_figures(team, OCTOBER)
    assert found.refused.count == 5
    assert (found.total.tokens, found.before.tokens) == (110, 1)
    assert [day for day, _model, _sums in found.days] == [date(2026, 10, 1), date(2026, 10, 31)]


SUMMED = ("requests", "errors", "prompt_tokens", "completion_tokens", "estimated_tokens")


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "Europe/Paris", "America/Mexico_City"])
def test_the_csv_adds_up_to_the_usage_pages_own(client: Client, alice: User, zone: str) -> None:
    team = make_team("There", owner=alice, time_zone=zone)
    keys = [make_key(team).key.pk for _ in range(2)]
    begin, end = datetime(2026, 9, 29, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)
    ledger.write(random_traffic(team.pk, 400, begin=begin, end=end, chance=Random(7), keys=keys))
    ours = list(csv.DictReader(io.StringIO(csv_of(month_figures(team, OCTOBER)))))
    client.force_login(alice)
    question = {"period": "custom", "first": "2026-10-01", "last": "2026-10-31", "group": "model"}
    page = client.get(f"/t/{team.slug}/usage.csv", question).content.decode()
    theirs = list(csv.DictReader(io.StringIO(page)))

    def total(rows: list[dict[str, str]], name: str) -> Decimal:
        return sum((Decimal(row[name] or 0) for row in rows), Decimal(0))

    for name in (*SUMMED, "reasoning_tokens", "cached_tokens", "cost"):
        assert total(ours, name) == total(theirs, name), name
    assert total(ours, "requests") > 100
    found = month_figures(team, OCTOBER)
    assert sum(part.sums.tokens for part in found.models) == found.total.tokens
    assert sum(part.sums.tokens for part in found.keys) == found.total.tokens
    assert sum(part.sums.tokens for part in found.people) == found.total.tokens


def test_what_no_engine_reported_and_no_price_was_for_is_empty_and_not_0(red: Team) -> None:
    used(red, IN_OCTOBER)
    (row,) = csv.DictReader(io.StringIO(csv_of(month_figures(red, OCTOBER))))
    assert (row["cached_tokens"], row["reasoning_tokens"], row["cost"], row["prompt_tokens"]) == ("", "", "", "1000")


def test_a_name_that_a_spreadsheet_would_reckon_is_a_text(red: Team) -> None:
    used(red, IN_OCTOBER, model="=cmd|' /C calc'!A0")
    (row,) = csv.DictReader(io.StringIO(csv_of(month_figures(red, OCTOBER))))
    assert row["model"] == "'=cmd|' /C calc'!A0"


def said(team: Team, user: User) -> tuple[str, str, str]:
    """The subject, the text and the HTML of October's, as one reads them."""
    message = month_message(month_figures(team, OCTOBER), user)
    return message.subject, str(message.body), words(str(message.alternatives[0].content))


def test_the_mail_tells_figures_change_parts_budget_refusals_and_what_was_estimated(red: Team, alice: User) -> None:
    key = make_key(red, name="nightly").key
    used(red, datetime(2026, 8, 15, tzinfo=UTC), 1)
    used(red, datetime(2026, 9, 15, tzinfo=UTC), 2_000_000)
    used(red, IN_OCTOBER, 2_000_000, key_id=key.pk, price=PRICE)
    used(red, IN_OCTOBER, 500_000, model="qwen", member_id=alice.pk, outcome="upstream_error")
    ledger.write([ended(red.pk, counts(500_000, 0, "estimated"), at_ms=milliseconds(IN_OCTOBER), model="phi")])
    write_refusals([a_refusal(red.pk, at_ms=milliseconds(IN_OCTOBER))])
    budget = set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(4_000_000), hard=True, by=None)
    Budget.objects.update(counts_from=datetime(2026, 10, 1, tzinfo=UTC))
    BudgetAccount.objects.update_or_create(
        budget=budget, month=OCTOBER, defaults={"ceiling": 4_000_000, "spent": 3_000_000}
    )
    subject, text, html = said(red, alice)
    assert subject == "Red, October 2026: 3M tokens"
    told = (
        "50% more tokens than in September 2026.",
        "nightly",
        "Alice",
        "67%",
        "€1.80",
        "The whole team",
        "3,000,000 of 4,000,000, 75%",
        "most often: the key's limit of requests a minute",
        "17% of these tokens were counted or estimated here",
        "1 of 3",
    )
    assert [expected for expected in told if expected not in text or expected not in html] == []


def test_a_month_is_not_compared_with_one_that_usage_began_in_the_middle_of(red: Team, alice: User) -> None:
    used(red, datetime(2026, 9, 15, tzinfo=UTC), 2000)
    used(red, IN_OCTOBER, 2_000_000)
    _subject, text, html = said(red, alice)
    assert "The first usage was on Sept. 15, 2026, so that there is no whole month to compare with." in text
    assert "99,900%" not in text + html
    assert "↑" not in text + html


def test_the_mail_carries_the_csv_and_a_link_to_the_month(red: Team, alice: User) -> None:
    used(red, IN_OCTOBER)
    message = month_message(month_figures(red, OCTOBER), alice)
    ((name, content, kind),) = message.attachments
    assert (name, kind) == ("red-2026-10.csv", "text/csv")
    assert str(content).startswith("day,model,requests,")
    assert "/t/red/usage/?period=custom&first=2026-10-01&last=2026-10-31" in str(message.body)


def test_deleted_keys_and_people_keep_their_tokens(red: Team, alice: User) -> None:
    used(red, IN_OCTOBER, 10, key_id=987_654)
    used(red, IN_OCTOBER, 20, member_id=876_543)
    found = month_figures(red, OCTOBER)
    assert [(part.label, part.sums.tokens) for part in found.keys] == [
        ("Chat, without a key", 20), ("key 987654", 10),
    ]  # fmt: skip
    assert [(part.label, part.sums.tokens) for part in found.people] == [
        ("person 876543", 20), ("Service keys", 10),
    ]  # fmt: skip


def test_many_models_are_five_and_the_others(red: Team, alice: User) -> None:
    for number in range(8):
        used(red, IN_OCTOBER, 100 + number, model=f"model-{number}")
    found = month_figures(red, OCTOBER)
    assert [part.label for part in found.models] == [*(f"model-{number}" for number in (7, 6, 5, 4, 3)), ""]
    assert found.models[-1].sums.tokens == 100 + 101 + 102
    assert "others" in said(red, alice)[1]


def test_three_languages(red: Team, alice: User) -> None:
    used(red, IN_OCTOBER, 1_500_000)
    make_out(team=red, month=OCTOBER, now=SOON)
    for name, language in (("Sofía", "es"), ("Renée", "fr")):
        person = make_person(name, email=f"{language}@example.org")
        person.language = language
        person.save(update_fields=["language"])
        join(red, person, Role.ADMIN)
        Delivery.objects.create(
            kind="report", team=red, report=MonthReported.objects.get(), user=person, to=person.email,
            created_at=SOON, due_at=SOON,
        )  # fmt: skip
    Delivery.objects.update(due_at=timezone.now())
    deliver()
    subjects = {message.to[0]: message.subject.replace("\xa0", " ") for message in mail.outbox}
    assert subjects["alice@example.org"] == "Red, October 2026: 1.5M tokens"
    assert subjects["es@example.org"].startswith("Red, octubre de 2026: 1,5 M")
    assert subjects["fr@example.org"].startswith("Red, octobre 2026 : 1,5 M")


# The command


def test_the_command_sends_it_once_to_all_and_to_one_as_often_as_asked(red: Team, alice: User, bob: User) -> None:
    used(red, IN_OCTOBER)
    out = io.StringIO()
    call_command("send_report", "--team", "red", "--month", "2026-10", stdout=out)
    assert out.getvalue() == "1\n"
    with pytest.raises(CommandError, match="made out before"):
        call_command("send_report", "--team", "red", "--month", "2026-10")
    for _ in range(2):
        call_command("send_report", "--team", "red", "--month", "2026-10", "--to", "Bob@example.org", stdout=out)
    assert [message.to for message in mail.outbox] == [["bob@example.org"]] * 2


def test_the_command_prints_the_rows_of_a_month_that_runs_and_sends_nothing(red: Team) -> None:
    used(red, timezone.now())
    out = io.StringIO()
    month = f"{timezone.now():%Y-%m}"
    call_command("send_report", "--team", "red", "--month", month, "--csv", stdout=out)
    assert len(out.getvalue().splitlines()) == 2
    assert (mail.outbox, MonthReported.objects.count()) == ([], 0)


@pytest.mark.parametrize(
    ("words_given", "problem"),
    [
        (["--team", "green", "--month", "2026-10"], "There is no team"),
        (["--team", "red", "--month", "October"], "--month must be a month"),
        (["--team", "red", "--month", "2999-01"], "is not over"),
        (["--team", "red", "--month", "2026-10", "--to", "charlie@example.org"], "is no member"),
    ],
)
def test_the_command_says_what_is_wrong(red: Team, charlie: User, words_given: list[str], problem: str) -> None:
    with pytest.raises(CommandError, match=problem):
        call_command("send_report", *words_given)


def test_a_large_month_is_asked_for_in_few_questions(red: Team, django_assert_max_num_queries: Any) -> None:
    for number in range(6):
        used(red, IN_OCTOBER + timedelta(days=number), model=f"model-{number}", key_id=number + 1)
    with django_assert_max_num_queries(11):
        month_figures(red, OCTOBER)
