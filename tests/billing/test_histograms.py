"""Histograms that are added up, and the percentiles that are read from them."""

import math
import random
from datetime import UTC, date, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Team
from billing.ledger import log as ledger
from billing.ledger.auditing import audit, rebuild
from billing.ledger.histograms import BOUNDS, GROWTH, counts, packed, percentile, size
from billing.models import PlatformDay, UsageDay, UsageQuarter
from billing.records import Counts
from billing.usage.periods import Period
from billing.usage.questions import Group
from tests.billing.asking import report_of
from tests.billing.traffic import ended, milliseconds, timed

LONGEST = BOUNDS[-1] - 1
PARIS = ZoneInfo("Europe/Paris")


def histogram(values: list[int]) -> int:
    return sum(packed(sum(value >= bound for bound in BOUNDS)) for value in values)


def exact(values: list[int], share: float) -> int:
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def test_no_bucket_is_wider_than_is_said() -> None:
    widest = max((above - 1 - low) / low for low, above in pairwise(BOUNDS))
    assert widest < GROWTH - 1
    assert BOUNDS[-1] / 60_000 > 69


@given(st.lists(st.integers(0, LONGEST), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_off_by_less_than_a_bucket(values: list[int], share: float) -> None:
    found, true = percentile(histogram(values), share), exact(values, share)
    assert found is not None
    assert abs(found - true) <= (GROWTH - 1) * true


def test_of_many_requests_it_is_off_by_little() -> None:
    chance = random.Random(7)
    values = [int(chance.lognormvariate(7, 0.9)) for _ in range(20_000)]
    for share in (0.5, 0.95, 0.99):
        assert percentile(histogram(values), share) == pytest.approx(exact(values, share), rel=0.05)


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=40), max_size=5))
def test_histograms_of_parts_add_up_to_that_of_the_whole(parts: list[list[int]]) -> None:
    whole = [value for part in parts for value in part]
    assert sum(map(histogram, parts)) == histogram(whole)
    assert size(histogram(whole)) == len(whole)


def test_a_bucket_holds_a_trillion_requests_and_touches_no_other() -> None:
    full = packed(3, 10**12 - 1) + packed(4, 7)
    assert counts(full) == [0, 0, 0, 10**12 - 1, 7]


def test_without_a_request_there_is_no_percentile_and_beyond_the_last_bound_there_is_that_bound() -> None:
    assert percentile(0, 0.5) is None
    assert percentile(histogram([2**31 - 1]), 0.5) == BOUNDS[-1]
    assert percentile(histogram([0]), 0.99) == 0


@pytest.mark.spec("R23")
def test_postgresql_counts_into_the_same_buckets_at_every_level(red: Team) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone="Europe/Paris")
    edges = sorted({edge for bound in BOUNDS for edge in (bound - 1, bound, bound + 1)} | {0, 2**31 - 1})
    at = milliseconds(datetime(2026, 11, 3, 12, tzinfo=UTC))
    batch = [timed(red.pk, ttft_ms=None if edge % 2 else edge, duration_ms=edge, at_ms=at) for edge in edges]
    ledger.write(batch[:100])
    ledger.write(batch[50:])
    expected = (histogram([edge for edge in edges if not edge % 2]), histogram(edges))
    for level in (UsageQuarter, UsageDay, PlatformDay):
        (kept,) = level.objects.values_list("ttft", "duration")
        assert tuple(map(int, kept)) == expected
    assert audit().agrees


@pytest.mark.spec("R23")
def test_a_changed_histogram_is_found_and_made_anew(red: Team) -> None:
    ledger.write([timed(red.pk, ttft_ms=40, duration_ms=900)])
    UsageDay.objects.update(ttft=0)
    assert [one.table for one in audit().differences] == ["billing_usageday"]
    rebuild()
    assert audit().agrees


def test_a_report_has_the_percentiles_of_the_whole_and_of_each_series(red: Team) -> None:
    at = milliseconds(datetime(2026, 11, 3, 12, tzinfo=UTC))
    quick = [timed(red.pk, ttft_ms=100, duration_ms=1000, at_ms=at, model="quick") for _ in range(90)]
    slow = [timed(red.pk, ttft_ms=4000, duration_ms=60_000, at_ms=at, model="slow") for _ in range(10)]
    ledger.write([*quick, *slow])
    for last in (date(2026, 11, 3), date(2026, 11, 20)):  # from quarter hours, and from days
        report = report_of(red, Period(date(2026, 11, 3), last, PARIS), group=Group.MODEL, now=datetime.now(UTC))
        of = {one.label: one.latency for one in report.series}
        assert of["quick"].first_token_p95 == pytest.approx(100, rel=GROWTH - 1)
        assert of["slow"].first_token_p95 == pytest.approx(4000, rel=GROWTH - 1)
        whole = report.latency
        assert int(whole.ttft) == int(of["quick"].ttft) + int(of["slow"].ttft)
        assert whole.first_token_p95 == pytest.approx(4000, rel=GROWTH - 1)


def test_what_no_engine_reported_is_told_from_nothing(red: Team) -> None:
    at = milliseconds(datetime(2026, 11, 3, 12, tzinfo=UTC))
    ledger.write([ended(red.pk, at_ms=at), ended(red.pk, Counts(10, 5, "upstream", "upstream", None, 0), at_ms=at)])
    total = report_of(red, Period(date(2026, 11, 3), date(2026, 11, 3), PARIS), now=datetime.now(UTC)).total
    assert (total.reasoning, total.cached, total.cached_reported) == (None, 0, 1)


def test_the_sum_is_made_by_postgresql_itself(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(n) FROM unnest(%s::numeric[]) n", [[packed(83, 5), packed(83, 6), packed(0)]])
        assert counts(int(cursor.fetchone()[0])) == [1, *[0] * 82, 11]
