"""All processes' pulses added up, beside what the database knows of the engines: one moment of the whole platform."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import perf_counter

from django.utils import timezone

from billing.models import DeadLetter
from gateway.measures import FIRST_TOKEN, quantile
from gateway.models import Engine
from gateway.monitor.pulse import LONG, STEP, EngineSeen, Flow, SpoolTold, Told, fresh
from gateway.offers import offered

POINTS = int(LONG / STEP)


@dataclass(frozen=True, slots=True)
class Rates:
    """`minute`: calls that ended in the last one. Of the last five: `ended`, `failed`, `first_token` (seconds, p95)."""

    running: int = 0
    minute: int = 0
    ended: int = 0
    failed: int = 0
    tokens_per_second: float = 0.0
    first_token: float | None = None

    @property
    def error_share(self) -> float:
        return self.failed / self.ended if self.ended else 0.0


@dataclass(frozen=True, slots=True)
class ModelNow:
    model: str
    waiting: int
    rates: Rates
    served: bool = True  # False: it is gone from the catalogue, and calls to it still run or ended lately


@dataclass(frozen=True, slots=True)
class EngineNow:
    """`out_in` and `rests_in`: in so many of the processes it is not asked, or asked last."""

    engine: Engine
    rates: Rates
    answered_at: datetime | None
    out_in: int
    rests_in: int
    seen_by: int


@dataclass(frozen=True, slots=True)
class Spools:
    """Of all processes and machines together. `lag`: seconds that the oldest file waits which could be shipped."""

    depth: int = 0
    put_aside: int = 0
    lag: float = 0.0
    full: int = 0  # processes whose disk is full


@dataclass(frozen=True, slots=True)
class Picture:
    """`database_ms` None: PostgreSQL does not answer, and this process tells of itself alone. `line`: tokens a second
    at each STEP of the last five minutes.
    """

    at: datetime
    processes: tuple[Told, ...]
    models: tuple[ModelNow, ...]
    engines: tuple[EngineNow, ...]
    total: Rates
    waiting: int
    spools: Spools
    line: tuple[float, ...]
    dead_letters: int
    database_ms: float | None


def look_now() -> Picture:
    began = perf_counter()
    processes = fresh()
    took = (perf_counter() - began) * 1000
    engines = list(Engine.objects.order_by("fallback", "name"))
    return picture(processes, engines, list(offered()), dead_letters=DeadLetter.objects.count(), database_ms=took)


def picture(
    processes: Sequence[Told],
    engines: Sequence[Engine],
    served: Sequence[str],
    *,
    dead_letters: int,
    database_ms: float | None,
) -> Picture:
    now = timezone.now()
    flows = [flow for told in processes for flow in told.flows]
    waiting: defaultdict[str, int] = defaultdict(int)
    for told in processes:
        for model, count in told.waiting.items():
            waiting[model] += count
    by_model, by_engine = _grouped(flows, "model"), _grouped(flows, "engine")
    strangers = sorted((by_model.keys() | waiting.keys()) - set(served))
    return Picture(
        at=now,
        processes=tuple(processes),
        models=tuple(
            ModelNow(name, waiting[name], _rates(by_model[name]), served=name in served)
            for name in (*served, *strangers)
        ),
        engines=tuple(_engine_now(engine, by_engine[engine.name], processes, now) for engine in engines),
        total=_rates(flows),
        waiting=sum(waiting.values()),
        spools=_spools(processes),
        line=_line(processes),
        dead_letters=dead_letters,
        database_ms=database_ms,
    )


def _grouped(flows: Iterable[Flow], name: str) -> defaultdict[str, list[Flow]]:
    found: defaultdict[str, list[Flow]] = defaultdict(list)
    for flow in flows:
        found[getattr(flow, name)].append(flow)
    return found


def _rates(flows: Sequence[Flow], *, running: int | None = None) -> Rates:
    counts = [sum(column) for column in zip(*(flow.ttft for flow in flows if flow.ttft), strict=True)]
    return Rates(
        running=sum(flow.running for flow in flows) if running is None else running,
        minute=sum(flow.minute for flow in flows),
        ended=sum(flow.ended for flow in flows),
        failed=sum(flow.failed for flow in flows),
        tokens_per_second=sum(flow.tokens_per_second for flow in flows),
        first_token=quantile(FIRST_TOKEN, counts, 0.95) if counts else None,
    )


def _engine_now(engine: Engine, flows: Sequence[Flow], processes: Sequence[Told], now: datetime) -> EngineNow:
    seen: list[EngineSeen] = [one for told in processes for one in told.engines if one.name == engine.name]
    ago = [one.answered for one in seen if one.answered is not None]
    return EngineNow(
        engine=engine,
        rates=_rates(flows, running=sum(one.running for one in seen)),
        answered_at=now - timedelta(seconds=min(ago)) if ago else None,
        out_in=sum(one.out for one in seen),
        rests_in=sum(one.rests for one in seen),
        seen_by=len(seen),
    )


def _spools(processes: Sequence[Told]) -> Spools:
    """Processes of one machine share a folder, which counts once."""
    told = [process.spool for process in processes if process.spool]
    folders: dict[tuple[str, str], SpoolTold] = {
        (process.machine, process.spool.root): process.spool for process in processes if process.spool
    }
    return Spools(
        depth=sum(one.depth for one in told),
        put_aside=sum(one.put_aside for one in folders.values()),
        lag=max((one.lag for one in folders.values()), default=0.0),
        full=sum(not one.writable for one in told),
    )


def _line(processes: Sequence[Told]) -> tuple[float, ...]:
    lines = [process.line[-POINTS:] for process in processes]
    padded = [(0.0,) * (POINTS - len(line)) + tuple(line) for line in lines]
    return tuple(sum(column) for column in zip(*padded, strict=True))
