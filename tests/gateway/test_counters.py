"""The engines' own counters: what is read of their pages, and how much they rose between two readings."""

import asyncio
import random
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engines.client import close_http
from gateway.engines.clock import Clock, Deadlines
from gateway.engines.counters import FAMILIES, Counters, Tally, parse_counters, read_counters
from gateway.engines.facts import EngineFacts
from gateway.errors import EngineTimeout, NoCounters, Unavailable, UnreadableAnswer
from gateway.reconciliation.increases import Increase, Known, increase, parts
from tests.engines.faultd import FaultEngine

PATIENT = Deadlines(connect=20, first=60, total=60)
HASTY = Deadlines(connect=20, first=0.5, total=60)
VLLM_PAGE = """\
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="qwen"} 1.2345678e+07
vllm:prompt_tokens_total{engine="1",model_name="qwen"} 2.0
vllm:prompt_tokens_total{engine="0",model_name="a \\"b\\", {c}"} 7.0
# HELP vllm:prompt_tokens_created Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_created gauge
vllm:prompt_tokens_created{engine="0",model_name="qwen"} 1.7588e+09
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="qwen"} 30.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="qwen"} 3.0
vllm:request_success_total{engine="0",finished_reason="abort",model_name="qwen"} 1.0
vllm:request_prompt_tokens_bucket{engine="0",le="1.0",model_name="qwen"} 0.0
process_start_time_seconds 1.79564e+09
"""


def read(url: str, kind: str = "vllm", secret: str = "", deadlines: Deadlines = PATIENT) -> Counters:
    async def run() -> Counters:
        try:
            return await read_counters(EngineFacts(1, "e", kind, url, secret, ""), Clock(deadlines))
        finally:
            await close_http()

    return asyncio.run(run())


def test_vllms_counters_are_summed_over_its_inner_engines_and_reasons_for_each_model() -> None:
    found = parse_counters(VLLM_PAGE, FAMILIES["vllm"])
    assert found == Counters(
        models={"qwen": Tally(12_345_680, 30, 4), 'a "b", {c}': Tally(7, 0, 0)},
        process="1795640000.00",
        started_at=1_795_640_000.0,
    )


def test_llama_cpps_prompt_has_its_cached_tokens_where_it_counts_them() -> None:
    page = "llamacpp:prompt_tokens_total 35\nllamacpp:tokens_predicted_total 24\n"
    (new,) = (parse_counters(page + "llamacpp:prompt_tokens_cached_total 25\n", FAMILIES["llamacpp"], process="7"),)
    old = parse_counters(page, FAMILIES["llamacpp"])
    assert (new.models, new.cached, new.process) == ({"": Tally(60, 24, None)}, True, "7")
    assert (old.models, old.cached, old.process) == ({"": Tally(35, 24, None)}, False, "")


def test_llama_cpps_rounding_is_known() -> None:
    page = "llamacpp:prompt_tokens_total 1.23457e+06\nllamacpp:tokens_predicted_total 999999\n"
    assert parse_counters(page, FAMILIES["llamacpp"]).grain == 10
    page = "llamacpp:prompt_tokens_total 1.23457e+09\nllamacpp:tokens_predicted_total 1e+06\n"
    assert parse_counters(page, FAMILIES["llamacpp"]).grain == 10_010


def test_an_engine_of_no_known_make_may_have_anybodys_counters_and_other_names_are_passed_over() -> None:
    page = (
        'go_threads 4\nsglang:prompt_tokens_total{model_name="m",is_streaming="1"} 4\n'
        'sglang:generation_tokens_total{model_name="m"} 2\nsglang:num_requests_total{model_name="m"} 1\n'
    )
    assert parse_counters(page, FAMILIES["openai"]).models == {"m": Tally(4, 2, 1)}
    with pytest.raises(NoCounters):
        parse_counters(page, FAMILIES["vllm"])


@pytest.mark.parametrize(
    ("shown", "kind", "error"),
    [
        ("401", "vllm", NoCounters),
        ("404", "openai", NoCounters),
        ("501", "llamacpp", NoCounters),
        ("503", "vllm", Unavailable),
        ("500", "llamacpp", Unavailable),
        ("unknown", "openai", NoCounters),
        ("html", "openai", NoCounters),
        ("garbage", "vllm", UnreadableAnswer),
        ("nan", "vllm", UnreadableAnswer),
        ("negative", "vllm", UnreadableAnswer),
        ("vast", "vllm", UnreadableAnswer),
        ("huge", "vllm", UnreadableAnswer),
        ("slow", "vllm", EngineTimeout),
    ],
)
def test_a_page_without_counters_is_told_apart_from_one_that_cannot_be_read(
    shown: str, kind: str, error: type[Exception]
) -> None:
    with FaultEngine() as engine:
        engine.count_as(shown)
        with pytest.raises(error) as caught:
            read(engine.url, kind, deadlines=HASTY if error is EngineTimeout else PATIENT)
    assert type(caught.value) is error


def test_an_engine_that_is_down_and_one_that_wants_another_key() -> None:
    with FaultEngine(secret="sk-right") as engine:
        engine.count_as("vllm")
        with pytest.raises(NoCounters, match="this gateway's key"):
            read(engine.url, secret="sk-wrong")
        assert read(engine.url, secret="sk-right").models == {'served "name"': Tally(0, 0, 0)}
        url = engine.url
    with pytest.raises(Unavailable):
        read(url)


def test_the_page_lies_beside_v1_whatever_stands_before_it() -> None:
    with FaultEngine() as engine:
        engine.count_as("vllm")
        with pytest.raises(NoCounters):
            read(f"{engine.url}/behind/a/proxy")
        assert [one.path for one in engine.requests] == ["/behind/a/proxy/metrics"]


NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 25, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def known(at: datetime, tokens: int, process: str = "one") -> Known:
    return Known(at, "http://a", process, {"m": Tally(tokens, tokens, tokens)})


def counters(tokens: int, process: str = "one", started: datetime | None = None) -> Counters:
    tally = Tally(tokens, tokens, tokens)
    return Counters({"m": tally}, process=process, started_at=started.timestamp() if started else None)


def risen(before: Known | None, now: Counters, at: datetime, url: str = "http://a") -> Increase:
    return increase(before, now, at=at, url=url)


def test_the_first_reading_is_where_counting_begins() -> None:
    (part,) = parts(risen(None, counters(500), NOON))
    assert (part.models, part.lost_seconds) == ({"m": Tally(0, 0, 0)}, 0)


def test_what_was_counted_while_nobody_read_is_still_in_the_counter() -> None:
    (part,) = parts(risen(known(NOON, 500), counters(800), NOON + 180 * MINUTE))
    assert (part.models, part.lost_seconds, part.spread_seconds) == ({"m": Tally(300, 300, 300)}, 0, 0)


def test_a_counter_that_fell_has_begun_again_and_what_came_before_is_lost() -> None:
    found = risen(known(NOON, 500, ""), counters(20, ""), NOON + MINUTE)
    (part,) = parts(found)
    assert found.restarted
    assert (part.models, part.lost_seconds) == ({"m": Tally(20, 20, 20)}, 60)


def test_another_process_is_a_restart_even_when_its_counters_are_higher_already() -> None:
    start = NOON + timedelta(seconds=40)
    (part,) = parts(risen(known(NOON, 500), counters(800, "two", start), NOON + MINUTE))
    assert (part.models, part.lost_seconds) == ({"m": Tally(800, 800, 800)}, 40)


def test_another_address_has_other_counters() -> None:
    (part,) = parts(risen(known(NOON, 500), counters(900), NOON + MINUTE, url="http://b"))
    assert (part.models, part.lost_seconds) == ({"m": Tally(0, 0, 0)}, 60)


def test_a_reading_just_after_midnight_belongs_to_the_day_before() -> None:
    before, after = parts(
        risen(known(MIDNIGHT - 59 * timedelta(seconds=1), 0), counters(600), MIDNIGHT + timedelta(seconds=1))
    )
    assert (before.day, before.models) == (date(2026, 11, 24), {"m": Tally(590, 590, 590)})
    assert (after.day, after.models) == (date(2026, 11, 25), {"m": Tally(10, 10, 10)})
    assert (before.end, after.begin) == (MIDNIGHT, MIDNIGHT)
    assert before.spread_seconds == after.spread_seconds == 0


def test_a_long_time_without_reading_over_midnight_is_shared_out_by_time_and_says_so() -> None:
    found = parts(risen(known(MIDNIGHT - 60 * MINUTE, 0), counters(100), MIDNIGHT + 180 * MINUTE))
    assert [part.models["m"].prompt for part in found] == [25, 75]
    assert [part.spread_seconds for part in found] == [3600, 10800]


def test_of_a_restart_over_midnight_each_day_loses_its_own_part() -> None:
    start = MIDNIGHT + 30 * MINUTE
    found = parts(risen(known(MIDNIGHT - 10 * MINUTE, 900), counters(6, "two", start), MIDNIGHT + 31 * MINUTE))
    assert [(part.lost_seconds, part.models["m"].prompt) for part in found] == [(600, 0), (1800, 6)]


def test_a_reading_at_midnight_itself_begins_no_new_day() -> None:
    (part,) = parts(risen(known(MIDNIGHT - MINUTE, 0), counters(5), MIDNIGHT))
    assert part.day == date(2026, 11, 24)


@given(seconds=st.integers(0, 10 * 86_400), prompt=st.integers(0, 10**9), requests=st.none() | st.integers(0, 10**6))
def test_no_token_is_won_or_lost_by_sharing_out(seconds: int, prompt: int, requests: int | None) -> None:
    end = NOON + timedelta(seconds=seconds)
    found = parts(Increase(NOON, end, NOON, NOON, {"m": Tally(prompt, prompt // 3, requests)}))
    shares = [part.models["m"] for part in found]
    assert sum(share.prompt for share in shares) == prompt
    assert sum(share.completion for share in shares) == prompt // 3
    assert [share.requests is None for share in shares] == [requests is None] * len(shares)
    assert sum(share.requests or 0 for share in shares) == (requests or 0)
    assert all(min(share.prompt, share.completion, share.requests or 0) >= 0 for share in shares)


def test_however_often_it_is_read_a_process_comes_to_what_its_counter_says() -> None:
    dice = random.Random(5)
    last, total, value, at = known(NOON, 0), 0, 0, NOON
    for _ in range(400):
        value, at = value + dice.randrange(50), at + timedelta(seconds=dice.choice([1, 60, 60, 4000]))
        total += sum(part.models["m"].prompt for part in parts(risen(last, counters(value), at)))
        last = known(at, value)
    assert total == value
