"""What this web process tells of itself every few seconds, and each second while somebody watches.

The road of a call pays nothing for it: the numbers are what `measures`, `running` and `lanes` hold anyway, and rates
are differences between looks at them. One row a process in an unlogged table; the monitor adds them up.
"""

import asyncio
import logging
import os
import platform
from collections import Counter, deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import psycopg
from django.db import Error as DatabaseError
from django.db import connection
from django.db.models.functions import Now

from accounts.database import in_database
from billing.alarms import Spooled, spooled
from billing.errors import SpoolUnavailable
from billing.spool.shipper import spool_root
from billing.spool.writer import spool
from gateway import health, lanes, measures, running
from gateway.engines.facts import EngineFacts
from gateway.measures import SoFar
from gateway.models import Pulse
from gateway.running import Call
from gateway.snapshot import holder

EVERY = 5.0  # seconds between two pulses
WATCHED = 1.0  # while somebody watches
WATCHED_FOR = 15.0  # seconds after the last word that somebody does
STALE = timedelta(seconds=15)  # a process that was silent for longer is not counted
FORGOTTEN = timedelta(minutes=2)
LAST_WORDS = 1.0  # seconds to take back the row at the end

SHORT = 10.0  # seconds over which tokens a second are taken
MINUTE = 60.0
LONG = 300.0  # over which errors and the first token are told
STEP = 5.0  # seconds between two points of the line

CHANNEL = "tertulia_watched"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Flow:
    """Of one model at one engine. `ended`, `failed` and `ttft` (counts by measures.FIRST_TOKEN): of the last LONG."""

    model: str
    engine: str
    running: int = 0
    minute: int = 0  # calls that ended in the last minute
    ended: int = 0
    failed: int = 0
    tokens_per_second: float = 0.0
    ttft: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineSeen:
    """An engine as this process sees it. `answered`: seconds since it last answered a call; None: not yet."""

    name: str
    running: int
    out: bool
    rests: bool
    failures: int
    answered: float | None


@dataclass(frozen=True, slots=True)
class SpoolTold:
    """Of this process, and (but for the first two) of its machine's folder."""

    depth: int
    writable: bool
    root: str
    files: int
    size: int
    put_aside: int
    lag: float


@dataclass(frozen=True, slots=True)
class Told:
    """One pulse. `line`: tokens a second at each STEP of the last LONG, oldest first."""

    machine: str  # its host name: for operators alone
    pid: int
    began_at: str
    draining: bool
    calls: int
    waiting: dict[str, int] = field(default_factory=dict)  # by model
    flows: tuple[Flow, ...] = ()
    engines: tuple[EngineSeen, ...] = ()
    spool: SpoolTold | None = None
    line: tuple[float, ...] = ()


def parsed(found: Any) -> Told | None:
    """None for what another version of Tertulia says."""
    try:
        spool_told = SpoolTold(**found["spool"]) if found["spool"] else None
        flows = tuple(Flow(**{**flow, "ttft": tuple(flow["ttft"])}) for flow in found["flows"])
        engines = tuple(EngineSeen(**engine) for engine in found["engines"])
        whole = {**found, "flows": flows, "engines": engines, "spool": spool_told, "line": tuple(found["line"])}
        return Told(**whole)
    except (TypeError, KeyError):
        return None


type _Key = tuple[str, str]  # model, engine


@dataclass(frozen=True, slots=True)
class _Sample:
    """`made`: completion tokens, those of answers that are being written among them."""

    at: float
    so_far: dict[_Key, SoFar]
    made: dict[_Key, float]


class Heart:
    """The pulse of this process."""

    def __init__(self) -> None:
        self.process: UUID = uuid4()
        self._began_at = datetime.now(UTC)
        self._samples: deque[_Sample] = deque()
        self._watched_until = 0.0
        self._woken = asyncio.Event()

    def watched(self, _payload: str = "") -> None:
        """Somebody watches, in this process or another. Called in the event loop."""
        if monotonic() > self._watched_until:
            self._woken.set()
        self._watched_until = monotonic() + WATCHED_FOR

    async def beat(self) -> None:
        """Tells until cancelled. While PostgreSQL is away it looks on, and waits for nobody to hear it."""
        self._woken = asyncio.Event()  # of this loop
        while True:
            told = self.told()
            if holder.fresh:
                with suppress(DatabaseError, psycopg.Error):
                    await in_database(self._tell, told)
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCHED if monotonic() < self._watched_until else EVERY):
                    await self._woken.wait()

    async def stop(self) -> None:
        with suppress(DatabaseError, psycopg.Error, TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await in_database(Pulse.objects.filter(process=self.process).delete)

    def told(self) -> Told:
        """Looks, in the event loop. The spool's part is added by `_tell`, in a thread: it looks at folders."""
        calls = running.running()
        now = self._look(calls)
        return Told(
            machine=platform.node(),
            pid=os.getpid(),
            began_at=self._began_at.isoformat(timespec="seconds"),
            draining=running.drain_flag.is_set(),
            calls=len(calls),
            waiting=dict(lanes.waiting_by_model()),
            flows=tuple(self._flows(now, calls)),
            engines=tuple(map(_seen, sorted(holder.engines(), key=lambda engine: engine.name))),
            line=tuple(self._line(now)),
        )

    def _look(self, calls: Collection[Call]) -> _Sample:
        """Kept is one for each STEP of the last LONG, however often we look."""
        now = _sample(calls)
        if not self._samples or now.at - self._samples[-1].at >= STEP - WATCHED / 2:
            self._samples.append(now)
        while self._samples[0].at < now.at - LONG - STEP:
            self._samples.popleft()
        return now

    def _flows(self, now: _Sample, calls: Collection[Call]) -> list[Flow]:
        short, minute, long = (self._ago(now, seconds) for seconds in (SHORT, MINUTE, LONG))
        busy = Counter(_key(call) for call in calls if call.engine is not None)
        flows = []
        for key in sorted(now.made.keys() | busy.keys()):
            then, new, nothing = long.so_far.get(key), now.so_far.get(key), SoFar()
            new, then = new or nothing, then or nothing
            flow = Flow(
                *key,
                running=busy[key],
                minute=new.ended - minute.so_far.get(key, nothing).ended,
                ended=new.ended - then.ended,
                failed=new.failed - then.failed,
                tokens_per_second=round(_rate(now, short, key), 2),
                ttft=tuple(later - sooner for later, sooner in zip(new.ttft.counts, then.ttft.counts, strict=True)),
            )
            if flow.running or flow.ended or flow.tokens_per_second:
                flows.append(flow)
        return flows

    def _ago(self, now: _Sample, seconds: float) -> _Sample:
        """The sample of that time, or the first there is."""
        moment = now.at - seconds
        return next((one for one in reversed(self._samples) if one.at <= moment), self._samples[0])

    def _line(self, now: _Sample) -> list[float]:
        points = [self._ago(now, LONG - STEP * number) for number in range(int(LONG / STEP))] + [now]
        totals = [(one.at, sum(one.made.values())) for one in points]
        return [
            round(max(0.0, (later[1] - sooner[1]) / (later[0] - sooner[0])), 2) if later[0] > sooner[0] else 0.0
            for sooner, later in pairwise(totals)
        ]

    def _tell(self, told: Told) -> None:
        words = {**asdict(told), "spool": asdict(found) if (found := _spool()) else None}
        Pulse.objects.bulk_create(
            [Pulse(process=self.process, told=words, at=Now())],
            update_conflicts=True,
            unique_fields=["process"],
            update_fields=["told", "at"],
        )
        Pulse.objects.filter(at__lt=Now() - FORGOTTEN).delete()


heart = Heart()


def say_watched() -> None:
    """Tells every web process that somebody watches."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])


def fresh() -> list[Told]:
    """The last pulses of all processes that live, those that began first before the others."""
    rows = Pulse.objects.filter(at__gt=Now() - STALE).values_list("told", flat=True)
    found = [told for told in map(parsed, rows) if told is not None]
    return sorted(found, key=lambda told: (told.began_at, told.machine, told.pid))


def _sample(calls: Collection[Call]) -> _Sample:
    so_far = measures.so_far()
    made: Counter[_Key] = Counter()
    for key, sums in so_far.items():
        made[key] += int(sums.completion_tokens)
    for call in calls:
        if call.meter is not None and call.engine is not None:
            made[_key(call)] += call.meter.deltas
    return _Sample(monotonic(), so_far, dict(made))


def _key(call: Call) -> _Key:
    return call.model, call.engine.name if call.engine else ""


def _rate(now: _Sample, then: _Sample, key: _Key) -> float:
    """Never negative: an engine's own count may be below the pieces that were counted while they came."""
    seconds = now.at - then.at
    return max(0.0, now.made.get(key, 0) - then.made.get(key, 0)) / seconds if seconds else 0.0


def _seen(engine: EngineFacts) -> EngineSeen:
    state = health.state(engine)
    ago = monotonic() - state.answered_at
    return EngineSeen(
        name=engine.name,
        running=lanes.running(engine.id),
        out=health.is_out(engine),
        rests=health.rests(engine),
        failures=state.failures,
        answered=round(ago, 1) if ago != float("inf") else None,
    )


def _spool() -> SpoolTold | None:
    try:
        own = spool()
    except SpoolUnavailable:
        return None
    root = spool_root()
    found: Spooled = spooled(root)
    return SpoolTold(
        own.depth, own.writable, str(root), found.files, found.size, found.put_aside, round(max(0.0, found.lag), 1)
    )
