"""What a web process tells of itself, and what the pulses of several come to."""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from gateway import lanes, measures
from gateway.measures import FIRST_TOKEN, quantile
from gateway.models import Engine, Pulse
from gateway.monitor import pulse
from gateway.monitor.board import look_now
from gateway.monitor.pulse import Flow, Heart, SpoolTold, Told, fresh, parsed
from tests.gateway.conftest import Api

HOLD = "fault:ok?n=40&hold=20"


@pytest.fixture
def heart(api: Api) -> Heart:
    """One that looked before anything was asked; each look after that is a later one."""
    api.serve(HOLD)
    measures.forget()
    found = Heart()
    told(api, found)
    return found


def told(api: Api, heart: Heart) -> Told:
    async def look() -> Told:
        return heart.told()

    return api.run(look())


@pytest.fixture
def caller() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as found:
        yield found


def tell(heart: Heart, said: Told) -> None:
    heart._tell(said)


def test_ended_calls_are_told_by_model_and_engine_with_those_that_failed(api: Api, heart: Heart) -> None:
    api.stream("fault:ok")
    api.chat("fault:ok")
    api.stream("fault:rst")
    flows = {flow.model: flow for flow in told(api, heart).flows}
    ok, broken = flows["fault:ok"], flows["fault:rst"]
    assert (ok.engine, ok.ended, ok.minute, ok.failed, ok.running) == ("fault", 2, 2, 0, 0)
    assert sum(ok.ttft) == 1, "the answer in one piece has no first token"
    assert ok.tokens_per_second > 0
    assert (broken.ended, broken.failed) == (1, 1)


def test_tokens_of_an_answer_that_is_being_written_count_already(
    api: Api, heart: Heart, caller: ThreadPoolExecutor
) -> None:
    asked = caller.submit(api.stream, HOLD)
    api.engine.wait_for(lambda: bool(api.engine.completions()) and api.engine.completions()[-1].deltas == 20)
    api.engine.wait_for(lambda: any(flow.tokens_per_second for flow in told(api, heart).flows))
    (flow,) = told(api, heart).flows
    assert (flow.running, flow.ended, told(api, heart).calls) == (1, 0, 1)
    api.engine.completions()[-1].released = True
    assert asked.result().done
    (flow,) = told(api, heart).flows
    assert (flow.running, flow.ended) == (0, 1)


def test_calls_that_wait_for_a_place_are_told_by_model(api: Api, heart: Heart, caller: ThreadPoolExecutor) -> None:
    Engine.objects.update(max_concurrent=1)
    api.reload()
    calls = [caller.submit(api.stream, HOLD)]
    api.engine.wait_for(lambda: bool(api.engine.completions()))
    calls.append(caller.submit(api.stream, HOLD))
    api.engine.wait_for(lambda: lanes.waiting() == 1)
    said = told(api, heart)
    assert said.waiting == {HOLD: 1}
    assert [(one.name, one.running) for one in said.engines] == [("fault", 1)]
    for number in (0, 1):
        api.engine.wait_for(lambda number=number: len(api.engine.completions()) > number)
        api.engine.completions()[number].released = True
    assert [call.result().done for call in calls] == [True, True]


def test_what_lies_longer_back_than_five_minutes_is_not_told(api: Api, heart: Heart) -> None:
    api.chat()
    assert [flow.ended for flow in told(api, heart).flows] == [1]
    for place, sample in enumerate(heart._samples):
        heart._samples[place] = replace(sample, at=sample.at - 400)
    told(api, heart)  # takes a sample of its own, since the last is so old
    assert told(api, heart).flows == ()


def test_looking_each_second_keeps_no_more_than_looking_each_five(api: Api, heart: Heart) -> None:
    for _ in range(20):
        told(api, heart)
    assert len(heart._samples) == 1


A_PROCESS = Told(machine="a", pid=1, began_at="2026-11-26T00:00:00+00:00", draining=False, calls=0)
SPOOL = SpoolTold(depth=3, writable=True, root="/data/spool", files=2, size=10, put_aside=1, lag=0.5)


def flow(model: str = "llama", **more: object) -> Flow:
    return Flow(model=model, engine="gpu", **more)  # type: ignore[arg-type]  # a Flow's own words


@pytest.mark.django_db
def test_the_pulses_of_a_fleet_add_up() -> None:
    engine = Engine.objects.create(name="gpu", type="openai", url="http://127.0.0.1:1")
    ttft = tuple(10 if place == 9 else 0 for place in range(len(FIRST_TOKEN) + 1))
    first = flow(running=2, minute=30, ended=100, failed=1, tokens_per_second=50.0, ttft=ttft)
    second = flow(running=1, minute=10, ended=50, failed=2, tokens_per_second=25.5, ttft=ttft)
    tell(Heart(), replace(A_PROCESS, calls=3, waiting={"llama": 1}, flows=(first,), line=(1.0,) * 60))
    tell(Heart(), replace(A_PROCESS, pid=2, calls=1, waiting={"llama": 4}, flows=(second,), line=(2.0,)))
    seen = look_now()
    assert [told.pid for told in seen.processes] == [1, 2]
    (model,) = seen.models
    assert (model.model, model.waiting, model.served) == ("llama", 5, False)
    assert (model.rates.running, model.rates.minute, model.rates.tokens_per_second) == (3, 40, 75.5)
    assert (model.rates.ended, model.rates.failed, model.rates.error_share) == (150, 3, 0.02)
    assert model.rates.first_token == pytest.approx(0.25 + 0.25 * 0.95)
    assert seen.total == model.rates
    assert (seen.waiting, seen.line[-1], seen.line[0]) == (5, 3.0, 1.0)
    assert [(one.engine, one.rates.ended) for one in seen.engines] == [(engine, 150)]


@pytest.mark.django_db
def test_a_folder_that_processes_of_a_machine_share_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for pid, machine in ((1, "a"), (2, "a"), (3, "b")):
        monkeypatch.setattr(pulse, "_spool", lambda pid=pid: replace(SPOOL, lag=float(pid)))
        tell(Heart(), replace(A_PROCESS, pid=pid, machine=machine))
    spools = look_now().spools
    assert (spools.depth, spools.put_aside, spools.lag, spools.full) == (9, 2, 3.0, 0)


@pytest.mark.django_db
def test_a_silent_process_is_not_counted_and_forgotten_later() -> None:
    for pid in (1, 2, 3):
        tell(Heart(), replace(A_PROCESS, pid=pid))
    silent, gone = Pulse.objects.order_by("told__pid")[:2]
    Pulse.objects.filter(pk=silent.pk).update(at=timezone.now() - pulse.STALE - timedelta(seconds=1))
    Pulse.objects.filter(pk=gone.pk).update(at=timezone.now() - pulse.FORGOTTEN - timedelta(seconds=1))
    assert [told.pid for told in fresh()] == [3]
    assert Pulse.objects.count() == 3
    tell(Heart(), replace(A_PROCESS, pid=4))
    assert sorted(row.told["pid"] for row in Pulse.objects.all()) == [1, 3, 4]


@pytest.mark.django_db
def test_a_process_has_one_row_in_a_table_that_is_not_logged() -> None:
    own = Heart()
    for calls in (1, 2):
        tell(own, replace(A_PROCESS, calls=calls))
    assert [told.calls for told in fresh()] == [2]
    with connection.cursor() as cursor:
        cursor.execute("SELECT relpersistence FROM pg_class WHERE relname = 'gateway_pulse'")
        assert cursor.fetchone() == ("u",)


@pytest.mark.django_db
def test_what_another_version_tells_is_passed_over() -> None:
    Pulse.objects.create(process=uuid.uuid4(), told={"machine": "new", "colour": "green"})
    tell(Heart(), A_PROCESS)
    assert [told.machine for told in fresh()] == ["a"]
    assert parsed({}) is None


def test_a_pulse_is_read_as_it_was_written() -> None:
    said = replace(A_PROCESS, flows=(flow(ttft=(1, 2)),), spool=SPOOL, waiting={"llama": 1}, line=(0.5,))
    assert parsed(json.loads(json.dumps(asdict(said)))) == said


def test_a_quantile_lies_inside_its_bucket() -> None:
    assert quantile((1.0, 2.0, 4.0), [0, 10, 0, 0], 0.5) == 1.5
    assert quantile((1.0, 2.0, 4.0), [5, 0, 5, 0], 0.95) == pytest.approx(3.8)
    assert quantile((1.0, 2.0, 4.0), [0, 0, 0, 3], 0.95) == 4.0
    assert quantile((1.0, 2.0), [0, 0, 0], 0.95) is None
