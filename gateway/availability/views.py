"""The status page, which anybody may read where STATUS_PAGE is set, and the same for programs."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_safe

from gateway.availability import captions
from gateway.availability.report import FRESH_FOR, ModelStatus, Report, board
from gateway.availability.standings import Standing

OUTAGES = timedelta(days=14)  # of which outages are listed


@login_not_required
@require_safe
def status(request: HttpRequest) -> HttpResponse:
    report = _report()
    state = captions.state_said(report.platform)
    context = {
        "report": report,
        "heading": captions.heading(report),
        "read_at": f"{captions.moment(report.at)}, {captions.zone(report.at)}",
        "platform": {"said": state, "strip": captions.strip_of_days(report.platform)},
        "platform_share": captions.availability(report.platform.whole),
        "rows": [_row(one) for one in report.models],
        "outages": captions.outages(report, since=report.at - OUTAGES),
        "days": OUTAGES.days,
    }
    response = render(request, "gateway/status.html", context, status=200 if report.reached else 503)
    patch_cache_control(response, private=True, max_age=int(FRESH_FOR))  # by language and look, so in browsers alone
    return response


@login_not_required
@require_safe
def status_json(request: HttpRequest) -> HttpResponse:
    report = _report()
    body = {
        "status": _word(report.state),
        "at": report.at.isoformat(timespec="seconds"),
        "platform": _told(report.platform),
        "models": [{"id": one.standing.model, **_told(one.standing), **_more(one)} for one in report.models],
    }
    response = JsonResponse(body, status=200 if report.reached else 503)
    patch_cache_control(response, public=True, max_age=int(FRESH_FOR))
    response["Access-Control-Allow-Origin"] = "*"
    return response


def _report() -> Report:
    if not settings.ENVIRONMENT.status_page:
        raise Http404
    return board.report()


def _row(one: ModelStatus) -> dict[str, Any]:
    first, rate = captions.speed_said(one.speed)
    return {
        "name": one.standing.model,
        "said": captions.state_said(one.standing),
        "first": first,
        "rate": rate,
        "strip": captions.strip_of_days(one.standing),
        "share": captions.availability(one.standing.whole),
        "lifecycle": captions.lifecycle(one),
        "offered_since": one.offered_since,
    }


def _told(standing: Standing) -> dict[str, Any]:
    share = standing.whole.available
    return {
        "state": _word(standing.state),
        "since": standing.since.isoformat(timespec="seconds") if standing.since else None,
        "availability_90_days": None if share is None else int(share * 1_000_000) / 1_000_000,
    }


def _more(one: ModelStatus) -> dict[str, Any]:
    first, rate = one.speed.first_token, one.speed.tokens_per_second
    return {
        "first_token_ms": None if first is None else round(first),
        "tokens_per_second": None if rate is None else round(rate, 1),
        "offered_since": one.offered_since.isoformat(),
        "retires_on": one.retires_on.isoformat() if one.retires_on else None,
        "successor": one.successor or None,
    }


def _word(state: object) -> str:
    return str(state) if state else "unknown"
