"""The engines' own counters of tokens, where they have some: `/metrics` in Prometheus' text format.

What the counters count, by the engines' sources and by a look at them while they ran:

- vLLM (`vllm:prompt_tokens_total`, `…generation_tokens_total`, labels `model_name` and `engine`) counts a prompt when
  its first token comes, cached tokens included, once for each choice of a request with `n`; completion tokens as they
  are made, those of a caller who left too; `request_success_total` by `finished_reason`, "abort" among them.
- llama.cpp (with `--metrics`) counts prompt tokens that it worked through; since 2026 those it took from its cache
  stand in a counter beside it, before that nowhere. Completion tokens are counted when the answer ends; older servers
  do not count those of a caller who left. It counts no requests, and writes six digits of a number: above a million
  tokens the last ones are rounded off.
- SGLang (`--enable-metrics`) counts requests that ended, prompts whole.
- Ollama, LM Studio and the like have no counters. What they report with each answer stands in the log already.

No page but `/metrics` is asked, and of it no line is parsed but those of the names below.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from gateway.engines.client import read_page
from gateway.engines.clock import Clock
from gateway.engines.facts import EngineFacts
from gateway.errors import GatewayError, NoCounters, Unavailable, UnreadableAnswer

PATH = "/metrics"
MOST_BYTES = 8 << 20  # vLLM's page, histograms and all, has some hundred kilobytes
LONGEST_LINE = 4096
LONGEST_LABEL = 300
MOST_MODELS = 200  # labels of one engine
MOST_TOKENS = 10**15  # a counter above it is not believed; a double holds whole numbers up to 9·10¹⁵
SIX_DIGITS = 10**6
STARTED = "process_start_time_seconds"  # of Python's and Go's clients for Prometheus
STARTED_HEADER = "process-start-time-unix"  # llama.cpp's; no time of day, in spite of its name


@dataclass(frozen=True, slots=True)
class Family:
    """The names of one kind of engine's counters. `cached`: what `prompt` leaves out, in versions that count it."""

    prompt: str
    completion: str
    requests: str = ""
    cached: str = ""
    rounds: bool = False  # to six digits

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.prompt, self.completion, self.requests, self.cached)))


VLLM = Family("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:request_success_total")
LLAMACPP = Family(
    "llamacpp:prompt_tokens_total",
    "llamacpp:tokens_predicted_total",
    cached="llamacpp:prompt_tokens_cached_total",
    rounds=True,
)
SGLANG = Family("sglang:prompt_tokens_total", "sglang:generation_tokens_total", "sglang:num_requests_total")
FAMILIES: Mapping[str, tuple[Family, ...]] = {
    "vllm": (VLLM,),
    "llamacpp": (LLAMACPP,),
    "openai": (VLLM, LLAMACPP, SGLANG),  # whatever stands behind that name
}


@dataclass(frozen=True, slots=True)
class Tally:
    """Tokens and requests. `requests` None: the engine does not count them."""

    prompt: int = 0
    completion: int = 0
    requests: int | None = None

    @property
    def tokens(self) -> int:
        return self.prompt + self.completion

    def minus(self, before: "Tally") -> "Tally":
        both = self.requests is not None and before.requests is not None
        requests = (self.requests or 0) - (before.requests or 0) if both else self.requests
        return Tally(self.prompt - before.prompt, self.completion - before.completion, requests)

    def fell_below(self, before: "Tally") -> bool:
        fewer = self.prompt < before.prompt or self.completion < before.completion
        return fewer or (self.requests or 0) < (before.requests or 0)


@dataclass(frozen=True, slots=True)
class Counters:
    """One reading, by the name that the engine gives a model; "" where it gives none.

    `process` changes when the engine starts anew; "" where nothing tells. `started_at`: seconds since the epoch, where
    it says so. `cached`: whether prompt tokens that it did not have to work through are among the prompt tokens.
    `grain`: tokens by which the rounding of its numbers may be off.
    """

    models: Mapping[str, Tally] = field(default_factory=dict)
    process: str = ""
    started_at: float | None = None
    cached: bool = True
    grain: int = 0


async def read_counters(engine: EngineFacts, clock: Clock) -> Counters:
    """Raises NoCounters when there are none to be had, another GatewayError when the engine cannot be asked now."""
    reading, body = await read_page(engine, clock, PATH, MOST_BYTES)
    if reading.status != 200:
        raise _refusal(engine.type, reading.status)
    if reading.encoding not in {"", "identity"}:
        raise UnreadableAnswer("The engine's counters cannot be read.")
    process = reading.header(STARTED_HEADER)[:100]
    return parse_counters(body.decode("utf-8", "replace"), FAMILIES[engine.type], process=process)


def parse_counters(text: str, families: tuple[Family, ...], *, process: str = "") -> Counters:
    """The counters of the first family that is there. Raises NoCounters without any, UnreadableAnswer for nonsense."""
    lines = [line for line in text.splitlines() if len(line) <= LONGEST_LINE]
    for kind in families:
        found = _values(lines, kind.names)
        if kind.prompt in found and kind.completion in found:
            started = _started_at(lines)
            return Counters(
                models=_models(kind, found),
                process=process or (f"{started:.2f}" if started else ""),
                started_at=started,
                cached=not kind.cached or kind.cached in found,
                grain=_grain(found) if kind.rounds else 0,
            )
    raise NoCounters("The engine's page of metrics has no counter of tokens that Tertulia knows.")


type Values = dict[str, dict[str, int]]  # counter → model → value


def _values(lines: list[str], names: tuple[str, ...]) -> Values:
    """Summed over all labels but the model's: vLLM has a counter for each of its inner engines and each reason."""
    found: Values = {}
    for line in lines:
        name = line.partition("{")[0].partition(" ")[0]
        if name not in names:
            continue
        model, value = _sample(line)
        by_model = found.setdefault(name, {})
        by_model[model] = by_model.get(model, 0) + value
        if len(by_model) > MOST_MODELS or by_model[model] > MOST_TOKENS:
            raise UnreadableAnswer("The engine's counters cannot be read.")
    return found


def _sample(line: str) -> tuple[str, int]:
    try:
        (family,) = text_string_to_metric_families(line + "\n")
        ((_, labels, value, *_),) = family.samples
    except (ValueError, IndexError, TypeError) as error:  # what the parser raises for lines that are none
        raise UnreadableAnswer("The engine's counters cannot be read.") from error
    if not math.isfinite(value) or not 0 <= value <= MOST_TOKENS:
        raise UnreadableAnswer("The engine's counters cannot be read.")
    model = labels.get("model_name", "").replace("\0", "")[:LONGEST_LABEL]
    return model, round(value)


def _models(kind: Family, found: Values) -> dict[str, Tally]:
    prompts, completions = found[kind.prompt], found[kind.completion]
    cached, requests = found.get(kind.cached, {}), found.get(kind.requests)
    return {
        model: Tally(
            prompt=prompts.get(model, 0) + cached.get(model, 0),
            completion=completions.get(model, 0),
            requests=None if requests is None else requests.get(model, 0),
        )
        for model in sorted(prompts.keys() | completions.keys())
    }


def _started_at(lines: list[str]) -> float | None:
    for line in lines:
        if line.startswith(f"{STARTED} "):
            try:
                value = float(line.split()[1])
            except (ValueError, IndexError):
                return None
            return value if 0 < value < 2**33 else None
    return None


def _grain(found: Values) -> int:
    """Half a step at either end of an interval makes a step. 1,234,567 is written 1.23457e+06: a step of 10."""
    values = [value for by_model in found.values() for value in by_model.values() if value >= SIX_DIGITS]
    return sum(10 ** (len(str(value)) - 6) for value in values)


def _refusal(engine_type: str, status: int) -> GatewayError:
    if status == 429 or (status >= 500 and status != 501):  # llama.cpp's 501 says that it was not told to count
        return Unavailable("The engine is not ready. Try again later.")
    if status in {401, 403}:
        return NoCounters("The engine does not show its counters to this gateway's key.")
    if engine_type == "llamacpp":
        if status == 400:
            return NoCounters("llama.cpp in router mode counts for each model apart, which is not read.")
        return NoCounters("The engine shows no counters. llama.cpp has to be started with --metrics.")
    return NoCounters("The engine shows no counters.")
