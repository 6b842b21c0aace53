"""Windows: how each counts, when it has room again, and that a refused call counts in none of them."""

import asyncio
import random
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from billing.errors import LimitReached
from billing.limits import counters as counting
from billing.limits.counters import Counters, Sliding
from billing.limits.limiter import Limiter, Taken
from billing.limits.windows import Bounds, Days, Rules, Standing, Subject
from billing.records import NOTHING, Counts

MONDAY = datetime(2026, 11, 23, 12, 0, 0, tzinfo=ZoneInfo("UTC")).timestamp()


class Clock:
    """The wall's clock, which may be set, and the monotonic one, which only ever goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.beat = MONDAY, 1000.0
        monkeypatch.setattr(counting, "time", lambda: self.wall)
        monkeypatch.setattr(counting, "monotonic", lambda: self.beat)

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.beat += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def subject(name: str = "key/1", zone: str = "UTC", **bounds: int) -> Subject:
    kind = name.partition("/")[0]
    return Subject(kind, name, 1, 1, 1, Bounds(**bounds).rules(), Days(zone))  # type: ignore[arg-type]


def passed(counters: Counters, whose: list[Subject], calls: int, processes: int = 1) -> int:
    return sum(counters.take(whose, processes)[1] is None for _ in range(calls))


async def take(limiter: Limiter, *whose: Subject) -> Taken | LimitReached:
    try:
        return await limiter.take(whose)
    except LimitReached as error:
        return error


def counts(prompt: int, completion: int) -> Counts:
    return NOTHING._replace(prompt_tokens=prompt, completion_tokens=completion)


def used(counters: Counters, whose: Subject) -> list[int]:
    return [standing.used for standing in counters.standings([whose])]


@pytest.mark.spec("U4")
def test_a_minute_of_requests_slides(clock: Clock) -> None:
    counters, whose = Counters(), [subject(requests_per_minute=60)]
    assert passed(counters, whose, 200) == 60
    clock.pass_by(59.9)
    assert passed(counters, whose, 10) == 0
    clock.pass_by(30.1)  # half of those sixty lie within the last minute still
    assert passed(counters, whose, 200) == 30
    clock.pass_by(120)
    assert passed(counters, whose, 200) == 60


@pytest.mark.spec("U5")
def test_what_the_wait_of_a_minute_says_is_when_the_next_fits(clock: Clock) -> None:
    chance = random.Random(5)
    for _ in range(200):
        counters, limit = Counters(), chance.randint(1, 40)
        whose = [subject(requests_per_minute=limit)]
        for _ in range(chance.randint(1, 5)):
            passed(counters, whose, chance.randint(1, 2 * limit))
            clock.pass_by(chance.random() * 70)
        passed(counters, whose, 3 * limit)
        _, full = counters.take(whose)
        assert full
        clock.pass_by(full.wait - 0.001)
        assert counters.take(whose)[1] is not None
        clock.pass_by(0.002)
        assert counters.take(whose)[1] is None
        clock.pass_by(1000)


@pytest.mark.spec("U4")
def test_tokens_are_counted_when_a_call_has_ended(clock: Clock) -> None:
    counters, whose = Counters(), [subject(tokens_per_minute=100, output_tokens_per_hour=50, tokens_per_day=300)]
    assert passed(counters, whose, 3) == 3
    counters.charge(whose, 90, 20)
    assert passed(counters, whose, 1) == 1
    counters.charge(whose, 90, 20)
    standings, full = counters.take(whose)
    assert full
    assert (full.standing.rule.window.name, full.wait) == ("tokens-per-minute", 60)
    assert [one.used for one in standings] == [180, 40, 180]
    clock.pass_by(60)
    counters.charge(whose, 20, 20)
    _, full = counters.take(whose)
    assert full
    assert (full.standing.rule.window.name, full.wait) == ("output-tokens-per-hour", 3540)
    clock.pass_by(3540)
    assert used(counters, whose[0]) == [0, 0, 200]
    counters.charge(whose, 99, 1)
    clock.pass_by(60)
    counters.charge(whose, 1, 1)
    _, full = counters.take(whose)
    assert full
    assert full.standing.rule.window.name == "tokens-per-day"
    assert full.wait == 11 * 3600 - 60  # from 13:01 to the midnight of UTC


@pytest.mark.spec("U4")
@pytest.mark.parametrize(("zone", "hours"), [("UTC", 12), ("Europe/Madrid", 11), ("America/Mexico_City", 18)])
def test_a_day_is_the_teams_own(clock: Clock, zone: str, hours: int) -> None:
    counters, whose = Counters(), [subject(zone=zone, requests_per_day=2)]
    assert passed(counters, whose, 5) == 2
    standings, full = counters.take(whose)
    assert full
    assert (full.wait, standings[0].reset) == (hours * 3600, MONDAY + hours * 3600)
    clock.pass_by(hours * 3600 - 1)
    assert passed(counters, whose, 1) == 0
    clock.pass_by(1)
    assert passed(counters, whose, 5) == 2


def test_a_day_on_which_the_clocks_change_is_as_long_as_it_is() -> None:
    days = Days("Europe/Madrid")
    for date, hours in (((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 11, 25), 24)):
        noon = datetime(*date, 12, tzinfo=ZoneInfo("Europe/Madrid"))
        begin, end, _ = days.ends(noon.timestamp())
        assert (end - begin) / 3600 == hours
        assert begin == noon.replace(hour=0).timestamp()


@pytest.mark.spec("U4")
def test_requests_at_once_are_let_go_when_they_end(clock: Clock) -> None:
    counters, whose = Counters(), [subject(concurrent_requests=2)]
    assert passed(counters, whose, 5) == 2
    counters.let_go(whose)
    assert passed(counters, whose, 5) == 1
    clock.pass_by(86_400)
    assert passed(counters, whose, 5) == 0


@pytest.mark.spec("U4")
def test_a_refused_call_counts_in_no_window_of_anybody(clock: Clock) -> None:
    every = {
        "requests_per_minute": 9, "requests_per_day": 9, "tokens_per_minute": 9, "concurrent_requests": 9,
    }  # fmt: skip
    team, key, member = subject("team/1", **every), subject("key/1", **every), subject("member/1/1", requests_per_day=1)
    counters = Counters()
    assert passed(counters, [team, key, member], 4) == 1
    assert [used(counters, one) for one in (team, key, member)] == [[1, 1, 0, 1], [1, 1, 0, 1], [1]]
    _, full = counters.take([team, key, member])
    assert full
    assert full.standing.subject == member


@pytest.mark.spec("U4")
def test_a_call_that_money_refused_was_never_there(clock: Clock) -> None:
    every = {"requests_per_minute": 9, "requests_per_day": 9, "concurrent_requests": 9}
    limiter, whose = Limiter(), [subject(**every)]
    taken = asyncio.run(limiter.take(whose))
    assert used(limiter.counters, whose[0]) == [1, 1, 1]
    taken.undo()
    assert used(limiter.counters, whose[0]) == [0, 0, 0]


@pytest.mark.spec("U4")
def test_limits_that_change_keep_what_was_used(clock: Clock) -> None:
    counters = Counters()
    assert passed(counters, [subject(requests_per_minute=5)], 9) == 5
    assert passed(counters, [subject(requests_per_minute=7)], 9) == 2
    assert passed(counters, [subject(requests_per_minute=3)], 9) == 0
    assert counters.standings([subject(requests_per_minute=3)])[0].remaining == 0


@pytest.mark.spec("F23")
@pytest.mark.parametrize("step", [-3600, 3600, -86_400, 86_400, -60, 60, -1])
def test_a_clock_that_steps_locks_nobody_out_and_owes_nobody_anything(clock: Clock, step: int) -> None:
    whose = [subject(requests_per_minute=5, tokens_per_minute=50, output_tokens_per_hour=50, requests_per_day=50)]
    counters = Counters()
    assert passed(counters, whose, 9) == 5
    counters.charge(whose, 20, 20)
    clock.wall += step
    found = counters.standings(whose)
    assert all(0 <= one.used <= one.limit and one.remaining <= one.limit for one in found)
    assert all(0 < one.reset - clock.wall <= 90_000 for one in found)
    _, full = counters.take(whose)  # the minute of requests does not know the wall's clock
    assert full
    assert 0 <= full.wait <= 60
    clock.pass_by(120)
    assert passed(counters, whose, 9) == 5


@pytest.mark.spec("F32", "R15")
@pytest.mark.parametrize("workers", [2, 4, 7])
def test_a_process_of_a_fleet_lets_in_its_share(clock: Clock, workers: int) -> None:
    whose = [subject(requests_per_minute=60, concurrent_requests=2)]
    fleet = [Counters() for _ in range(workers)]
    whose = [subject(requests_per_minute=60)]
    assert sum(passed(one, whose, 200, workers) for one in fleet) == 60 // workers * workers <= 60
    assert {one.standings(whose, workers)[0].remaining for one in fleet} == {0}
    assert passed(Counters(), [subject(concurrent_requests=2)], 9, workers) == max(1, 2 // workers)


def test_who_has_no_limit_is_asked_nothing() -> None:
    rules = Rules({7: subject("team/7")}, {}, {(7, 3): subject("member/7/3")})
    assert rules.of(8, 1, 2) == ()
    assert [one.name for one in rules.of(7, 1, 2)] == ["team/7"]
    assert [one.name for one in rules.of(7, None, 3)] == ["team/7", "member/7/3"]


@pytest.mark.spec("F32")
def test_at_random_no_window_is_ever_exceeded_and_nothing_is_left_behind(clock: Clock) -> None:
    """Calls of two keys of a team that begin, end, are refused and are taken back in any order."""
    chance = random.Random(11)
    limiter = Limiter()
    team = subject("team/1", requests_per_minute=40, concurrent_requests=6)
    each = [subject(f"key/{number}", requests_per_day=300, concurrent_requests=4) for number in (1, 2)]

    async def calls() -> int:
        running, let_in = [], 0
        for _ in range(3000):
            clock.pass_by(chance.random())
            found = await take(limiter, team, chance.choice(each))
            if isinstance(found, LimitReached):
                assert (found.full.remaining, found.wait >= 0) == (0, True)
            else:
                running.append(found)
                let_in += 1
            assert all(one.used <= one.limit for one in limiter.counters.standings([team, *each]))
            while running and chance.random() < 0.5:
                taken = running.pop(chance.randrange(len(running)))
                if chance.random() < 0.1:
                    taken.undo()
                else:
                    taken.settle(counts(3, 4))
        for taken in running:
            taken.settle(NOTHING)
        return let_in

    assert asyncio.run(calls()) > 500
    assert [one.used for one in limiter.counters.standings([team, *each]) if not one.rule.window.span] == [0, 0, 0]


def test_the_end_of_a_minute_lies_ahead() -> None:
    sliding = Sliding()
    for now in (0.5, 59, 61, 500):
        sliding.turn(now)
        sliding.current += 1
        assert now < sliding.end(now) <= now + 60


@pytest.fixture
def standing() -> Standing:
    whose = subject(requests_per_minute=4)
    return Standing(whose, whose.rules[0], 5, 0)


def test_nothing_is_left_where_more_was_used_than_may_be(standing: Standing) -> None:
    assert standing.remaining == 0
