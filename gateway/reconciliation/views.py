"""The page that shows the accounts beside the engines' own counters, and its file."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from accounts.access import require_operator
from billing.usage.exports import Value, write_csv
from gateway.models import Engine
from gateway.reconciliation.comparison import DAYS, ComparedEngine, compare
from gateway.reconciliation.findings import figures, strip, summary, threshold, verdict
from gateway.reconciliation.readings import EVERY

FIELDS = (
    "day", "engine", "basis", "state", "gateway_requests", "gateway_prompt_tokens", "gateway_completion_tokens",
    "engine_requests", "engine_prompt_tokens", "engine_completion_tokens", "gap_tokens", "gap_part", "guessed_tokens",
    "crossing_tokens", "cached_left_out", "earlier_requests", "earlier_tokens", "read_from", "read_until", "restarts",
    "lost_seconds", "spread_seconds", "rounding",
)  # fmt: skip
OPEN_DAYS = 7


@require_GET
def reconciliation(request: HttpRequest) -> HttpResponse:
    require_operator(request.user)
    now = timezone.now()
    engines = compare(now=now)
    context = {
        "sections": [section(engine, now=now) for engine in engines],
        "figures": figures(engines) if any(engine.compared for engine in engines) else [],
        "days": DAYS,
        "every": EVERY,
        "threshold": threshold(),
    }
    return render(request, "gateway/reconciliation.html", context)


@require_GET
def reconciliation_csv(request: HttpRequest) -> HttpResponse:
    require_operator(request.user)
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="reconciliation.csv"'
    write_csv(rows(compare(now=timezone.now())), response, FIELDS)  # type: ignore[arg-type]  # it writes text
    return response


def engine_section(engine: Engine) -> dict[str, Any]:
    """Of one engine's last days, for its own page."""
    now = timezone.now()
    (compared,) = compare(now=now, days=OPEN_DAYS, engine=engine)
    return section(compared, now=now)


def section(engine: ComparedEngine, *, now: datetime) -> dict[str, Any]:
    """The last days and the marked ones lie open, the others are folded away."""
    days = [(day, verdict(day, engine)) for day in engine.days]
    return {
        "of": engine,
        "summary": summary(engine),
        "open": [one for place, one in enumerate(days) if place < OPEN_DAYS or one[0].notable],
        "folded": [one for place, one in enumerate(days) if place >= OPEN_DAYS and not one[0].notable],
        "strip": strip(engine, last=now.astimezone(UTC).date(), days=DAYS) if engine.compared else [],
    }


def rows(engines: list[ComparedEngine]) -> Iterator[dict[str, Value]]:
    for engine in engines:
        for day in engine.days:
            read = day.coverage
            values: tuple[Value, ...] = (
                day.day.isoformat(), day.engine, "counters" if read else "answers", day.state.value,
                day.gateway.requests, day.gateway.prompt, day.gateway.completion,
                day.counted.requests, day.counted.prompt, day.counted.completion,
                day.gap, f"{day.part:.6f}", day.guessed, day.crossing, day.cached_left_out,
                day.earlier_requests, day.earlier_tokens,
                read.begins_at.isoformat(timespec="seconds") if read else None,
                read.ends_at.isoformat(timespec="seconds") if read else None,
                read.restarts if read else None, read.lost_seconds if read else None,
                read.spread_seconds if read else None, read.grain if read else None,
            )  # fmt: skip
            yield dict(zip(FIELDS, values, strict=True))
