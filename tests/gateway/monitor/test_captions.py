"""The monitor in words: what an operator reads first, and each engine's state."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from gateway.models import Engine, ServedModel
from gateway.monitor.board import EngineNow, Picture, Rates, Spools, look_now, picture
from gateway.monitor.captions import engine_look, number, verdict, words
from gateway.monitor.pulse import Flow, Heart
from gateway.monitor.watching import Watchers
from tests.gateway.monitor.test_pulse import A_PROCESS

NOW = datetime(2026, 11, 26, 14, 40, 5, tzinfo=UTC)
SEEN = Engine(name="gpu", seen_at=NOW)


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    with translation.override("en"):
        yield


def engine_now(engine: Engine = SEEN, **more: Any) -> EngineNow:
    given: dict[str, Any] = {"rates": Rates(), "answered_at": None, "out_in": 0, "rests_in": 0, "seen_by": 2, **more}
    return EngineNow(engine=engine, **given)


def seen(**changed: Any) -> Picture:
    whole = picture([A_PROCESS], [], [], dead_letters=0, database_ms=1.0)
    return replace(whole, **{"engines": (engine_now(),), **changed})


@pytest.mark.parametrize(
    ("changed", "look", "said"),
    [
        ({}, "good", "Everything works."),
        ({"waiting": 3}, "warn", "3 calls wait for their turn."),
        ({"processes": (replace(A_PROCESS, draining=True),)}, "warn", "A process is stopping."),
        ({"dead_letters": 1}, "warn", "Records do not come to the log."),
        ({"spools": Spools(put_aside=1)}, "warn", "Records do not come to the log."),
        ({"spools": Spools(lag=301.0)}, "warn", "Records do not come to the log."),
        ({"spools": Spools(full=1)}, "bad", "A disk is full: ends of calls go straight to the log."),
        ({"engines": (engine_now(out_in=2),), "waiting": 3}, "bad", "One engine does not work: gpu."),
        ({"processes": ()}, "bad", "No web process tells of itself."),
    ],
)
def test_what_matters_most_is_said_first(changed: dict[str, Any], look: str, said: str) -> None:
    cell = verdict(seen(**changed))
    assert (cell.look, cell.text) == (look, said)


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (engine_now(), ("good", "Works", "")),
        (engine_now(Engine(name="gpu")), ("off", "Not looked at yet", "")),
        (engine_now(Engine(name="gpu", enabled=False, problem="x")), ("off", "Switched off", "")),
        (
            engine_now(Engine(name="gpu", problem="The engine cannot be reached.")),
            ("bad", "Not working", "The engine cannot be reached."),
        ),
        (engine_now(out_in=2), ("bad", "Not asked", "Several calls in a row found it silent or away.")),
        (engine_now(out_in=1, rests_in=1), ("warn", "Asked last", "1 of 2 processes")),
        (engine_now(rests_in=1, seen_by=1), ("warn", "Asked last", "1 of 2 processes")),
        (engine_now(seen_by=0), ("good", "Works", "")),
    ],
)
def test_an_engines_state_in_words(one: EngineNow, told: tuple[str, str, str]) -> None:
    assert engine_look(one, 2) == told


@pytest.mark.parametrize(
    ("value", "said"), [(0.0, "0"), (0.04, "0"), (0.26, "0.3"), (9.94, "9.9"), (52.6, "53"), (12_345.6, "12,346")]
)
def test_rates_have_two_figures(value: float, said: str) -> None:
    assert number(value) == said


@pytest.mark.django_db
def test_without_the_database_the_process_tells_of_itself_and_keeps_the_rows() -> None:
    engine = Engine.objects.create(name="gpu", type="openai", url="http://127.0.0.1:1")
    ServedModel.objects.create(engine=engine, public_id="llama", engine_model="llama")
    watchers = Watchers()
    watchers.picture = look_now()
    alone = watchers._alone()
    assert alone.database_ms is None
    assert [one.model for one in alone.models] == ["llama"]
    assert [row.key for row in words(alone).engines] == ["gpu"]
    assert len(alone.processes) == 1
    assert verdict(alone).look == "bad"
    assert words(alone).backstage[0][1].text == "does not answer"


@pytest.mark.django_db
def test_a_look_asks_as_often_for_three_of_everything_as_for_one() -> None:
    asked = []
    for count in (1, 3):
        engine = Engine.objects.create(name=f"gpu-{count}", type="openai", url="http://127.0.0.1:1")
        for place in range(count):
            name = f"llama-{count}-{place}"
            ServedModel.objects.create(engine=engine, public_id=name, engine_model="llama")
            Heart()._tell(replace(A_PROCESS, pid=10 * count + place, flows=(Flow(name, engine.name, ended=1),)))
        with CaptureQueriesContext(connection) as queries:
            words(look_now())
        asked.append(len(queries))
    assert asked == [5, 5]
