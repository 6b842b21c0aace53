"""The accounts against the engines' own counters: readings, and the sums of both sides by engine and day of UTC.

The only writer of their tables. `gateway.reconciliation.comparison` reads them.
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import transaction
from django.db.models import Min
from django.utils import timezone

from billing.ledger.engines import sums_by_engine, sums_by_platform_day
from gateway.engines.client import close_http
from gateway.engines.clock import Clock, Deadlines
from gateway.engines.counters import FAMILIES, Counters, Tally, read_counters
from gateway.engines.facts import EngineFacts
from gateway.errors import GatewayError, NoCounters, UnreadableAnswer
from gateway.models import CountedDay, CounterReading, Engine, LoggedDay, SummedDay
from gateway.reconciliation.increases import Known, Part, increase, parts
from gateway.snapshot import engine_facts

logger = logging.getLogger(__name__)

EVERY = 60  # seconds between readings
ASK_AGAIN = timedelta(hours=1)  # an engine that has no counters, or a page that is not theirs
LOOK = Deadlines(connect=2, first=5, between=5, total=10)
DAYS = 31  # whose sums are kept in step with the log

type Found = tuple[Counters | GatewayError, datetime]


def reconcile(*, everything: bool = False) -> None:
    """Reads the engines' counters, then brings the log's sums up to date, so that both are of the same moment.

    `everything`: engines without counters are asked too, not only once in an hour.
    """
    now = timezone.now()
    rows = Engine.objects.filter(enabled=True, type__in=FAMILIES).select_related("reading").order_by("pk")
    engines = [engine for engine in rows if everything or _is_due(engine, now)]
    for engine, (found, at) in zip(engines, asyncio.run(_read(map(engine_facts, engines))), strict=True):
        if isinstance(found, Counters):
            note_counters(engine=engine, counters=found, at=at)
        else:
            note_problem(engine=engine, error=found, at=at)
    sum_days(now.astimezone(UTC).date())


@transaction.atomic
def note_counters(*, engine: Engine, counters: Counters, at: datetime) -> None:
    """Adds to the engine's days what its counters rose by since the last reading. An older reading changes nothing."""
    CounterReading.objects.get_or_create(engine=engine, defaults={"tried_at": at})
    reading = CounterReading.objects.select_for_update().get(engine=engine)
    if reading.read_at is not None and reading.read_at >= at:
        return
    found = increase(_known(reading), counters, at=at, url=engine.url)
    if found.restarted:
        logger.info("Engine %s has started anew; its counters began again", engine.name)
    days = parts(found)
    for part in days:
        _add(engine, part, counters, restarts=int(found.restarted and part is days[-1]))
    reading.tried_at, reading.problem, reading.has_none = at, "", False
    reading.url, reading.read_at, reading.process = engine.url, at, counters.process
    reading.counters = {
        model: [tally.prompt, tally.completion, tally.requests] for model, tally in counters.models.items()
    }
    reading.save()


@transaction.atomic
def note_problem(*, engine: Engine, error: GatewayError, at: datetime) -> None:
    """What was read before is kept: once the engine can be read again, nothing is missing but what a restart took."""
    has_none = isinstance(error, NoCounters | UnreadableAnswer)
    noted = {"tried_at": at, "problem": error.message[:500], "has_none": has_none}
    CounterReading.objects.update_or_create(engine=engine, defaults=noted)


def sum_days(today: date) -> None:
    """Makes the log's sums by engine anew for the days whose log has changed, and once a day for all that are shown.

    The roll-ups tell which have changed: they grow in the transaction that writes the log. A late row of a closed
    month is booked on another day than its own, so it is the daily round that finds it.
    """
    days = [today - timedelta(days=back) for back in range(DAYS)]
    begins = _first_readings(days[-1])
    marks = _marks(days, today, begins)
    known = dict(SummedDay.objects.filter(day__in=days).values_list("day", "mark"))
    for day in days:
        if known.get(day) != marks[day]:
            _sum_day(day, begins.get(day, {}), marks[day])


def _is_due(engine: Engine, now: datetime) -> bool:
    reading: CounterReading | None = getattr(engine, "reading", None)
    return reading is None or not reading.has_none or now - reading.tried_at >= ASK_AGAIN


async def _read(engines: Iterable[EngineFacts]) -> list[Found]:
    try:
        return await asyncio.gather(*map(_read_one, engines))
    finally:
        await close_http()


async def _read_one(engine: EngineFacts) -> Found:
    try:
        found: Counters | GatewayError = await read_counters(engine, Clock(LOOK))
    except GatewayError as error:
        found = error
    return found, timezone.now()


def _known(reading: CounterReading) -> Known | None:
    if reading.read_at is None:
        return None
    models = {model: Tally(*numbers) for model, numbers in reading.counters.items()}
    return Known(reading.read_at, reading.url, reading.process, models)


def _add(engine: Engine, part: Part, counters: Counters, *, restarts: int) -> None:
    """The reading's row is locked, so nobody else adds to this engine's days."""
    for model, tally in part.models.items():
        row, _ = CountedDay.objects.get_or_create(
            day=part.day, engine=engine.name, model=model, defaults={"begins_at": part.begin, "ends_at": part.end}
        )
        row.prompt_tokens += tally.prompt
        row.completion_tokens += tally.completion
        if tally.requests is not None:
            row.requests = (row.requests or 0) + tally.requests
        row.ends_at = max(row.ends_at, part.end)
        row.with_cached, row.grain = counters.cached, max(row.grain, counters.grain)
        row.restarts += restarts
        row.lost_seconds += part.lost_seconds
        row.spread_seconds += part.spread_seconds
        row.save()


type Begins = dict[date, dict[str, datetime]]  # day → engine → its first reading


def _first_readings(first: date) -> Begins:
    """Of days on which an engine was read for the first time, or again after it had not been for days."""
    found: Begins = {}
    rows = CountedDay.objects.filter(day__gte=first).values("day", "engine").annotate(since=Min("begins_at"))
    for row in rows:
        if row["since"] > _midnight(row["day"]):
            found.setdefault(row["day"], {})[row["engine"]] = row["since"]
    return found


def _marks(days: list[date], today: date, begins: Begins) -> dict[date, str]:
    zone = ZoneInfo(settings.TIME_ZONE)
    one = timedelta(days=1)
    booked = sums_by_platform_day(days[-1] - one, days[0] + one)

    def mark(day: date) -> str:
        last = _midnight(day + one) - timedelta(microseconds=1)
        touched = sorted({_midnight(day).astimezone(zone).date(), last.astimezone(zone).date()})
        said: list[Any] = [today, [booked.get(one) for one in touched], sorted(begins.get(day, {}).items())]
        return hashlib.sha256(repr(said).encode()).hexdigest()

    return {day: mark(day) for day in days}


@transaction.atomic
def _sum_day(day: date, since: Mapping[str, datetime], mark: str) -> None:
    sums = sums_by_engine(begin=_midnight(day), end=_midnight(day + timedelta(days=1)), since=since)
    for engine, found in sums.items():
        numbers = {name: getattr(found, name) for name in found.__slots__}
        LoggedDay.objects.update_or_create(day=day, engine=engine, defaults=numbers)
    SummedDay.objects.update_or_create(day=day, defaults={"mark": mark})


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
