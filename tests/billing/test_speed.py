"""How long answers took: percentiles that are those of the log, by column and by model; and nothing where nothing is
known.
"""

import math
import random
import re
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from django.utils import translation

from accounts.models import Team
from billing.ledger import log as ledger
from billing.ledger.histograms import GROWTH, percentile, percentiles
from billing.models import UsageRecord
from billing.records import Counts
from billing.usage.axis_captions import columns
from billing.usage.buckets import instant, moments
from billing.usage.periods import DAY, Period
from billing.usage.questions import Bucket, Filters, Question, Scope
from billing.usage.sections.answers import answers
from billing.usage.sections.speed import ModelSpeed, Speed, speed
from billing.usage.sections.speed_captions import first_token_heading, models_heading, shown, whole_heading
from billing.usage.sums import Percentiles
from tests.billing.test_histograms import histogram
from tests.billing.traffic import counts, ended, milliseconds, timed

pytestmark = pytest.mark.spec("U4")
UTC_ZONE = ZoneInfo("UTC")
NOVEMBER = Period(date(2026, 11, 1), date(2026, 11, 3), UTC_ZONE)


def at(day: int, hour: int = 9) -> int:
    return milliseconds(datetime(2026, 11, day, hour, tzinfo=UTC))


def asked(team: Team, period: Period = NOVEMBER, **changed: object) -> Speed:
    question = Question(Scope(team), period, **changed)  # type: ignore[arg-type]
    return speed(answers(question, moments(period, question.bucket), now=period.end))


def exact(values: list[int], share: float) -> int:
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "Europe/Paris", "America/Mexico_City"])
@pytest.mark.parametrize("bucket", list(Bucket))
def test_each_column_has_the_percentiles_of_its_requests_in_the_log(red: Team, zone: str, bucket: Bucket) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone=zone)
    red.refresh_from_db()
    first = date(2026, 10, 24)  # the clocks of Paris change on the second day
    period = Period(first, first + DAY * (1 if bucket == Bucket.HOUR else 40), ZoneInfo(zone))
    chance = random.Random(f"{zone}{bucket}")
    span = (period.end - period.begin) // timedelta(milliseconds=1)
    ledger.write([
        timed(
            red.pk,
            ttft_ms=chance.choice([None, int(chance.lognormvariate(6, 0.8))]),
            duration_ms=int(chance.lognormvariate(8, 1)),
            at_ms=milliseconds(period.begin) + chance.randrange(-10**7, span + 10**7),
            model=chance.choice(["a", "b"]),
            outcome=chance.choice(["ok", "ok", "upstream_error"]),
        )
        for _ in range(400)
    ])  # fmt: skip
    begins = moments(period, bucket)
    found = asked(red, period, bucket=bucket)
    edges = [*(instant(moment, period) for moment in begins), period.end]
    for place, (begin, end) in enumerate(pairwise(edges)):
        rows = UsageRecord.objects.filter(team=red, at__gte=begin, at__lt=end).values_list("ttft_ms", "duration_ms")
        for told, values in (
            (found.first_token[place], [ttft for ttft, _ in rows if ttft is not None]),
            (found.whole[place], [duration for _, duration in rows]),
        ):
            if not values:
                assert told == Percentiles()
                continue
            for value, share in ((told.p50, 0.5), (told.p95, 0.95), (told.p99, 0.99)):
                assert value == pytest.approx(exact(values, share), rel=GROWTH - 1, abs=1)
    everything = list(
        UsageRecord.objects.filter(team=red, at__gte=period.begin, at__lt=period.end).values_list(
            "duration_ms", flat=True
        )
    )
    assert found.of_whole == Percentiles(*percentiles(histogram(everything), (0.5, 0.95, 0.99)))


def test_percentiles_that_are_read_together_are_those_that_are_read_alone() -> None:
    packed = histogram([1, 5, 9, 200, 200, 3000, 70_000])
    shares = (0.01, 0.5, 0.95, 0.99, 1.0)
    assert percentiles(packed, shares) == [percentile(packed, share) for share in shares]
    assert percentiles(0, shares) == [None] * 5


def test_a_day_without_a_request_has_no_percentile_and_is_a_gap(red: Team) -> None:
    ledger.write([timed(red.pk, ttft_ms=100, duration_ms=900, at_ms=at(day)) for day in (1, 3)])
    found = asked(red)
    assert found.first_token[1] == Percentiles()
    assert found.first_token[0] == found.first_token[2] != Percentiles()
    question = Question(Scope(red), NOVEMBER)
    told = shown(found, question, columns(question, moments(NOVEMBER, Bucket.DAY), now=NOVEMBER.end)).first_token
    assert told is not None
    assert told.table.rows[1].cells == ("–", "–", "–")
    assert all(curve.path == "" and curve.points.count("M") == 2 for curve in told.plot.curves)


def test_models_are_told_apart_the_fastest_first(red: Team) -> None:
    ledger.write([
        *(timed(red.pk, ttft_ms=800, duration_ms=5000, at_ms=at(1), model="slow") for _ in range(20)),
        *(timed(red.pk, ttft_ms=100, duration_ms=2000, at_ms=at(1), model="quick") for _ in range(20)),
    ])  # fmt: skip
    quick, slow = asked(red).models
    assert (quick.model, slow.model, quick.measured) == ("quick", "slow", 20)
    assert quick.first_token.p50 == pytest.approx(100, rel=GROWTH - 1)
    # Five tokens in two seconds, as near as a histogram tells two seconds.
    assert quick.per_second == pytest.approx(2.5, rel=GROWTH - 1)
    assert slow.per_second == pytest.approx(1.0, rel=GROWTH - 1)
    assert [one.model for one in asked(red, filters=Filters(models=("slow",))).models] == ["slow"]


def test_what_was_not_answered_says_nothing_about_tokens_a_second(red: Team) -> None:
    ledger.write([
        timed(red.pk, ttft_ms=100, duration_ms=1000, at_ms=at(1)),
        timed(red.pk, ttft_ms=None, duration_ms=60_000, at_ms=at(1), outcome="upstream_timeout"),
    ])  # fmt: skip
    (llama,) = asked(red).models
    assert llama.per_second == pytest.approx(5, rel=GROWTH - 1)
    assert llama.whole.p99 == pytest.approx(60_000, rel=GROWTH - 1)


def test_a_model_that_writes_nothing_is_not_said_to_write_nought_a_second(red: Team) -> None:
    used = Counts(900, 0, "upstream", "none")
    ledger.write([ended(red.pk, used, model="embed", at_ms=at(1)), ended(red.pk, model="llama", at_ms=at(1))])
    models = {one.model: one for one in asked(red).models}
    assert models["embed"].per_second is None
    question = Question(Scope(red), NOVEMBER)
    told = shown(asked(red), question, columns(question, moments(NOVEMBER, Bucket.DAY), now=NOVEMBER.end)).models
    assert told is not None
    assert {row.title: row.cells[-1] for row in told.table.rows} == {"embed": "does not write", "llama": "15"}
    assert {one.name: one.note for one in told.plot.ranges}["embed"] == ""


def test_without_a_request_there_is_nothing_to_show(red: Team) -> None:
    question = Question(Scope(red), NOVEMBER)
    told = shown(asked(red), question, columns(question, moments(NOVEMBER, Bucket.DAY), now=NOVEMBER.end))
    assert (told.first_token, told.whole, told.models) == (None, None, None)


def a_model(name: str, middle: float, measured: int = 20) -> ModelSpeed:
    return ModelSpeed(name, Percentiles(middle, middle, middle), Percentiles(), measured, None)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([], "First token by model"),
        ([a_model("a", 100)], "First token by model"),
        ([a_model("a", 100), a_model("b", 110)], "First token by model"),
        ([a_model("a", 100), a_model("b", 200)], "a begins to answer before all others"),
        ([a_model("a", 100, 9), a_model("b", 200)], "First token by model"),
        ([a_model("a", 100), a_model("b", 110), a_model("c", 300)], "c takes longest to begin its answer"),
    ],
)
def test_a_model_is_only_called_faster_or_slower_where_that_is_clear(models: list[ModelSpeed], said: str) -> None:
    assert models_heading(models) == said


@pytest.mark.parametrize(
    ("language", "first", "whole"),
    [
        (
            "en",
            "Half wait less than 400 ms for the first token; one in twenty, more than 1.3 s",
            "Half of the answers end within 400 ms; one in twenty takes more than 1.3 s",
        ),
        (
            "es",
            "La mitad espera menos de 400 ms al primer token; una de cada veinte, más de 1,3 s",
            "La mitad de las respuestas acaba en 400 ms; una de cada veinte tarda más de 1,3 s",
        ),
        (
            "fr",
            "La moitié attend moins de 400 ms le premier token ; une sur vingt, plus de 1,3 s",
            "La moitié des réponses finit en 400 ms ; une sur vingt prend plus de 1,3 s",
        ),
    ],
)
def test_the_headings_are_said_in_the_readers_language(language: str, first: str, whole: str) -> None:
    found = Percentiles(400, 1300, 2000)
    with translation.override(language):
        assert re.search("400\u00a0ms", first_token_heading(found))
        assert first_token_heading(found).replace("\xa0", " ").replace("\u202f", " ") == first
        assert whole_heading(found).replace("\xa0", " ").replace("\u202f", " ") == whole


def test_what_failed_is_measured_with_what_was_answered_and_writes_nothing(red: Team) -> None:
    ledger.write([
        timed(red.pk, ttft_ms=100, duration_ms=1000, at_ms=at(1), used=counts(10, 50)),
        timed(red.pk, ttft_ms=100, duration_ms=3000, at_ms=at(1), used=counts(10, 50)),
        timed(red.pk, ttft_ms=900, duration_ms=20_000, at_ms=at(2), used=counts(10, 7), outcome="interrupted"),
    ])  # fmt: skip
    (model,) = asked(red).models
    assert model.measured == 3
    assert model.per_second == pytest.approx(100 / 4, rel=GROWTH - 1)
    assert model.whole.p99 == pytest.approx(20_000, rel=GROWTH - 1)
