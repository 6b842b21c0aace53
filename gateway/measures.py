"""What the calls of this process came to, added up for /metrics. No key, no team, no person.

Hot path: a call adds to plain lists once, at its end, and the text for Prometheus is made when it is asked for.
Names are OpenTelemetry's for generative AI in Prometheus' form, and so are the buckets:
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from billing.models import ENDED_WELL
from gateway import health, lanes, running
from gateway.engines.facts import EngineFacts
from gateway.errors import GatewayError
from gateway.running import Finished

TOKENS = tuple(4**power for power in range(14))
FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)  # seconds
DURATION = tuple(0.01 * 2**power for power in range(14))  # seconds
PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)  # seconds
WELL = frozenset(map(str, ENDED_WELL))
LABELS = ("model", "engine", "status")


@dataclass(slots=True)
class Tally:
    """How often a value fell up to each bound, and beyond the last; and the sum of all."""

    bounds: Sequence[float]
    counts: list[int] = field(init=False)
    sum: float = 0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add_all(self, other: "Tally") -> None:
        """Of the same bounds."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them: each with all that is below it."""
        return list(zip((*map(str, self.bounds), "+Inf"), accumulate(self.counts), strict=True))


@dataclass(slots=True)
class _Sums:
    """Of one model, engine and status class."""

    prompt: Tally = field(default_factory=lambda: Tally(TOKENS))
    completion: Tally = field(default_factory=lambda: Tally(TOKENS))
    ttft: Tally = field(default_factory=lambda: Tally(FIRST_TOKEN))
    duration: Tally = field(default_factory=lambda: Tally(DURATION))
    per_token: Tally = field(default_factory=lambda: Tally(PER_TOKEN))
    failed: int = 0


@dataclass(slots=True)
class SoFar:
    """Of one model and engine, since the process began. `failed`: not by the caller's doing, nor by his team's."""

    ended: int = 0
    failed: int = 0
    prompt_tokens: float = 0
    completion_tokens: float = 0
    ttft: Tally = field(default_factory=lambda: Tally(FIRST_TOKEN))


_calls: dict[tuple[str, str, int], _Sums] = {}
_failures: Counter[tuple[str, str, str]] = Counter()  # by model, engine and outcome
_refused: Counter[str] = Counter()
_limited: Counter[str] = Counter()  # by whose window was full and which: "team:requests-per-minute"


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The value that `share` of all stay below, interpolated inside its bucket; beyond the last bound, that bound."""
    left = share * sum(counts)
    if not left:
        return None
    for low, high, count in zip((0.0, *bounds), bounds, counts, strict=False):
        if count >= left:
            return low + (high - low) * left / count
        left -= count
    return bounds[-1]


def ended(model: str, engine: str, status: int, finished: Finished) -> None:
    """A call that was admitted has ended. `model` is its public id, so that nobody can make up labels."""
    key = (model, engine, status // 100)
    sums = _calls.get(key)
    if sums is None:
        sums = _calls[key] = _Sums()
    sums.prompt.add(finished.counts.prompt_tokens)
    sums.completion.add(finished.counts.completion_tokens)
    sums.duration.add(finished.duration_ms / 1000)
    if finished.ttft_ms is not None:
        sums.ttft.add(finished.ttft_ms / 1000)
        further = finished.counts.completion_tokens - 1
        if further > 0 and finished.outcome == "ok":
            sums.per_token.add((finished.duration_ms - finished.ttft_ms) / 1000 / further)
    if finished.outcome not in WELL:
        sums.failed += 1
        _failures[model, engine, finished.outcome] += 1


def refused(error: GatewayError) -> None:
    """A request that never became a call."""
    _refused[error.code or "none"] += 1
    if limit := window_of(error):
        _limited[limit] += 1


def window_of(error: GatewayError) -> str:
    """Of a limit, whose it is and which, without a name: `team:requests-per-minute`. Empty for other errors."""
    return ":".join(str(getattr(error, "limit", "")).split(":")[:2])


def forget() -> None:
    _calls.clear()
    _failures.clear()
    _refused.clear()
    _limited.clear()


def so_far() -> dict[tuple[str, str], SoFar]:
    """By model and engine."""
    found: dict[tuple[str, str], SoFar] = {}
    for (model, engine, _status), sums in list(_calls.items()):
        one = found.setdefault((model, engine), SoFar())
        one.ended += sum(sums.duration.counts)
        one.failed += sums.failed
        one.prompt_tokens += sums.prompt.sum
        one.completion_tokens += sums.completion.sum
        one.ttft.add_all(sums.ttft)
    return found


def collect(engines: Sequence[EngineFacts]) -> Iterator[Metric]:
    calls = [((model, engine, f"{status}xx"), sums) for (model, engine, status), sums in list(_calls.items())]
    yield from _of_calls(calls)
    failures = CounterMetricFamily(
        "tertulia_failures", "Calls that were admitted and ended badly.", labels=["model", "engine", "outcome"]
    )
    for labels, count in list(_failures.items()):
        failures.add_metric(labels, count)
    yield failures
    refusals = CounterMetricFamily("tertulia_refused", "Requests that were refused before any engine.", labels=["code"])
    for code, count in list(_refused.items()):
        refusals.add_metric([code], count)
    yield refusals
    limited = CounterMetricFamily(
        "tertulia_limited", "Requests that found a limit's window full, by whose and which.", labels=["limit"]
    )
    for limit, count in list(_limited.items()):
        limited.add_metric([limit], count)
    yield limited
    yield GaugeMetricFamily("tertulia_calls_running", "Calls that run now.", value=len(running.running()))
    yield GaugeMetricFamily("tertulia_calls_queued", "Calls that wait for a place at an engine.", value=lanes.waiting())
    queue = GaugeMetricFamily("tertulia_queue_length", "Calls that wait for a place, by model.", labels=["model"])
    for model, count in lanes.waiting_by_model().items():
        queue.add_metric([model], count)
    yield queue
    up = GaugeMetricFamily("tertulia_engine_up", "Whether the engine is asked.", labels=["engine"])
    busy = GaugeMetricFamily("tertulia_engine_running", "Calls that the engine has now.", labels=["engine"])
    most = GaugeMetricFamily("tertulia_engine_places", "Calls that it may have at once.", labels=["engine"])
    for engine in engines:
        if engine.max_concurrent is not None:
            most.add_metric([engine.name], engine.max_concurrent)
        up.add_metric([engine.name], not health.is_out(engine))
        busy.add_metric([engine.name], lanes.running(engine.id))
    yield from (up, busy, most)


def _of_calls(calls: Sequence[tuple[tuple[str, str, str], _Sums]]) -> Iterator[Metric]:
    requests = CounterMetricFamily("tertulia_requests", "Calls that were admitted and have ended.", labels=LABELS)
    tokens = HistogramMetricFamily(
        "gen_ai_client_token_usage", "Tokens of a call.", labels=[*LABELS, "gen_ai_token_type"]
    )
    ttft = HistogramMetricFamily(
        "gen_ai_server_time_to_first_token_seconds", "Until the first token, from the call's begin.", labels=LABELS
    )
    duration = HistogramMetricFamily("gen_ai_server_request_duration_seconds", "Until the end.", labels=LABELS)
    per_token = HistogramMetricFamily(
        "gen_ai_server_time_per_output_token_seconds", "After the first, of streams that ended well.", labels=LABELS
    )
    for labels, sums in calls:
        requests.add_metric(labels, sum(sums.duration.counts))
        tokens.add_metric([*labels, "input"], sums.prompt.buckets(), sums.prompt.sum)
        tokens.add_metric([*labels, "output"], sums.completion.buckets(), sums.completion.sum)
        ttft.add_metric(labels, sums.ttft.buckets(), sums.ttft.sum)
        duration.add_metric(labels, sums.duration.buckets(), sums.duration.sum)
        per_token.add_metric(labels, sums.per_token.buckets(), sums.per_token.sum)
    yield from (requests, tokens, ttft, duration, per_token)
