"""One truth: whatever happens to a team, every page, file and mail of a period tells the same sums, those of the log.

Hypothesis makes up the life of a team in a zone: calls with and without prices, counts that no engine gave, types of
tokens that some engines report and others do not, a month that is closed while calls of it are still on their way,
corrections, a person and a key that go. What is then told of any days must be what a loop over the log's rows says.
"""

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import ApiKey, Team, User
from billing.alerts.month_figures import month_figures
from billing.ledger import log as ledger
from billing.ledger.adjustments import adjust
from billing.ledger.auditing import audit
from billing.ledger.months import close_month
from billing.log.files import records
from billing.log.rows import read_page
from billing.models import ENDED_WELL, UsageRecord
from billing.records import Counts, Ended
from billing.usage import files
from billing.usage.periods import Period
from billing.usage.questions import Bucket, Compared, Filters, Group, Metric, Question, Scope
from billing.usage.reports import usage
from billing.usage.sums import Sums
from tests.billing.test_adjustments import call
from tests.billing.traffic import PRICE
from tests.factories import join, make_key, make_person

pytestmark = [pytest.mark.django_db, pytest.mark.spec("U1", "U2", "U3", "R23", "F37")]

# Around a change of clocks where the zone has one, each over a month's end; two zones that are no whole hours from UTC.
ZONES = {
    "Europe/Paris": datetime(2026, 10, 25, tzinfo=UTC),
    "Asia/Kolkata": datetime(2026, 10, 30, tzinfo=UTC),
    "Asia/Kathmandu": datetime(2026, 10, 31, tzinfo=UTC),
    "America/Mexico_City": datetime(2026, 10, 29, tzinfo=UTC),
}
SPRING = {"Europe/Paris": datetime(2026, 3, 28, tzinfo=UTC)}
SPAN = 8 * 24 * 60  # minutes over which the calls are spread

SOURCES = st.sampled_from(["upstream", "upstream_partial", "counted", "estimated"])
MADE = st.fixed_dictionaries(
    {
        "minute": st.integers(0, SPAN),
        "prompt": st.integers(0, 3000),
        "completion": st.integers(0, 900),
        "cached": st.none() | st.just(0) | st.integers(1, 3000),
        "reasoning": st.none() | st.just(0) | st.integers(1, 900),
        "prompt_source": SOURCES,
        "completion_source": SOURCES,
        "model": st.sampled_from(["llama", "mistral", "a/b:c d"]),
        "whose": st.sampled_from(["key", "other key", "bob", "nobody's"]),
        "outcome": st.sampled_from(["ok", "ok", "ok", "stopped", "upstream_error", "upstream_timeout", "interrupted"]),
        "priced": st.sampled_from(["", "first", "second"]),
        "late": st.booleans(),
        "corrected": st.sampled_from([None, None, None, 0, 7]),
    }
)
SECOND_PRICE = PRICE._replace(input=Decimal("7.77"), output=Decimal("0.000001"))


@dataclass
class Life:
    team: Team
    key: ApiKey
    other_key: ApiKey
    bob: User

    def live(self, calls: list[dict[str, Any]], begin: datetime, by: User) -> None:
        """In time, then a close of the month in which the span begins, then what is late, then corrections."""
        made = [(one, self.made(one, begin)) for one in calls]
        ledger.write([ended for one, ended in made if not one["late"]])
        first = begin.astimezone(ZoneInfo(self.team.time_zone)).date().replace(day=1)
        close_month(team=self.team, month=first, by=by)
        ledger.write([ended for one, ended in made if one["late"]])
        for one, ended in made:
            if one["corrected"] is not None and one["corrected"] != one["completion"]:
                self.correct(ended.start.id, one["corrected"], by)

    def correct(self, request_id: UUID, completion: int, by: User) -> None:
        adjust(request_id=request_id, completion_tokens=completion, reasoning_tokens=0, reason="wrong", by=by)

    def made(self, one: dict[str, Any], begin: datetime) -> Ended:
        who: dict[str, Any] = {
            "key": {"key_id": self.key.pk, "key_name": "ci", "member_id": self.bob.pk, "member_name": "Bob"},
            "other key": {"key_id": self.other_key.pk, "key_name": "=cmd"},
            "bob": {"member_id": self.bob.pk, "member_name": "Bob", "origin": "chat"},
            "nobody's": {"key_id": 10**9, "key_name": "gone"},
        }[one["whose"]]
        used = Counts(
            one["prompt"], one["completion"], one["prompt_source"], one["completion_source"],
            None if one["reasoning"] is None else min(one["reasoning"], one["completion"]),
            None if one["cached"] is None else min(one["cached"], one["prompt"]),
        )  # fmt: skip
        price = {"": None, "first": PRICE, "second": SECOND_PRICE}[one["priced"]]
        ended = call(
            self.team, used, at=begin + timedelta(minutes=one["minute"]), model=one["model"], price=price, **who
        )
        return ended._replace(final=ended.final._replace(outcome=one["outcome"]))


def told_by_the_log(team: Team, period: Period) -> Sums:
    rows = [row for row in UsageRecord.objects.filter(team=team) if period.begin <= row.booked_at < period.end]
    requests = [row for row in rows if row.corrects is None]
    guessed = {"counted", "estimated", "none"}
    return Sums(
        requests=len(requests),
        prompt_tokens=sum(row.prompt_tokens for row in rows),
        completion_tokens=sum(row.completion_tokens for row in rows),
        reasoning_tokens=sum(row.reasoning_tokens or 0 for row in rows),
        cached_tokens=sum(row.cached_tokens or 0 for row in rows),
        reasoning_reported=sum(row.reasoning_tokens is not None for row in rows),
        cached_reported=sum(row.cached_tokens is not None for row in rows),
        estimated_tokens=sum(
            row.prompt_tokens * (row.prompt_source in guessed)
            + row.completion_tokens * (row.completion_source in guessed)
            for row in rows
        ),
        priced_requests=sum(row.cost is not None for row in requests),
        cost=sum((row.cost or Decimal(0) for row in rows), Decimal(0)),
        errors=sum(row.outcome not in ENDED_WELL for row in requests),
    )


COUNTED = ("requests", "errors", "prompt_tokens", "completion_tokens", "estimated_tokens")


def as_files_tell(sums: Sums) -> dict[str, Any]:
    """What no engine reported is empty, and so is a cost where no price was in force."""
    return {name: getattr(sums, name) for name in COUNTED} | {
        "reasoning_tokens": sums.reasoning,
        "cached_tokens": sums.cached,
        "cost": cost_of(sums),
    }


def cost_of(sums: Sums) -> Decimal | None:
    return sums.cost if sums.priced else None


def added_up(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Empty where every row is."""
    found: dict[str, Any] = {}
    for name in (*COUNTED, "reasoning_tokens", "cached_tokens", "cost"):
        numbers = [Decimal(row[name]) for row in rows if row[name] not in (None, "")]
        found[name] = sum(numbers, Decimal(0)) if numbers else None
        if name in COUNTED:
            found[name] = found[name] or 0
    return found


@pytest.fixture
def life(red: Team, alice: User) -> Life:
    bob = make_person("bob@example.org")
    join(red, bob)
    return Life(red, make_key(red, name="ci").key, make_key(red, name="=cmd").key, bob)


@pytest.mark.parametrize(
    ("zone", "begin"),
    [
        pytest.param(zone, begin, id=f"{zone} {begin:%m-%d}")
        for zones in (ZONES, SPRING)
        for zone, begin in zones.items()
    ],
)
@given(calls=st.lists(MADE, max_size=12), first=st.integers(-1, 6), days=st.integers(1, 8), gone=st.booleans())
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_files_and_mails_tell_what_the_log_says(
    life: Life, alice: User, zone: str, begin: datetime, calls: list[dict[str, Any]], first: int, days: int, gone: bool
) -> None:
    with transaction.atomic():
        Team.objects.filter(pk=life.team.pk).update(time_zone=zone)
        life.team.refresh_from_db()
        life.live(calls, begin, alice)
        if gone:
            ApiKey.objects.filter(pk=life.other_key.pk).delete()
            User.objects.filter(pk=life.bob.pk).delete()
        here = begin.astimezone(ZoneInfo(zone)).date() + timedelta(days=first)
        for name in (zone, "UTC"):
            compare(life.team, Period(here, here + timedelta(days=days - 1), ZoneInfo(name)))
        compare_month(life.team, (here + timedelta(days=2)).replace(day=1))
        assert audit().differences == ()
        transaction.set_rollback(True)


def compare(team: Team, period: Period) -> None:
    sums = told_by_the_log(team, period)
    logged = list(records(Question(Scope(team), period)))
    assert sum(row["corrects"] is None for row in logged) == sums.requests
    assert sum(int(row["prompt_tokens"]) for row in logged) == sums.prompt_tokens  # type: ignore[arg-type]
    assert len(logged) == len(list(read_page(Question(Scope(team), period)).rows))
    now = period.end + timedelta(days=3)
    for group in Scope(team).groups:
        for bucket in (Bucket.HOUR, Bucket.DAY, Bucket.WEEK, Bucket.MONTH):
            question = Question(Scope(team), period, group=group, bucket=bucket, compared=Compared.NOT)
            report = usage(question, now=now)
            assert report.total == sums, (group, bucket)
            if group == Group.TOKENS:
                assert sum(one.total.tokens for one in report.series) == sums.tokens
                assert added_up(json.loads(json.dumps(files.as_json(report)))["buckets"])["cost"] == cost_of(sums)
                by_cost = usage(replace(question, metric=Metric.COST), now=now, whole=False)
                assert sum(one.total.cost for one in by_cost.series) == sums.cost
                assert [one.key for one in by_cost.series][4:] == []  # nothing is corrected but by its tokens
                continue
            told = as_files_tell(sums)
            document = json.loads(json.dumps(files.as_json(report)))
            assert added_up(document["buckets"]) == told, (group, bucket)
            assert added_up(document["breakdown"]) == told, (group, bucket)
            assert added_up([document["total"]]) == told, (group, bucket)
            rows = list(csv.DictReader(io.StringIO(files.answer(report, "csv", name="red").content.decode())))
            assert added_up(rows) == told, (group, bucket)
    for model in ("llama", "a/b:c d"):
        filters = Filters(models=(model,))
        asked = Question(Scope(team), period, filters=filters, compared=Compared.NOT)
        some = Counter(row["model"] for row in logged if row["corrects"] is None)
        assert usage(asked, now=now).total.requests == some[model]


def compare_month(team: Team, month: date) -> None:
    found = month_figures(team, month)
    assert found.total == told_by_the_log(team, found.period)
    assert sum(sums.tokens for _day, _model, sums in found.days) == found.total.tokens
