"""How much an engine's counters rose between two readings, and on which days of UTC. No Django here.

A counter that fell, or another process behind it, means that the engine started anew: what it shows has then been
counted since. What it counted between the last reading and its end is lost, and for how long at most is kept with the
day. Nothing is lost when nobody read for a while: the counter still holds it. Only what was counted over midnight has
then to be shared out by time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from gateway.engines.counters import Counters, Tally

LONG = timedelta(minutes=5)  # without a reading: shorter, the share of each day is right to some seconds' worth


@dataclass(frozen=True, slots=True)
class Known:
    """The last reading. `url`: where it was read."""

    at: datetime
    url: str
    process: str
    models: Mapping[str, Tally]


@dataclass(frozen=True, slots=True)
class Increase:
    """What was counted between `since` and `end`, of which nothing is known between `begin` and `lost_until`."""

    begin: datetime
    end: datetime
    since: datetime
    lost_until: datetime
    models: Mapping[str, Tally]
    restarted: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A day's part of an increase, with the seconds of it that are lost, or shared out over midnight by time."""

    day: date
    begin: datetime
    end: datetime
    models: Mapping[str, Tally]
    lost_seconds: int
    spread_seconds: int


def increase(known: Known | None, counters: Counters, *, at: datetime, url: str) -> Increase:
    """A first reading is where counting begins; at another address it begins anew."""
    nothing = {model: Tally(requests=tally.requests and 0) for model, tally in counters.models.items()}
    if known is None:
        return Increase(at, at, at, at, nothing)
    if known.url != url:
        return Increase(known.at, at, at, at, nothing)
    if _restarted(known, counters):
        started = _moment(counters.started_at)
        if started is not None and known.at < started < at:
            return Increase(known.at, at, started, started, counters.models, restarted=True)
        return Increase(known.at, at, known.at, at, counters.models, restarted=True)
    risen = {model: tally.minus(known.models.get(model, Tally())) for model, tally in counters.models.items()}
    return Increase(known.at, at, known.at, known.at, risen)


def parts(found: Increase) -> list[Part]:
    """By day. Their tokens add up to those of the whole."""
    days = list(_days(found.begin, found.end))
    counted = [_overlap(begin, end, found.since, found.end) for _, begin, end in days]
    spread = len(days) > 1 and found.end - found.since > LONG
    shares = {model: _shares(tally, counted) for model, tally in found.models.items()}
    return [
        Part(
            day,
            begin,
            end,
            {model: share[place] for model, share in shares.items()},
            lost_seconds=_seconds(_overlap(begin, end, found.begin, found.lost_until)),
            spread_seconds=_seconds(counted[place]) if spread else 0,
        )
        for place, (day, begin, end) in enumerate(days)
    ]


def _restarted(known: Known, counters: Counters) -> bool:
    if known.process and counters.process and known.process != counters.process:
        return True
    return any(tally.fell_below(known.models.get(model, Tally())) for model, tally in counters.models.items())


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _days(begin: datetime, end: datetime) -> Iterator[tuple[date, datetime, datetime]]:
    begin, end = begin.astimezone(UTC), end.astimezone(UTC)
    while True:
        midnight = datetime.combine(begin.date() + timedelta(days=1), time.min, UTC)
        yield begin.date(), begin, min(end, midnight)
        if end <= midnight:
            return
        begin = midnight


def _overlap(begin: datetime, end: datetime, first: datetime, last: datetime) -> timedelta:
    return max(min(end, last) - max(begin, first), timedelta())


def _shares(whole: Tally, lengths: list[timedelta]) -> list[Tally]:
    prompts, completions = _cut(whole.prompt, lengths), _cut(whole.completion, lengths)
    requests = [None] * len(lengths) if whole.requests is None else _cut(whole.requests, lengths)
    return [Tally(*one) for one in zip(prompts, completions, requests, strict=True)]


def _cut(number: int, lengths: list[timedelta]) -> list[int]:
    """The number in the proportions of these times, rounded so that nothing is gained or lost."""
    total = sum(lengths, timedelta())
    if not total:
        return [0] * (len(lengths) - 1) + [number]
    passed, before, found = timedelta(), 0, []
    for length in lengths:
        passed += length
        until = number * (passed // _TICK) // (total // _TICK)
        found.append(until - before)
        before = until
    return found


def _seconds(length: timedelta) -> int:
    """Begun seconds count: what may have been missed is not rounded away."""
    return -(-length // timedelta(seconds=1))


_TICK = timedelta(microseconds=1)
