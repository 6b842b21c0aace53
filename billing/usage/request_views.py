"""One request of the log, for operators: how it was counted, and its corrections."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from accounts.access import require_operator
from billing.errors import AdjustmentMistake
from billing.ledger.adjustments import Request, adjust, find_request
from billing.models import UsageRecord
from billing.prices import captions as price_captions
from billing.usage import captions
from billing.usage.request_forms import AdjustForm, FindForm


@require_GET
def find(request: HttpRequest) -> HttpResponse:
    require_operator(request.user)
    form = FindForm(request.GET or None)
    if form.is_valid():
        request_id = form.cleaned_data["request_id"]
        if find_request(request_id) is not None:
            return redirect("billing:request", pk=request_id)
        said = _("There is no such request in the log. It comes there seconds after its end; refused calls never do.")
        form.add_error("request_id", said)
    status = 422 if form.errors else 200
    return render(request, "billing/find_request.html", {"form": form}, status=status)


@require_http_methods(["GET", "POST"])
def one(request: HttpRequest, pk: UUID) -> HttpResponse:
    """POST corrects it."""
    user = require_operator(request.user)
    found = find_request(pk)
    if found is None:
        raise Http404
    form = AdjustForm(request.POST if request.method == "POST" else None, totals=found.totals)
    if request.method == "POST" and form.is_valid():
        try:
            adjust(request_id=pk, by=user, **form.cleaned_data)
        except AdjustmentMistake as mistake:
            form.add_error(mistake.param if mistake.param in form.fields else None, mistake.message)
        else:
            messages.success(request, _("Corrected."))
            return redirect("billing:request", pk=pk)
    status = 422 if form.errors else 200
    return render(request, "billing/request.html", {**_context(found), "form": form}, status=status)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of tokens: as logged, where that number is from, its price, and what it comes to now."""

    name: str
    logged: str
    source: str
    price: str
    now: str


@dataclass(frozen=True, slots=True)
class Correction:
    at: str
    by: str
    reason: str
    input: str
    output: str
    cost: str


def _context(found: Request) -> dict[str, Any]:
    row, totals = found.row, found.totals
    zone = ZoneInfo(settings.TIME_ZONE)
    return {
        "row": row,
        "at": captions.moment_in_words(row.at),
        "zone": captions.zone_in_words(datetime.now(zone), settings.TIME_ZONE),
        "currency": settings.ENVIRONMENT.currency,
        "kinds": _kinds(found),
        "cost": _cost(row.cost),
        "cost_now": _cost(totals.cost),
        "duration": _milliseconds(row.duration_ms),
        "ttft": "" if row.ttft_ms is None else _milliseconds(row.ttft_ms),
        "corrections": [_correction(one) for one in found.adjustments],
    }


def _kinds(found: Request) -> list[Kind]:
    row, now = found.row, found.totals
    kinds = [
        (_("Input"), row.prompt_tokens, row.get_prompt_source_display(), row.price_input, now.prompt_tokens),
        (_("of it from the cache"), row.cached_tokens, "", row.price_cached_input, now.cached_tokens),
        (
            _("Output"),
            row.completion_tokens,
            row.get_completion_source_display(),
            row.price_output,
            now.completion_tokens,
        ),
        (_("of it reasoning"), row.reasoning_tokens, "", row.price_reasoning, now.reasoning_tokens),
    ]
    return [
        Kind(name, _count(logged), source, "" if price is None else price_captions.price(price), _count(total))
        for name, logged, source, price, total in kinds
    ]


def _correction(row: UsageRecord) -> Correction:
    return Correction(
        at=captions.moment_in_words(row.at),
        by=row.adjusted_by or _("command line"),
        reason=row.reason,
        input=_signed(captions.whole(row.prompt_tokens), row.prompt_tokens),
        output=_signed(captions.whole(row.completion_tokens), row.completion_tokens),
        cost="" if row.cost is None else _signed(_cost(row.cost), row.cost),
    )


def _signed(said: str, amount: int | Decimal) -> str:
    return f"+{said}" if amount > 0 else said


def _count(number: int | None) -> str:
    return "" if number is None else captions.whole(number)


def _cost(amount: Decimal | None) -> str:
    return "" if amount is None else captions.exact_money(amount)


def _milliseconds(number: int) -> str:
    return _("%s ms") % captions.whole(number)
