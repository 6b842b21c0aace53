"""The accounts beside the engines' own counters: real calls through the gateway, and past it."""

import csv
import io
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Team, User
from billing.ids import _at
from billing.ledger.adjustments import adjust
from billing.ledger.log import ensure_partitions, write
from billing.records import Counts, Ended
from gateway.engines.counters import Counters, Tally
from gateway.models import CountedDay, CounterReading, Engine, LoggedDay
from gateway.reconciliation.comparison import ComparedDay, ComparedEngine, State, compare
from gateway.reconciliation.findings import span, summary, verdict
from gateway.reconciliation.readings import note_counters, reconcile, sum_days
from tests.billing.traffic import a_final, a_start, milliseconds
from tests.engines.faultd import FaultEngine
from tests.gateway.conftest import SECRET, Api

pytestmark = [pytest.mark.django_db(transaction=True)]


def one(name: str = "fault") -> ComparedEngine:
    """As if the day were over, and its counters had been read until then."""
    CountedDay.objects.update(ends_at=F("ends_at") + timedelta(days=1))
    tomorrow = timezone.now() + timedelta(days=1)
    try:
        return next(engine for engine in compare(now=tomorrow) if engine.name == name)
    finally:
        CountedDay.objects.update(ends_at=F("ends_at") - timedelta(days=1))


def today(name: str = "fault") -> ComparedDay:
    """The engine's day; calls that are made at midnight itself are nobody's test."""
    return one(name).days[0]


def notes(day: ComparedDay) -> tuple[str, ...]:
    return verdict(day, one(day.engine)).notes


def past_the_gateway(api: Api, model: str = "fault:ok?n=9") -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "direct"}]}
    httpx.post(
        f"{api.engine.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {SECRET}"}
    ).raise_for_status()


@pytest.mark.parametrize("whose", ["vllm", "llamacpp"])
def test_a_day_of_mixed_calls_is_equal_to_the_token(api: Api, whose: str) -> None:
    api.engine.count_as(whose)
    reconcile()
    api.serve("fault:ok?n=7", "fault:timings?n=5&cached=3", "fault:usage-each?n=4")
    for model in ("plain", "fault:ok?n=7"):
        assert api.stream(model).status == api.chat(model).status_code == 200
    assert api.stream("fault:usage-each?n=4").status == 200
    assert api.chat("fault:timings?n=5&cached=3").status_code == 200
    embeddings = {"model": "fault:embed", "input": ["two words", "and three more"]}
    assert api.client.post("/v1/embeddings", json=embeddings).status_code == 200
    assert api.chat("fault:status").status_code == 502  # answered nothing, counted nothing
    rows = api.rows(8)

    reconcile()

    assert len(rows) == 8
    day = today()
    assert (day.gap, day.state) == (0, State.EQUAL)
    assert day.counted.prompt == sum(row.prompt_tokens for row in rows) > 0
    assert day.counted.completion == sum(row.completion_tokens for row in rows) == 20 + 20 + 7 + 7 + 4 + 5
    assert day.counted.requests == (None if whose == "llamacpp" else 7)
    assert day.gateway.requests == 8
    assert summary(one()) == "The engine counted exactly what the accounts have."


def test_an_older_llama_cpp_is_compared_without_what_came_from_its_cache(api: Api) -> None:
    api.engine.count_as("llamacpp-old")
    reconcile()
    api.serve("fault:timings?n=5&cached=3")
    assert api.chat("fault:timings?n=5&cached=3").status_code == 200
    (row,) = api.rows(1)

    reconcile()

    day = today()
    assert (day.gap, day.cached_left_out, row.cached_tokens) == (0, 3, 3)
    assert day.gateway.prompt == row.prompt_tokens - 3
    assert notes(day) == ("Without 3 prompt tokens from its cache, which it does not count.",)


def test_calls_past_the_gateway_are_seen_and_marked_when_they_are_many(api: Api) -> None:
    api.engine.count_as("vllm")
    reconcile()
    assert api.chat().status_code == 200
    past_the_gateway(api)
    api.rows(1)
    reconcile()
    assert (today().gap, today().state) == (13, State.CLOSE)

    past_the_gateway(api, "fault:ok?n=2000")
    reconcile()

    assert (today().gap, today().state, today().notable) == (2017, State.MORE, True)
    assert notes(today()) == (
        "It answered 2 requests more than came through the gateway: it seems to be called directly.",
    )
    assert summary(one()).startswith("The engine counted 2,017 tokens more than the accounts have (99%).")


def test_what_an_engine_made_for_a_caller_who_left_is_a_gap_with_its_reason(api: Api) -> None:
    api.engine.count_as("llamacpp")
    reconcile()
    model = "fault:drip?n=400&gap=20&ahead=1500"
    api.serve(model)
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Hola"}]}
    with api.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert any("word3" in line for line in answer.iter_lines())
    row = api.row()
    api.engine.wait_for(lambda: api.engine.completions()[-1].closed_at is not None)

    reconcile()

    day = today()
    assert (row.outcome, row.completion_source) == ("client_gone", "counted")
    assert (day.guessed, day.state) == (row.prompt_tokens + row.completion_tokens, State.MORE)
    assert day.gap == day.counted.tokens - row.prompt_tokens - row.completion_tokens >= 1500
    assert notes(day) == (
        f"{day.guessed} tokens of the accounts are of answers that were cut: what never arrived is not in them.",
    )


def test_calls_from_before_the_first_reading_are_left_out_and_named(api: Api) -> None:
    assert api.chat().status_code == 200
    (row,) = api.rows(1)
    api.engine.count_as("vllm")
    reconcile()
    assert api.chat().status_code == 200
    api.rows(2)

    reconcile()

    day = today()
    assert (day.gap, day.gateway.requests, day.earlier_requests) == (0, 1, 1)
    assert day.earlier_tokens == row.prompt_tokens + row.completion_tokens
    assert "before that are left out" in notes(day)[0]


def test_a_restart_is_seen_and_what_was_read_before_it_stays_counted(api: Api) -> None:
    api.engine.count_as("vllm")
    reconcile()
    assert api.chat().status_code == 200
    api.rows(1)
    reconcile()

    api.engine.start_anew()
    assert api.chat().status_code == 200
    api.rows(2)
    reconcile()

    day = today()
    assert day.coverage is not None
    assert (day.gap, day.coverage.restarts) == (0, 1)
    assert notes(day)[0].startswith("1 restart; at most ")


def test_of_what_a_restart_took_the_gap_says_so(api: Api) -> None:
    api.engine.count_as("vllm")
    reconcile()
    api.serve("fault:ok?n=1500")
    assert api.chat("fault:ok?n=1500").status_code == 200
    api.rows(1)
    api.engine.start_anew()

    reconcile()

    assert (today().state, today().counted.tokens) == (State.FEWER, 0)
    assert notes(today())[0] == "It started anew, and what it counted before its end is lost."


def test_large_counters_that_llama_cpp_rounds_are_within_their_tolerance(api: Api) -> None:
    api.engine.count_as("llamacpp", before=4_000_000_000)
    reconcile()
    assert api.chat().status_code == 200
    api.rows(1)

    reconcile()

    day = today()
    assert day.coverage is not None
    assert (day.coverage.grain, day.tolerance, day.state) == (10_000, 10_000, State.CLOSE)
    assert notes(day) == ("It rounds its counters to 10,000 tokens.",)


def test_an_engine_without_counters_is_shown_by_its_answers(api: Api) -> None:
    api.serve("fault:nousage?n=6")
    assert api.chat().status_code == 200
    assert api.stream("fault:nousage?n=6").status == 200
    rows = api.rows(2)

    reconcile()

    day = today()
    guessed = sum(row.prompt_tokens + row.completion_tokens for row in rows if row.completion_source == "counted")
    assert (day.coverage, day.state, day.guessed) == (None, State.ANSWERS, guessed)
    assert day.gateway.tokens - day.counted.tokens == guessed > 0
    assert summary(one()) == "The engine shows no counters."


def test_ollama_has_none_and_is_not_asked(api: Api) -> None:
    api.offer("local", type="ollama", public="tiny", model="fault:ok?n=3")
    assert api.chat("tiny").status_code == 200
    api.rows(1)
    seen = [one.path for one in api.engine.requests]

    reconcile(everything=True)

    assert [one.path for one in api.engine.requests][len(seen) :] == ["/metrics"]  # the other engine's
    assert (today("local").state, today("local").gap) == (State.ANSWERS, 0)
    assert summary(one("local")).startswith("Ollama has no counters of its own")


def test_an_engine_without_counters_is_asked_again_only_after_an_hour_or_by_hand(api: Api) -> None:
    reconcile()
    reconcile()
    assert [one.path for one in api.engine.requests].count("/metrics") == 1
    reconcile(everything=True)
    assert [one.path for one in api.engine.requests].count("/metrics") == 2
    CounterReading.objects.update(tried_at=timezone.now() - timedelta(hours=1))
    api.engine.count_as("vllm")
    reconcile()
    reading = CounterReading.objects.get()
    assert (reading.has_none, reading.problem) == (False, "")


def test_an_engine_that_is_down_keeps_what_was_read_and_holds_up_no_other(api: Api) -> None:
    api.engine.count_as("vllm")
    with FaultEngine() as other:
        other.count_as("vllm")
        Engine.objects.create(name="other", type="vllm", url=other.url)
        reconcile()
    assert api.chat().status_code == 200
    api.rows(1)

    reconcile()

    reading = CounterReading.objects.get(engine__name="other")
    assert (reading.problem, reading.has_none, reading.read_at is None) == (
        "The engine cannot be reached.",
        False,
        False,
    )
    assert today().gap == 0


def test_two_names_for_one_address_are_told(api: Api) -> None:
    api.engine.count_as("vllm")
    api.offer("again", public="second")
    reconcile()
    api.serve("fault:ok?n=1500")
    assert api.chat("fault:ok?n=1500").status_code == 200
    api.rows(1)

    reconcile()

    assert today("fault").gap == 0
    assert today("again").state == State.MORE
    assert notes(today("again"))[0] == "fault has the same address: its counters have those calls too."


@pytest.fixture
def engine(db: None, red: Team) -> Engine:
    ensure_partitions()
    return Engine.objects.create(name="engine", type="vllm", url="http://127.0.0.1:9")


FIGURE = re.compile(r'<span class="value">([^<&]+)')
DAY = date(2026, 11, 20)
LATER = date(2026, 11, 25)
MORNING = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def counted(engine: Engine, *readings: tuple[datetime, int], process: str = "one") -> None:
    for at, tokens in readings:
        note_counters(engine=engine, counters=Counters({"m": Tally(tokens, 0, 0)}, process=process), at=at)


def logged(team: Team, at: datetime, tokens: int, *, duration_ms: int = 340, **changed: Any) -> None:
    ensure_partitions({at.date()})
    start = a_start(team.pk, at_ms=milliseconds(at), **changed)
    final = a_final(start.id, Counts(tokens, 0, "upstream", "upstream"))
    final = final._replace(duration_ms=duration_ms)
    assert write([Ended(start, final)]) == 1


def test_a_late_row_makes_its_days_sum_anew(engine: Engine, red: Team) -> None:
    logged(red, MORNING, 100)
    sum_days(LATER)
    logged(red, MORNING + timedelta(hours=1), 50)
    sum_days(LATER)
    logged(red, MORNING - timedelta(days=1), 7)
    sum_days(LATER)
    assert list(LoggedDay.objects.order_by("day").values_list("day", "prompt_tokens", "requests")) == [
        (DAY - timedelta(days=1), 7, 1),
        (DAY, 150, 2),
    ]


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu"])
def test_every_hour_of_a_day_of_utc_is_noticed_whatever_the_platforms_zone(
    engine: Engine, red: Team, settings: Any, zone: str
) -> None:
    settings.TIME_ZONE = zone
    midnight = datetime(2026, 11, 20, tzinfo=UTC)
    for number, minutes in enumerate([0, 1, 600, 780, 840, 1439], start=1):
        logged(red, midnight + timedelta(minutes=minutes), 1)
        sum_days(LATER)
        assert LoggedDay.objects.get(day=DAY).requests == number


def test_a_row_that_was_booked_on_another_day_is_found_by_the_daily_round(engine: Engine, red: Team) -> None:
    logged(red, MORNING, 100)
    sum_days(LATER)
    with connection.cursor() as cursor:  # as a late row of a closed month: no sum of its own day moves
        cursor.execute("UPDATE billing_usage SET prompt_tokens = 900")
    sum_days(LATER)
    assert LoggedDay.objects.get(day=DAY).prompt_tokens == 100
    sum_days(LATER + timedelta(days=1))
    assert LoggedDay.objects.get(day=DAY).prompt_tokens == 900


def test_a_correction_is_no_call_of_the_day_on_which_it_is_made(engine: Engine, red: Team) -> None:
    last_week, today = timezone.now() - timedelta(days=7), timezone.now().date()
    request = _at(milliseconds(last_week)).id
    logged(red, last_week, 100, id=request)
    adjust(request_id=request, prompt_tokens=30, reason="A test's", by=None)
    sum_days(today)
    assert list(LoggedDay.objects.values_list("day", "requests", "prompt_tokens", "earlier_tokens")) == [
        (last_week.date(), 1, 100, 0)
    ]


def test_calls_over_midnight_are_a_tolerance(engine: Engine, red: Team) -> None:
    counted(engine, (MORNING - timedelta(days=1), 0), (MORNING + timedelta(days=1), 0))
    logged(red, datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC), 5000, duration_ms=60_000)
    logged(red, datetime(2026, 11, 20, 23, 0, tzinfo=UTC), 400, duration_ms=60_000)
    sum_days(LATER)
    (found,) = compare(now=datetime(2026, 11, 25, tzinfo=UTC))
    day = next(day for day in found.days if day.day == DAY)
    assert (day.gap, day.crossing, day.state) == (-5400, 5000, State.CLOSE)


def test_an_older_reading_that_comes_late_changes_nothing(engine: Engine) -> None:
    counted(engine, (MORNING, 100), (MORNING + timedelta(minutes=2), 300), (MORNING + timedelta(minutes=1), 200))
    row = CountedDay.objects.get()
    assert (row.prompt_tokens, row.restarts) == (200, 0)


def test_counters_of_several_processes_at_one_address_are_not_compared(engine: Engine) -> None:
    for number in range(30):
        counted(engine, (MORNING + timedelta(minutes=number), 100 * (number % 2)), process=str(number % 2))
    (found,) = compare(now=MORNING + timedelta(hours=1))
    assert (found.days[0].state, found.compared) == (State.UNSTEADY, ())
    assert verdict(found.days[0], found).notes[0].startswith("Its counters jump")


def test_a_day_that_is_not_over_is_not_marked(engine: Engine, red: Team) -> None:
    counted(engine, (MORNING, 0), (MORNING + timedelta(hours=1), 9000))
    logged(red, MORNING + timedelta(minutes=1), 100)
    sum_days(DAY)
    (found,) = compare(now=MORNING + timedelta(hours=1, minutes=1))
    assert (found.days[0].state, found.notable, found.gap) == (State.SO_FAR, (), 8900)
    counted(engine, (MORNING + timedelta(hours=16), 9000))
    (found,) = compare(now=MORNING + timedelta(hours=17))
    assert found.notable[0].state == State.MORE


def test_counters_that_were_not_read_to_the_end_are_not_held_against_the_whole_day(engine: Engine, red: Team) -> None:
    counted(engine, (MORNING, 0), (MORNING + timedelta(hours=1), 100))
    logged(red, MORNING + timedelta(minutes=1), 100)
    logged(red, MORNING + timedelta(hours=5), 7000)
    sum_days(LATER)
    (found,) = compare(now=datetime(2026, 11, 25, tzinfo=UTC))
    assert (found.days[0].state, found.compared, found.notable) == (State.PARTLY, (), ())
    assert verdict(found.days[0], found).notes == ("Its counters were read until 9 a.m. UTC.",)
    counted(engine, (datetime(2026, 11, 21, tzinfo=UTC), 7100))
    (found,) = compare(now=datetime(2026, 11, 25, tzinfo=UTC))
    day = next(day for day in found.days if day.day == DAY)
    assert (day.state, day.gap) == (State.EQUAL, 0)


def test_a_day_on_which_nobody_read_is_not_compared(engine: Engine, red: Team) -> None:
    logged(red, MORNING, 100)
    counted(engine, (MORNING + timedelta(days=1), 0))
    sum_days(LATER)
    (found,) = compare(now=datetime(2026, 11, 25, tzinfo=UTC))
    day = next(day for day in found.days if day.day == DAY)
    assert (day.state, found.compared) == (State.UNREAD, ())


def test_an_engine_that_was_renamed_or_removed_keeps_its_days(engine: Engine, red: Team) -> None:
    counted(engine, (MORNING, 0), (MORNING + timedelta(minutes=1), 10))
    logged(red, MORNING + timedelta(seconds=5), 10)
    engine.name = "new name"
    engine.save()
    counted(engine, (MORNING + timedelta(minutes=2), 30))
    sum_days(LATER)
    found = {one.name: one for one in compare(now=datetime(2026, 11, 25, tzinfo=UTC))}
    assert (found["engine"].engine, found["engine"].gap) == (None, 0)
    assert (found["new name"].engine, found["new name"].days[0].counted.tokens) == (engine, 20)
    engine.delete()
    names = [one.name for one in compare(now=datetime(2026, 11, 25, tzinfo=UTC))]
    assert names == ["engine", "new name"]


def test_the_page_and_the_file_show_both_sides(engine: Engine, red: Team, alice: User, client: Client) -> None:
    begin = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
    counted(engine, (begin, 0), (begin + timedelta(hours=23, minutes=59), 5000))
    logged(red, begin + timedelta(minutes=5), 1000)
    sum_days(timezone.now().astimezone(UTC).date())
    client.force_login(alice)

    page = client.get("/operator/reconciliation/").content.decode()
    assert FIGURE.findall(page) == ["1", "5", "+4,000", "1"]
    assert "with a gap above 1,000 tokens and 1%" in page
    assert "The engine counted 4,000 tokens more than the accounts have (80%)." in page
    assert '<span class="state warn">More at the engine</span>' in page
    (row,) = csv.DictReader(io.StringIO(client.get("/operator/reconciliation.csv").content.decode()))
    assert (row["engine"], row["state"], row["gap_tokens"], row["gap_part"]) == ("engine", "more", "4000", "0.800000")
    assert "+4,000" in client.get(f"/operator/engines/{engine.pk}/").content.decode()


def test_the_page_asks_as_often_for_three_engines_as_for_one(engine: Engine, alice: User, client: Client) -> None:
    client.force_login(alice)
    counted(engine, (timezone.now(), 0))
    client.get("/operator/reconciliation/")

    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get("/operator/reconciliation/").status_code == 200
        return len(queries)

    first = asked()
    for name in ("two", "three"):
        counted(Engine.objects.create(name=name, type="vllm", url=f"http://{name}"), (timezone.now(), 0))
    assert asked() == first


def test_the_command_reads_now_and_prints_the_table(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.engine.count_as("vllm")
    call_command("reconcile")
    assert api.chat().status_code == 200
    (row,) = api.rows(1)
    call_command("reconcile", "--days", "2")
    said = capsys.readouterr().out
    assert "fault: The engine counted exactly what the accounts have." in said
    assert f"{row.prompt_tokens + row.completion_tokens:>14,}" in said
    call_command("reconcile", "--format", "csv")
    assert capsys.readouterr().out.splitlines()[1].split(",")[3] == "equal"


@pytest.mark.parametrize(
    ("seconds", "said"), [(1, "1 s"), (119, "119 s"), (120, "2 min"), (7000, "117 min"), (7200, "2 h")]
)
def test_times_are_told_roughly(seconds: int, said: str) -> None:
    assert span(seconds) == said
