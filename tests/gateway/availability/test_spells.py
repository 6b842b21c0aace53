"""How each model stood: what a look finds, how it is kept, and what the bars of a strip are made of."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import translation

from gateway.availability.captions import availability, strip, strip_of_days, strip_of_half_hours
from gateway.availability.spells import KEPT, PLATFORM, SLOW_SECONDS, forget_old, note, note_states, states
from gateway.availability.standings import standings
from gateway.catalogue import add_engine
from gateway.jobs import probe_engines
from gateway.measures import FIRST_TOKEN
from gateway.models import Engine, Health, ServedModel, Spell
from gateway.monitor.pulse import EngineSeen, Flow, Heart, Told
from tests.engines.faultd import FaultEngine
from tests.gateway.monitor.test_pulse import A_PROCESS

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 26, 14, 40, 5, tzinfo=UTC)
SLOW_PLACE = next(place for place, bound in enumerate(FIRST_TOKEN) if bound > SLOW_SECONDS - 1)
WELL, ILL = Engine(name="gpu"), Engine(name="cpu", problem="The engine cannot be reached.")


def seen(name: str, *, out: bool) -> EngineSeen:
    return EngineSeen(name=name, running=0, out=out, rests=out, failures=3 * out, answered=None)


FEW_AND_BAD = Flow("llama", "gpu", ended=3, failed=3)


def told(*flows: Flow, engines: tuple[EngineSeen, ...] = ()) -> Told:
    return replace(A_PROCESS, flows=flows, engines=engines)


def waited(count: int, *, quick: int = 0) -> tuple[int, ...]:
    """Streams that waited very long, and quick ones."""
    return tuple(quick if place == 0 else count if place == len(FIRST_TOKEN) else 0 for place in range(17))


@pytest.mark.parametrize(
    ("engines", "processes", "state"),
    [
        ([WELL], [told()], Health.WORKS),
        ([WELL, ILL], [told()], Health.WORKS),
        ([ILL], [told()], Health.DOWN),
        ([WELL], [told(engines=(seen("gpu", out=True),))], Health.DOWN),
        ([WELL], [told(engines=(seen("gpu", out=True),)), told(engines=(seen("gpu", out=False),))], Health.WORKS),
        ([WELL], [told(Flow("llama", "gpu", ended=10, failed=5))], Health.DOWN),
        ([WELL], [told(Flow("llama", "gpu", ended=10, failed=1))], Health.SLOW),
        ([WELL], [told(Flow("llama", "gpu", ended=30, failed=2))], Health.WORKS),
        ([WELL], [told(Flow("llama", "gpu", ended=4, failed=4))], Health.WORKS),
        ([WELL], [told(FEW_AND_BAD), told(FEW_AND_BAD)], Health.DOWN),
        ([WELL], [told(Flow("llama", "gpu", ended=10, ttft=waited(6, quick=4)))], Health.SLOW),
        ([WELL], [told(Flow("llama", "gpu", ended=10, ttft=waited(4, quick=6)))], Health.WORKS),
        ([WELL], [told(Flow("other", "gpu", ended=10, failed=10))], Health.WORKS),
    ],
)  # fmt: skip
def test_what_a_look_finds(engines: list[Engine], processes: list[Told], state: Health) -> None:
    assert states({"llama": engines}, processes) == {PLATFORM: Health.WORKS, "llama": state}


def test_without_a_web_process_the_platform_is_down() -> None:
    assert states({}, []) == {PLATFORM: Health.DOWN}


def test_the_platform_is_down_only_when_no_process_was_heard_of_for_a_minute() -> None:
    for seconds in (0, 30, 70):
        note_states(now=NOW + timedelta(seconds=seconds))
    assert spells() == [("", "down", NOW + timedelta(seconds=70), NOW + timedelta(seconds=70))]
    Heart()._tell(A_PROCESS)
    note_states(now=NOW + timedelta(seconds=100))
    assert [state for _model, state, *_ in spells()] == ["down", "works"]


def spells() -> list[tuple[str, str, datetime, datetime]]:
    return list(Spell.objects.order_by("model", "begins_at").values_list("model", "state", "begins_at", "ends_at"))


def look(minutes: float, **found: Health) -> datetime:
    at = NOW + timedelta(minutes=minutes)
    note(found, now=at)
    return at


def test_a_state_that_lasts_is_one_spell_and_a_change_begins_another() -> None:
    first, _second, third, last = (
        look(0, llama=Health.WORKS),
        look(0.5, llama=Health.WORKS),
        look(1, llama=Health.DOWN),
        look(1.5, llama=Health.DOWN),
    )
    assert spells() == [("llama", "works", first, third), ("llama", "down", third, last)]


def test_a_time_in_which_nobody_looked_is_a_gap() -> None:
    first, last = look(0, llama=Health.WORKS), look(60, llama=Health.WORKS)
    assert spells() == [("llama", "works", first, first), ("llama", "works", last, last)]


def test_each_model_has_spells_of_its_own() -> None:
    first, second = look(0, llama=Health.WORKS, qwen=Health.WORKS), look(1, llama=Health.WORKS)
    assert spells() == [("llama", "works", first, second), ("qwen", "works", first, first)]


def test_two_looks_in_one_moment_or_a_clock_that_goes_back_break_nothing() -> None:
    first = look(0, llama=Health.WORKS)
    look(0, llama=Health.DOWN)
    look(-1, llama=Health.WORKS)
    assert ("llama", "works", first, first) in spells()


def test_a_look_costs_as_much_for_many_models(django_assert_num_queries: object) -> None:
    for count in (1, 3):
        found = {f"model {number}": Health.WORKS for number in range(count)}
        look(0, **found)
        with django_assert_num_queries(5):  # type: ignore[operator]  # pytest-django's fixture
            look(1, **found)


def test_what_is_older_than_three_months_is_forgotten() -> None:
    look(0, llama=Health.WORKS)
    Spell.objects.create(model="llama", state="down", begins_at=NOW - 2 * KEPT, ends_at=datetime.now(UTC) - KEPT * 1.01)
    forget_old()
    assert [state for _model, state, *_ in spells()] == ["works"]


def spell(state: Health, begin: timedelta, end: timedelta) -> None:
    """So long before now."""
    Spell.objects.create(model="llama", state=state, begins_at=NOW - begin, ends_at=NOW - end)


HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def test_shares_are_of_the_time_that_is_known() -> None:
    spell(Health.WORKS, 100 * HOUR, 20 * HOUR)
    spell(Health.SLOW, 20 * HOUR, 10 * HOUR)
    spell(Health.DOWN, 10 * HOUR, 9 * HOUR)
    spell(Health.WORKS, 9 * HOUR, timedelta())
    found = standings(["llama"], now=NOW)["llama"]
    assert (found.state, found.since) == (Health.WORKS, NOW - 9 * HOUR)
    assert (found.whole.works, found.whole.slow, found.whole.down) == (89 * HOUR, 10 * HOUR, 1 * HOUR)
    assert found.whole.available == 0.99
    assert [day.state for day in found.days].count(None) == 85
    assert [day.state for day in found.days][-5:] == [Health.WORKS] * 3 + [Health.SLOW, Health.DOWN]
    assert sum((day.known for day in found.days), timedelta()) == 100 * HOUR
    assert sum((one.known for one in found.half_hours), timedelta()) == 23 * HOUR + 40 * MINUTE + timedelta(seconds=5)


def test_a_moment_of_trouble_does_not_mark_a_bar_but_counts() -> None:
    spell(Health.WORKS, 20 * HOUR, 2 * MINUTE)
    spell(Health.DOWN, 2 * MINUTE, 1.5 * MINUTE)
    spell(Health.WORKS, 1.5 * MINUTE, timedelta())
    found = standings(["llama"], now=NOW)["llama"]
    assert found.days[-1].state == Health.WORKS
    assert found.whole.down == 0.5 * MINUTE
    assert found.outages == ()


def test_a_state_that_nobody_confirmed_lately_is_not_known() -> None:
    spell(Health.WORKS, HOUR, 10 * MINUTE)
    found = standings(["llama"], now=NOW)["llama"]
    assert (found.state, found.since) == (None, None)


def test_availability_is_never_rounded_up_to_all() -> None:
    spell(Health.WORKS, 80 * 24 * HOUR, MINUTE)
    spell(Health.DOWN, MINUTE, timedelta())
    found = standings(["llama", "unknown"], now=NOW)
    with translation.override("en"):
        assert availability(found["llama"].whole) == "99.99%"
        assert availability(found["unknown"].whole) == "–"
        assert strip_of_days(found["llama"]).said == (
            "Last 90 days: available 99.99% of the time that is known; down on 1 day."
        )
        assert strip_of_days(found["unknown"]).said == "Nothing is known of the last 90 days."
        assert strip_of_half_hours(found["llama"]).said == "Last 24 hours: down in 1 half hours, slow in 0."


def test_a_bar_says_its_state_by_height_too() -> None:
    spell(Health.WORKS, 50 * HOUR, 30 * HOUR)
    spell(Health.DOWN, 30 * HOUR, 14 * HOUR)
    spell(Health.SLOW, 14 * HOUR, timedelta())
    with translation.override("en"):
        bars = strip(standings(["llama"], now=NOW)["llama"].days, "").bars[-4:]
    assert [(bar.look, bar.y, bar.height) for bar in bars] == [
        ("none", 14, 2),
        ("up", 6, 10),
        ("down", 0, 16),
        ("down", 0, 16),
    ]
    assert bars[-1].title == "November 26: 95.44%, down 40 minutes, slow 14 hours"


def test_the_probe_notes_how_each_model_that_is_offered_stands() -> None:
    with FaultEngine(models=("plain",)) as running:
        well = add_engine(name="gpu", type="vllm", url=running.url)
        away = add_engine(name="away", type="openai", url="http://127.0.0.1:1")
        off = add_engine(name="off", type="openai", url=running.url)
        Engine.objects.filter(pk=off.pk).update(enabled=False)
        for engine, name in ((well, "llama"), (away, "qwen"), (well, "both"), (away, "both"), (off, "hidden")):
            ServedModel.objects.create(engine=engine, public_id=name, engine_model=name)
        Heart()._tell(A_PROCESS)
        probe_engines()
    assert {model: state for model, state, *_ in spells()} == {
        "": "works",
        "llama": "works",
        "qwen": "down",
        "both": "works",
    }


def test_the_demo_counts_only_while_it_is_alone() -> None:
    demo = add_engine(name="Demo", type="demo", url="", fallback=True)
    ServedModel.objects.create(engine=demo, public_id="demo", engine_model="demo")
    Heart()._tell(A_PROCESS)
    note_states()
    assert {model for model, *_ in spells()} == {"", "demo"}
    add_engine(name="gpu", type="openai", url="http://127.0.0.1:1")
    Spell.objects.all().delete()
    note_states()
    assert {model for model, *_ in spells()} == {""}


@pytest.mark.parametrize(
    ("kind", "version"), [("vllm", "0.11.0"), ("ollama", "0.0.1-fault"), ("llamacpp", "b7000"), ("openai", "")]
)
def test_an_engines_version_is_read_with_its_models(kind: str, version: str) -> None:
    with FaultEngine(models=("plain",)) as running:
        engine = add_engine(name="gpu", type=kind, url=running.url)
        probe_engines()
    engine.refresh_from_db()
    assert (engine.version, engine.problem) == (version, "")
