"""What the accounts and the engines' own counters say of the same days, side by side. Words: `findings`."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from django.db.models import BooleanField, Max, Min, Sum
from django.db.models.aggregates import Aggregate

from gateway.engines.counters import Tally
from gateway.models import CountedDay, CounterReading, Engine, LoggedDay
from gateway.reconciliation.increases import LONG

DAYS = 30  # that are shown
NOTABLE_TOKENS = 1000  # a gap is marked when it is above this …
NOTABLE_PART = 0.01  # … and above this share of the larger side
MANY_RESTARTS = 20  # in a day: not one process that restarts, but several behind one address, by turns


class State(StrEnum):
    EQUAL = "equal"
    CLOSE = "close"  # a gap that is not marked
    MORE = "more"  # at the engine
    FEWER = "fewer"
    UNSTEADY = "unsteady"  # its counters cannot be compared
    SO_FAR = "so far"  # a gap that would be marked if the day were over: what runs now is on one side only
    PARTLY = "partly"  # its counters were not read to the day's end
    UNREAD = "unread"  # it has counters, and nobody read them that day
    ANSWERS = "answers"  # it has none: its counts came with its answers


COMPARABLE = frozenset({State.EQUAL, State.CLOSE, State.MORE, State.FEWER, State.SO_FAR})


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was read of the engine's counters on a day."""

    begins_at: datetime
    ends_at: datetime
    restarts: int
    lost_seconds: int
    spread_seconds: int
    grain: int
    with_cached: bool
    models: tuple[tuple[str, Tally], ...]  # by the engine's own names


@dataclass(frozen=True, slots=True)
class ComparedDay:
    """One engine's day of UTC. Without `coverage`, `counted` is what came with its answers.

    `has_counters`: they were read on another day, at least.

    `gateway` has what can be compared: without calls from before the first reading (`earlier_…`), and without prompt
    tokens from the engine's cache (`cached_left_out`) where the engine does not count those.
    """

    day: date
    engine: str
    gateway: Tally
    counted: Tally
    coverage: Coverage | None
    has_counters: bool = True
    cached_left_out: int = 0
    guessed: int = 0
    crossing: int = 0
    earlier_requests: int = 0
    earlier_tokens: int = 0
    running: bool = False  # the day is not over
    unread_from: datetime | None = None  # its counters were not read from here on

    @property
    def gap(self) -> int:
        """In tokens; above zero when the engine counted more."""
        return self.counted.tokens - self.gateway.tokens

    @property
    def part(self) -> float:
        """The gap as a share of the larger side, between -1 and 1."""
        larger = max(self.counted.tokens, self.gateway.tokens)
        return self.gap / larger if larger else 0.0

    @property
    def tolerance(self) -> int:
        """Tokens that may differ and mean nothing: of calls over midnight, and of rounded counters."""
        return self.crossing + (self.coverage.grain if self.coverage else 0)

    @property
    def state(self) -> State:
        if self.coverage is None:
            return State.UNREAD if self.has_counters else State.ANSWERS
        if self.coverage.restarts > MANY_RESTARTS:
            return State.UNSTEADY
        if not self.gap:
            return State.EQUAL
        if self.unread_from is not None:
            return State.PARTLY
        beyond = abs(self.gap) - self.tolerance
        if beyond <= NOTABLE_TOKENS or abs(self.part) <= NOTABLE_PART:
            return State.CLOSE
        if self.running:
            return State.SO_FAR
        return State.MORE if self.gap > 0 else State.FEWER

    @property
    def notable(self) -> bool:
        return self.state in {State.MORE, State.FEWER, State.UNSTEADY}


@dataclass(frozen=True, slots=True)
class ComparedEngine:
    """An engine's days, the newest first. `engine` is None for one that is gone, or had another name then."""

    name: str
    engine: Engine | None
    reading: CounterReading | None
    neighbours: tuple[str, ...]  # other engines at the same address, whose calls its counters have too
    days: tuple[ComparedDay, ...]

    @property
    def compared(self) -> tuple[ComparedDay, ...]:
        """The days that have counters to compare with."""
        return tuple(day for day in self.days if day.state in COMPARABLE)

    @property
    def gateway(self) -> int:
        return sum(day.gateway.tokens for day in self.compared)

    @property
    def counted(self) -> int:
        return sum(day.counted.tokens for day in self.compared)

    @property
    def gap(self) -> int:
        return self.counted - self.gateway

    @property
    def notable(self) -> tuple[ComparedDay, ...]:
        return tuple(day for day in self.days if day.notable)

    @property
    def part(self) -> float:
        larger = max(self.counted, self.gateway)
        return abs(self.gap) / larger if larger else 0.0


def compare(*, now: datetime, days: int = DAYS, engine: Engine | None = None) -> list[ComparedEngine]:
    """All engines that were asked in these days, and those that are switched on; or the one.

    First those with marked days, then those that were asked, and by name.
    """
    today = now.astimezone(UTC).date()
    first = today - timedelta(days=days - 1)
    found: dict[str, dict[date, ComparedDay]] = {}
    only = {"engine": engine.name} if engine else {}
    counted = _counted(first, only)
    logged = {(row.engine, row.day): row for row in LoggedDay.objects.filter(day__gte=first, **only)}
    read = _ever_read()
    for name, day in sorted(counted.keys() | logged.keys()):
        one = _compared(name, day, logged.get((name, day)), counted.get((name, day)), now, name in read)
        if one is not None:
            found.setdefault(name, {})[day] = one
    return _by_engine(found, engine)


def _by_engine(found: dict[str, dict[date, ComparedDay]], only: Engine | None) -> list[ComparedEngine]:
    rows = {row.name: row for row in Engine.objects.select_related("reading").order_by("name")}
    wanted = {only.name} if only else found.keys() | {row.name for row in rows.values() if row.enabled}
    engines = [
        ComparedEngine(
            name=name,
            engine=(row := rows.get(name)),
            reading=getattr(row, "reading", None),
            neighbours=_neighbours(row, rows.values()),
            days=tuple(day for _, day in sorted(found.get(name, {}).items(), reverse=True)),
        )
        for name in sorted(wanted, key=str.casefold)
    ]
    return sorted(engines, key=lambda one: (not one.notable, not one.days, one.engine is None))


def _ever_read() -> set[str]:
    return set(CountedDay.objects.order_by().values_list("engine", flat=True).distinct())


def _neighbours(row: Engine | None, rows: Iterable[Engine]) -> tuple[str, ...]:
    if row is None or not row.url:
        return ()
    return tuple(other.name for other in rows if other.pk != row.pk and other.url == row.url)


class _Every(Aggregate):
    function = "BOOL_AND"
    output_field = BooleanField()


type Counted = tuple[Tally, Coverage]


def _counted(first: date, only: dict[str, str]) -> dict[tuple[str, date], Counted]:
    rows = CountedDay.objects.filter(day__gte=first, **only)
    models: dict[tuple[str, date], list[tuple[str, Tally]]] = {}
    for row in rows.order_by("model"):
        tally = Tally(row.prompt_tokens, row.completion_tokens, row.requests)
        models.setdefault((row.engine, row.day), []).append((row.model, tally))
    whole = rows.values("engine", "day").annotate(
        prompt=Sum("prompt_tokens"),
        completion=Sum("completion_tokens"),
        number=Sum("requests"),
        begin=Min("begins_at"),
        end=Max("ends_at"),
        anew=Max("restarts"),
        lost=Max("lost_seconds"),
        spread=Max("spread_seconds"),
        rounded=Max("grain"),
        whole=_Every("with_cached"),
    )
    return {
        (one["engine"], one["day"]): (
            Tally(one["prompt"], one["completion"], one["number"]),
            Coverage(
                begins_at=one["begin"],
                ends_at=one["end"],
                restarts=one["anew"],
                lost_seconds=one["lost"],
                spread_seconds=one["spread"],
                grain=one["rounded"],
                with_cached=one["whole"],
                models=tuple(models[one["engine"], one["day"]]),
            ),
        )
        for one in whole
    }


def _compared(
    name: str, day: date, logged: LoggedDay | None, counted: Counted | None, now: datetime, read: bool
) -> ComparedDay | None:
    """None for a day on which neither side had anything, so that idle days do not fill the page."""
    tally, coverage = counted or (None, None)
    running = day == now.astimezone(UTC).date()
    unread_from = _unread_from(day, coverage, now) if coverage else None
    if logged is None:
        if tally is None or coverage is None or not (tally.tokens or tally.requests or coverage.restarts):
            return None
        return ComparedDay(day, name, Tally(requests=0), tally, coverage, running=running, unread_from=unread_from)
    left_out = logged.cached_tokens if coverage is not None and not coverage.with_cached else 0
    guessed = Tally(logged.guessed_prompt_tokens, logged.guessed_completion_tokens)
    whole = Tally(logged.prompt_tokens, logged.completion_tokens)
    return ComparedDay(
        day=day,
        engine=name,
        gateway=Tally(logged.prompt_tokens - left_out, logged.completion_tokens, logged.requests),
        counted=tally or whole.minus(guessed),
        coverage=coverage,
        has_counters=read,
        cached_left_out=left_out,
        guessed=guessed.tokens,
        crossing=logged.crossing_tokens,
        earlier_requests=logged.earlier_requests,
        earlier_tokens=logged.earlier_tokens,
        running=running,
        unread_from=unread_from,
    )


def _unread_from(day: date, coverage: Coverage, now: datetime) -> datetime | None:
    """None when its counters were read to the end of the day, or until now, but for some minutes."""
    end = datetime.combine(day + timedelta(days=1), time.min, UTC)
    return coverage.ends_at if coverage.ends_at + LONG < min(end, now) else None
