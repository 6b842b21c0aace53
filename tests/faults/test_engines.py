"""Engines that die, hang, drip, lie and babble: what the caller hears, and what the log says of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.faults.callers import Seen, Way
from tests.faults.cast import ENGINE_SECRET, TWIN, ailing
from tests.faults.rig import Rig, Stage, until
from tests.faults.toxic import Blackhole, Refusing

DEADLINES = {"FIRST_BYTE": "1", "BETWEEN_BYTES": "0.8", "TOTAL": "3", "CONNECT": "1"}
PRIVATE = (ENGINE_SECRET.encode(), b"10.1.2.3", b"9999")  # what the engine's errors tell of itself
UP_TO_THE_CLOCK = -1  # tokens: as many as came until a deadline


@dataclass(frozen=True)
class Play:
    """What an engine does, and what must come of it. `heard`: the answer's status and the code of its error."""

    says: str
    heard: tuple[int, str | None]
    outcome: str
    tokens: int
    source: str
    stream: bool = True
    anomaly: str = ""
    spec: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.says.removeprefix('fault:')}{'' if self.stream else ' whole'}"


def whole(says: str, tokens: int, source: str, *spec: str, anomaly: str = "") -> Play:
    return Play(says, (200, None), "ok", tokens, source, anomaly=anomaly, spec=spec)


def broken(says: str, code: str, outcome: str, tokens: int, *spec: str) -> Play:
    """A stream that had begun."""
    return Play(says, (200, code), outcome, tokens, "counted", spec=spec)


def refused(says: str, status: int, code: str, outcome: str, *spec: str, stream: bool = True) -> Play:
    """Nothing had come, and nothing is counted."""
    return Play(says, (status, code), outcome, 0, "none", stream, spec=spec)


PLAYS = (
    broken("fault:rst?after=7&gap=20", "bad_gateway", "upstream_error", 7, "F03", "R04"),
    broken("fault:cut?after=7", "bad_gateway", "upstream_error", 7, "F03"),
    broken("fault:eof?after=7", "bad_gateway", "upstream_error", 7, "F03"),
    broken("fault:error-late?after=7", "bad_gateway", "upstream_error", 7, "F03"),
    refused("fault:hang", 504, "timeout", "upstream_timeout", "F04", "R05"),
    refused("fault:hang", 504, "timeout", "upstream_timeout", "F04", "R05", stream=False),
    refused("fault:hang-headers", 504, "timeout", "upstream_timeout", "F04"),
    broken("fault:stall?after=7", "timeout", "upstream_timeout", 7, "F05"),
    broken("fault:comments?after=3", "timeout", "upstream_timeout", 3, "F05"),
    broken("fault:drip?n=100&gap=440", "timeout", "upstream_timeout", UP_TO_THE_CLOCK, "F05", "R06"),
    refused("fault:bytes?gap=300", 504, "timeout", "upstream_timeout", "F05", "R06"),
    whole("fault:malformed", 20, "upstream", "F06"),
    broken("fault:malformed?bad=30", "bad_gateway", "bad_upstream", 3, "F06"),
    whole("fault:nousage", 20, "counted", "F07", "R08"),
    whole("fault:usage-twice", 20, "upstream", "F08", "R08"),
    whole("fault:usage-each", 20, "upstream", "F08", "R08"),
    whole("fault:usage-after-done", 20, "upstream", "F08"),
    whole("fault:usage-negative", 20, "counted", "F08", "R08", anomaly="usage_negative"),
    whole("fault:usage-huge", 20, "counted", "F08", anomaly="usage_huge"),
    whole("fault:usage-string", 20, "counted", "F08", anomaly="usage_type"),
    refused("fault:error200", 502, "bad_gateway", "upstream_error", "F09", "R09"),
    refused("fault:error200", 502, "bad_gateway", "upstream_error", "F09", "R09", stream=False),
    refused("fault:error-event", 502, "bad_gateway", "upstream_error", "F09"),
    refused("fault:429?retry=7", 429, "engine_busy", "upstream_error", "F10", "R10"),
    refused("fault:429?retry=7&form=date", 429, "engine_busy", "upstream_error", "F10", "R10"),
    refused("fault:status?code=401", 502, "bad_gateway", "upstream_error", "F11"),
    refused("fault:status?code=403", 502, "bad_gateway", "upstream_error", "F11"),
    refused("fault:status?code=500", 502, "bad_gateway", "upstream_error", "F11"),
    refused("fault:status?code=400", 400, "invalid_value", "upstream_error", "F11"),
    refused("fault:html", 502, "bad_gateway", "bad_upstream", "F12"),
    refused("fault:redirect", 502, "bad_gateway", "bad_upstream", "F12"),
    refused("fault:bomb", 502, "bad_gateway", "bad_upstream", "F13"),
    refused("fault:huge-line?mb=40", 502, "bad_gateway", "bad_upstream", "F13", "R19"),
    refused("fault:huge-body?mb=40", 502, "bad_gateway", "bad_upstream", "F13", stream=False),
    refused("fault:refuse", 502, "bad_gateway", "upstream_error", "F03"),
)  # fmt: skip


@pytest.fixture(scope="module")
def evening(stage: Stage, kind: str) -> Iterator["Evening"]:
    """All plays at once, each on an engine of its own, so that none suffers for another."""
    with stage.rig(kind, **DEADLINES) as rig:
        ways = [Way(play.says, model=ailing(place), stream=play.stream) for place, play in enumerate(PLAYS)]
        yield Evening(rig, dict(zip(PLAYS, rig.calls(ways), strict=True)))


@dataclass
class Evening:
    rig: Rig
    seen: dict[Play, Seen]

    def count(self, play: Play) -> int:
        return sum(1 for other in self.seen if other == play)


@pytest.mark.parametrize(
    "play", [pytest.param(play, marks=pytest.mark.spec(*play.spec), id=play.name) for play in PLAYS]
)
def test_what_an_engine_does_is_told_and_written_down(evening: Evening, play: Play) -> None:
    seen, row = evening.seen[play], evening.rig.row(evening.seen[play])
    exchange = evening.rig.exchange(seen)
    assert exchange is not None
    tokens = exchange.deltas if play.tokens == UP_TO_THE_CLOCK else play.tokens
    assert (seen.status, seen.error.get("code")) == play.heard
    assert (row["outcome"], row["completion_tokens"], row["completion_source"]) == (play.outcome, tokens, play.source)
    assert (row["anomaly"], seen.whole) == (play.anomaly, play.outcome == "ok")
    assert row["status"] == seen.status or seen.status == 200
    assert [private for private in PRIVATE if private in seen.body] == []
    if play.source == "none":
        assert row["prompt_tokens"] == 0
    if play.outcome == "upstream_timeout":
        assert seen.seconds < float(DEADLINES["TOTAL"]) + 1
    if seen.status == 429:
        assert 1 <= int(seen.headers["retry-after"]) <= 7


@pytest.mark.spec("F03", "F10", "R10")
def test_another_engine_answers_for_one_that_cannot_be_reached(stage: Stage, kind: str) -> None:
    with stage.rig(kind, **DEADLINES) as rig:
        rig.second_relay.toxic = Refusing()
        ways = [Way("fault:drip?n=10&gap=20", model=TWIN, stream=place % 2 == 0) for place in range(8)]
        seen = rig.calls(ways)
        assert [one.status for one in seen] == [200] * 8
        assert {rig.row(one)["engine"] for one in seen} == {"first"}
        rig.second_relay.toxic = None
        until(lambda: rig.row(rig.call(model=TWIN))["engine"] == "second", "the engine was never asked again")


@pytest.mark.spec("F03", "R04")
def test_streams_through_a_connection_that_is_reset_end_with_an_error(stage: Stage, kind: str) -> None:
    with stage.rig(kind, **DEADLINES) as rig:
        running = [rig.begin(Way("fault:drip?n=200&gap=20")) for _ in range(5)]
        until(lambda: all(one.seen.deltas > 5 for one in running), "the streams never began")
        rig.engine_relay.reset()
        seen = [one.result() for one in running]
        assert [(one.whole, one.error["type"]) for one in seen] == [(False, "upstream_error")] * 5
        assert [rig.row(one)["outcome"] for one in seen] == ["upstream_error"] * 5


@pytest.mark.slow
@pytest.mark.spec("F04", "F05", "R05")
def test_a_network_that_swallows_everything_is_a_timeout_and_not_for_ever(stage: Stage, kind: str) -> None:
    with stage.rig(kind, **DEADLINES) as rig:
        running = rig.begin(Way("fault:drip?n=400&gap=20"))
        until(lambda: running.seen.deltas > 5, "the stream never began")
        rig.engine_relay.toxic = Blackhole()
        late = rig.call()
        cut = running.result()
        rig.engine_relay.toxic = None
        assert (cut.error["code"], rig.row(cut)["outcome"]) == ("timeout", "upstream_timeout")
        assert (late.status, late.error["code"]) == (504, "timeout")
        until(lambda: rig.call().status == 200, "the engine was never asked again")
