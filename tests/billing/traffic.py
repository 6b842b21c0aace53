"""Requests as the gateway would record them."""

import random
import time
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from billing.ids import new_request
from billing.records import Counts, Ended, Final, Progress, Refusal, Start, UnitPrices

PRICE = UnitPrices(Decimal("0.9"), Decimal("0.45"), Decimal(4), Decimal(5))


def a_start(team_id: int = 1, *, at_ms: int | None = None, **changed: object) -> Start:
    request = new_request()
    fields: dict[str, object] = {
        "id": request.id, "at_ms": request.at_ms if at_ms is None else at_ms, "team_id": team_id, "origin": "api",
        "endpoint": "chat.completions", "stream": True, "key_id": None, "key_name": "", "member_id": None,
        "member_name": "", "end_user": "", "model": "llama", "client_request_id": "", "prompt_estimate": 10,
        "price": None,
    }  # fmt: skip
    return Start(**{**fields, **changed})  # type: ignore[arg-type]


def counts(prompt: int = 10, completion: int = 5, source: str = "upstream") -> Counts:
    return Counts(prompt, completion, source, source)


def a_progress(request: UUID, completion: int = 3) -> Progress:
    return Progress(request, "engine", "vllm", "gpu-1", "chatcmpl-1", counts(10, completion, "counted"), 12)


def a_final(request: UUID, used: Counts | None = None, *, outcome: str = "ok") -> Final:
    return Final(request, "engine", "vllm", "gpu-1", "chatcmpl-1", used or counts(), outcome, 200, 12, 340)


def ended(team_id: int, used: Counts | None = None, *, outcome: str = "ok", **changed: object) -> Ended:
    start = a_start(team_id, **changed)  # type: ignore[arg-type]
    return Ended(start, a_final(start.id, used, outcome=outcome))


def timed(team_id: int, *, ttft_ms: int | None, duration_ms: int, **changed: object) -> Ended:
    made = ended(team_id, **changed)  # type: ignore[arg-type]
    return made._replace(final=made.final._replace(ttft_ms=ttft_ms, duration_ms=duration_ms))


def a_refusal(team_id: int = 1, *, at_ms: int | None = None, **changed: object) -> Refusal:
    request = new_request()
    fields: dict[str, object] = {
        "id": request.id, "at_ms": request.at_ms if at_ms is None else at_ms, "team_id": team_id, "origin": "api",
        "endpoint": "chat.completions", "key_id": 1, "key_name": "ci", "member_id": None, "member_name": "",
        "model": "llama", "code": "rate_limit_exceeded", "reason": "key:requests-per-minute", "status": 429,
    }  # fmt: skip
    return Refusal(**{**fields, **changed})  # type: ignore[arg-type]


def milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def random_traffic(
    team_id: int, number: int, *, begin: datetime, end: datetime, chance: random.Random, keys: list[int]
) -> list[Ended]:
    first, last = milliseconds(begin), milliseconds(end)
    made = []
    for _ in range(number):
        prompt, completion = chance.randrange(4000), chance.randrange(900)
        source = chance.choice(["upstream", "upstream", "counted", "estimated"])
        used = Counts(
            prompt,
            completion,
            source,
            source,
            chance.choice([None, completion // 2]),
            chance.choice([None, prompt // 3]),
        )
        made.append(
            ended(
                team_id,
                used,
                at_ms=chance.randrange(first, last),
                outcome=chance.choice(["ok", "ok", "ok", "client_gone", "upstream_error", "interrupted"]),
                model=chance.choice(["llama", "mistral", "qwen"]),
                origin=chance.choice(["api", "chat"]),
                key_id=chance.choice([None, *keys]),
                price=chance.choice([None, PRICE]),
            )
        )
    return made


def now_ms() -> int:
    return time.time_ns() // 1_000_000
