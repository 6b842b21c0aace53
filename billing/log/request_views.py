"""One request of the log: for operators, who correct it, and for those of its team."""

from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from accounts.access import membership_for, require_operator
from billing import moments
from billing.errors import AdjustmentMistake
from billing.ledger.adjustments import adjust, find_request
from billing.log import request_captions
from billing.log.captions import refused_in_row
from billing.log.refused import find_refused
from billing.log.request_forms import AdjustForm, FindForm
from billing.usage.questions import Scope
from billing.usage.scopes import scope_of


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
    return render(
        request,
        "billing/request.html",
        {**request_captions.words(found, zone=settings.TIME_ZONE), "form": form},
        status=status,
    )


@require_GET
def of_team(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    """For those who may see its row in the team's log; a call that was refused has a page too."""
    membership = membership_for(request.user, slug)
    team, (scope, _whole_team) = membership.team, scope_of(membership)
    found = find_request(pk)
    if found is not None and found.row.team_id == team.pk and _is_of(scope, found.row.member_id):
        return render(
            request, "billing/request.html", {"shown": team, **request_captions.words(found, zone=team.time_zone)}
        )
    refused = find_refused(team.pk, pk)
    if refused is None or not _is_of(scope, refused.member_id):
        raise Http404
    context = {
        "shown": team,
        "call": refused,
        "row": refused_in_row(refused, ZoneInfo(team.time_zone)),
        "at": moments.moment_in_words(refused.at, team.time_zone),
        "zone": moments.zone_in_words(refused.at.astimezone(ZoneInfo(team.time_zone)), team.time_zone),
    }
    return render(request, "billing/refused_request.html", context)


def _is_of(scope: Scope, member_id: int | None) -> bool:
    return scope.member_id is None or scope.member_id == member_id
