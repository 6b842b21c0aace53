"""How requests ended and what was refused: the log's own counts, per column and against the time before."""

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from django.utils import translation

from accounts.models import Team
from billing.ledger import log as ledger
from billing.ledger.refusals import write
from billing.models import Refusal, UsageDay, UsageQuarter, UsageRecord
from billing.usage.axis_captions import columns
from billing.usage.buckets import instant, moments, running
from billing.usage.periods import DAY, Period
from billing.usage.questions import Bucket, Compared, Filters, Question, Scope
from billing.usage.sections.answers import answers
from billing.usage.sections.endings import Ending, Endings, Refusals, Refused, endings, refusals
from billing.usage.sections.endings_captions import (
    changed,
    endings_heading,
    outcome_label,
    refusals_heading,
    shown_endings,
    shown_refusals,
)
from tests.billing.traffic import a_refusal, ended, milliseconds, random_traffic

pytestmark = pytest.mark.spec("U4")
NOVEMBER = Period(date(2026, 11, 1), date(2026, 11, 3), ZoneInfo("UTC"))


def asked(question: Question, now: datetime | None = None) -> Endings:
    now, begins = now or question.period.end, moments(question.period, question.bucket)
    return endings(question, answers(question, begins, now=now), begins, now=now)


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "Asia/Kolkata", "Europe/Paris", "America/Mexico_City"])
@pytest.mark.parametrize("bucket", list(Bucket))
@pytest.mark.parametrize("of_team", [True, False])
def test_each_column_holds_what_the_log_does(red: Team, blue: Team, zone: str, bucket: Bucket, of_team: bool) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone=zone)
    red.refresh_from_db()
    first = date(2026, 10, 24)  # the clocks of Paris change on the second day
    last = first + DAY * (1 if bucket == Bucket.HOUR else 33)
    period = Period(first, last, ZoneInfo(zone if of_team else "UTC"))
    chance = random.Random(f"{zone}{bucket}{of_team}")
    margin = (period.end - period.begin) + DAY
    for team in (red, blue):
        ledger.write(
            random_traffic(team.pk, 300, begin=period.begin - margin, end=period.end + DAY, chance=chance, keys=[1, 2])
        )
    begins = moments(period, bucket)
    found = asked(Question(Scope(red), period, bucket=bucket))
    edges = [*(instant(moment, period) for moment in begins), period.end]
    columns_ = [
        Counter(UsageRecord.objects.filter(team=red, at__gte=begin, at__lt=end).values_list("outcome", flat=True))
        for begin, end in pairwise(edges)
    ]
    before = Counter(
        UsageRecord.objects.filter(
            team=red, at__gte=period.before().begin, at__lt=period.before().end
        ).values_list("outcome", flat=True)
    )  # fmt: skip
    assert list(found.requests) == [sum(column.values()) for column in columns_]
    assert found.requests_before == sum(before.values())
    assert {one.outcome: one.columns for one in found.endings} == {
        outcome: tuple(column[outcome] for column in columns_)
        for outcome in ("client_gone", "upstream_error", "interrupted")
    }
    assert {one.outcome: one.before for one in found.endings} == {
        outcome: before[outcome] for outcome in ("client_gone", "upstream_error", "interrupted")
    }
    assert [one.is_error for one in found.endings] == [True, True, False]


def test_a_day_that_runs_is_compared_up_to_the_same_time(red: Team) -> None:
    now = datetime(2026, 11, 3, 12, tzinfo=UTC)
    before = [datetime(2026, 10, day, hour, tzinfo=UTC) for day, hour in ((29, 23), (31, 11), (31, 13))]
    ledger.write([ended(red.pk, outcome="upstream_error", at_ms=milliseconds(at)) for at in before])
    write([a_refusal(red.pk, at_ms=milliseconds(at)) for at in before])
    question = Question(Scope(red), NOVEMBER)
    begins = moments(NOVEMBER, Bucket.DAY)
    assert [one.before for one in asked(question, now).endings] == [2]
    assert [one.before for one in asked(question).endings] == [3]
    assert [one.before for one in refusals(question, begins, now=now).refused] == [2]
    alone = Question(Scope(red), NOVEMBER, compared=Compared.NOT)
    assert asked(alone, now) == Endings((0, 0, 0), None, ())
    assert refusals(alone, begins, now=now) == Refusals((), ())


def test_the_platform_has_every_team_and_a_team_filter(red: Team, blue: Team) -> None:
    at = milliseconds(datetime(2026, 11, 2, 9, tzinfo=UTC))
    ledger.write([ended(team.pk, outcome="upstream_error", at_ms=at) for team in (red, red, blue)])
    write([a_refusal(team.pk, at_ms=at) for team in (red, blue)])
    question = Question(Scope(None), NOVEMBER)
    begins = moments(NOVEMBER, Bucket.DAY)
    assert asked(question).requests == (0, 3, 0)
    assert refusals(question, begins, now=NOVEMBER.end).count == 2
    of_red = Question(Scope(None), NOVEMBER, filters=Filters(teams=(red.pk,)))
    assert asked(of_red).requests == (0, 2, 0)
    assert refusals(of_red, begins, now=NOVEMBER.end).count == 1


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "Europe/Paris"])
@pytest.mark.parametrize("bucket", [Bucket.HOUR, Bucket.DAY])
def test_refused_calls_are_in_the_column_of_their_moment(red: Team, zone: str, bucket: Bucket) -> None:
    period = Period(date(2026, 10, 24), date(2026, 10, 25), ZoneInfo(zone))
    chance = random.Random(zone)
    span = (period.end - period.begin) // timedelta(milliseconds=1)
    write([
        a_refusal(red.pk, at_ms=milliseconds(period.begin) + chance.randrange(-(10**7), span + 10**7),
                  code=chance.choice(["rate_limit_exceeded", "insufficient_quota"]), reason="")
        for _ in range(200)
    ])  # fmt: skip
    begins = moments(period, bucket)
    found = refusals(Question(Scope(red), period, bucket=bucket), begins, now=period.end)
    edges = [*(instant(moment, period) for moment in begins), period.end]
    for one in found.refused:
        assert one.columns == tuple(
            Refusal.objects.filter(code=one.code, at__gte=begin, at__lt=end).count() for begin, end in pairwise(edges)
        )
    assert found.count == Refusal.objects.filter(at__gte=period.begin, at__lt=period.end).count() > 100


def test_old_months_say_error_without_telling_which(red: Team) -> None:
    ledger.write([ended(red.pk, outcome="upstream_error", at_ms=milliseconds(datetime(2026, 11, 2, 9, tzinfo=UTC)))])
    for table in (UsageDay, UsageQuarter):
        table.objects.update(outcome="error")
    (one,) = asked(Question(Scope(red), NOVEMBER)).endings
    assert (one.is_error, outcome_label(one.outcome)) == (True, "error, not told which")


def ending(outcome: str, count: int, before: int | None = None) -> Ending:
    return Ending(outcome, (count,), count, before)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Endings((9,), None, ()), "Every request was answered"),
        (Endings((9,), None, (ending("client_gone", 2),)), "No request failed; 2 ended early"),
        (
            Endings((200,), None, (ending("upstream_timeout", 1),)),
            "0.5% of the requests failed; most often: engine too slow",
        ),
        (
            Endings((200,), None, (ending("upstream_timeout", 1), ending("upstream_error", 1), ending("stopped", 9))),
            "1% of the requests failed",
        ),
        (
            Endings((100,), 100, (ending("upstream_error", 3, 1),)),
            "3% of the requests failed, 2.0 points more than before; most often: engine error",
        ),
        (
            Endings((100,), 100, (ending("upstream_error", 3, 3),)),
            "3% of the requests failed; most often: engine error",
        ),
        (Endings((100,), 0, (ending("upstream_error", 3, 0),)), "3% of the requests failed; most often: engine error"),
    ],
)
def test_the_heading_says_how_many_failed_and_how(found: Endings, said: str) -> None:
    assert endings_heading(found) == said


@pytest.mark.parametrize(
    ("language", "failed", "refused"),
    [
        (
            "es",
            "Falló el 3 % de las peticiones, 2,0 puntos menos que antes; lo más frecuente: error del motor",
            "Se rechazaron 12 llamadas, se admitieron 100; lo más frecuente: un límite",
        ),
        (
            "fr",
            "3 % des requêtes ont échoué, 2,0 points de moins qu’avant ; le plus souvent : erreur du moteur",
            "12 appels ont été refusés, 100 ont été admis ; le plus souvent : une limite",
        ),
    ],
)
def test_it_is_said_in_the_readers_language(language: str, failed: str, refused: str) -> None:
    found = Endings((100,), 100, (ending("upstream_error", 3, 5),))
    kept_out = Refusals((Refused("rate_limit_exceeded", "", (12,), 12, None),), ((1, 12),))
    with translation.override(language):
        assert endings_heading(found).replace("\xa0", " ").replace("\u202f", " ") == failed
        assert refusals_heading(kept_out, 100).replace("\xa0", " ").replace("\u202f", " ") == refused


def test_a_change_is_told_in_parts_of_what_was_or_in_number_where_that_was_little() -> None:
    assert changed(5, None) == ""
    assert changed(5, 5) == "same"
    assert changed(24, 0) == "↑ 24"
    assert changed(1, 9) == "↓ 8"
    assert changed(150, 100) == "↑ 50%"
    assert changed(69, 100) == "↓ 31%"


def test_tables_show_what_was_let_in_beside_what_was_not(red: Team) -> None:
    at = milliseconds(datetime(2026, 11, 2, 9, tzinfo=UTC))
    ledger.write([
        *(ended(red.pk, at_ms=at) for _ in range(3)),
        ended(red.pk, at_ms=at, outcome="upstream_timeout"),
        ended(red.pk, at_ms=at, outcome="stopped"),
    ])  # fmt: skip
    write([a_refusal(red.pk, at_ms=at, reason="") for _ in range(2)])
    question, begins = Question(Scope(red), NOVEMBER), moments(NOVEMBER, Bucket.DAY)
    now = datetime(2026, 11, 3, 12, tzinfo=UTC)
    named, here = columns(question, begins, now=now), running(begins, NOVEMBER, now)
    ended_, kept_out = asked(question, now), refusals(question, begins, now=now)
    failed = shown_endings(ended_, question, named, here)
    assert failed.table.head == ("Day", "Requests", "engine too slow", "stopped")
    assert [row.said for row in failed.table.rows][1:] == [
        "Mon, Nov 2: Requests 5, engine too slow 1, stopped 1",
        "Tue, Nov 3: Requests 0",
    ]
    assert [(line.label, line.count, line.part, line.change, line.note) for line in failed.lines] == [
        ("engine too slow", "1", "20%", "↑ 1", ""),
        ("stopped", "1", "20%", "↑ 1", "no error"),
    ]
    assert [stack.mark for stack in failed.plot.stacks] == [line.mark for line in failed.lines]
    refused = shown_refusals(kept_out, ended_.requests, question, named, here)
    assert refused.heading == "2 calls were refused, 5 were let in; most often: a limit"
    assert refused.table.rows[1].said == "Mon, Nov 2: Let in 5, a limit 2"
    assert refused.keys == ()
