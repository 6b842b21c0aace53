"""How many keys, people, models and teams there were, however the page is grouped."""

import random
from bisect import bisect_right
from collections.abc import Iterable
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest

from accounts.models import Team
from billing.ledger import log as ledger
from billing.models import UsageRecord
from billing.usage.buckets import instant
from billing.usage.periods import Period
from billing.usage.questions import Bucket, Compared, Filters, Group, Question, Scope
from billing.usage.reading import Active
from billing.usage.reports import usage
from tests.billing.traffic import ended, milliseconds

WEEK = Period(date(2026, 7, 8), date(2026, 7, 14), ZoneInfo("UTC"))
KEY, PERSON = 101, 201


@pytest.fixture
def traffic(red: Team, blue: Team) -> None:
    """Of the week and the one before: calls with and without a key or a person, more in the second half."""
    chance = random.Random("traffic")
    begin = WEEK.begin - timedelta(days=7)
    ledger.write([
        ended(
            chance.choice([red.pk, red.pk, blue.pk]),
            at_ms=milliseconds(begin + timedelta(minutes=chance.triangular(0, 14 * 1440, 13 * 1440))),
            model=chance.choice(["llama", "qwen", "phi"]),
            key_id=chance.choice([None, KEY, KEY + 1, KEY + 2]),
            member_id=chance.choice([None, PERSON, PERSON + 1]),
            origin=chance.choice(["api", "chat"]),
            outcome=chance.choice(["ok", "upstream_error"]),
        )
        for _ in range(60)
    ])  # fmt: skip


def counted(group: Group, rows: Iterable[UsageRecord]) -> int:
    column = {Group.KEY: "key_id", Group.MEMBER: "member_id", Group.MODEL: "model", Group.TEAM: "team_id"}[group]
    return len({getattr(row, column) for row in rows} - {None})


def expected(question: Question, moments: tuple[date, ...]) -> dict[Group, Active]:
    scope, period = question.scope, question.period
    rows = [
        row
        for row in UsageRecord.objects.all()
        if (scope.team is None or row.team_id == scope.team.pk)
        and scope.key_id in {None, row.key_id}
        and scope.member_id in {None, row.member_id}
        and (not question.filters.outcomes or row.outcome in question.filters.outcomes)
    ]
    before = period.moved(-timedelta(days=period.length))
    edges = [instant(moment, period) for moment in moments]
    places: dict[int, list[UsageRecord]] = {}
    for row in rows:
        if period.begin <= row.at < period.end:
            places.setdefault(bisect_right(edges, row.at) - 1, []).append(row)
    return {
        group: Active(
            counted(group, [row for each in places.values() for row in each]),
            counted(group, [row for row in rows if before.begin <= row.at < before.end])
            if question.compared != Compared.NOT
            else 0,
            {place: counted(group, each) for place, each in places.items()},
        )
        for group in scope.counted
    }


@pytest.mark.spec("U1", "U3")
@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize("compared", [Compared.BEFORE, Compared.NOT])
@pytest.mark.parametrize("filters", [Filters(), Filters(outcomes=("ok",))])
@pytest.mark.parametrize("bucket", [Bucket.DAY, Bucket.WEEK])
@pytest.mark.parametrize("whose", ["team", "key", "member", "platform"])
def test_what_is_active_is_counted_alike_in_every_grouping(
    red: Team, whose: str, bucket: Bucket, filters: Filters, compared: Compared
) -> None:
    scope = {
        "team": Scope(red),
        "key": Scope(red, key_id=KEY),
        "member": Scope(red, member_id=PERSON),
        "platform": Scope(None),
    }[whose]
    for group in scope.groups:
        question = Question(scope, WEEK, group=group, bucket=bucket, filters=filters, compared=compared)
        report = usage(question, now=WEEK.end + timedelta(days=1))
        assert report.active == expected(question, report.moments), group
