"""The operator's pages of prices."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import require_operator
from billing import moments
from billing.errors import PriceListMistakes, PriceMistake
from billing.models import Price
from billing.prices import captions as price_captions
from billing.prices.forms import PriceForm, PriceListForm
from billing.prices.lists import Change, Step, import_prices, planned, read_list, write_list
from billing.prices.pricing import (
    Rates,
    add_price,
    change_price,
    may_change,
    now_whole,
    price_list,
    remove_price,
    used_without_price,
)


@require_GET
def prices(request: HttpRequest) -> HttpResponse:
    """`?model=` fills in the form."""
    require_operator(request.user)
    return _page(request, form=PriceForm(initial=_initial(request.GET.get("model", ""))))


@require_POST
def add(request: HttpRequest) -> HttpResponse:
    user = require_operator(request.user)
    form = PriceForm(request.POST)
    if form.is_valid():
        given = form.cleaned_data
        try:
            price = add_price(model=given["model"], rates=form.rates(), since=given["since"], by=user)
        except PriceMistake as mistake:
            _say_at_its_field(form, mistake)
        else:
            said = {"model": price.model, "moment": moments.moment_in_words(price.effective_from)}
            messages.success(request, _("%(model)s has a new price from %(moment)s on.") % said)
            return redirect("billing:prices")
    return _page(request, form=form, status=422)


@require_http_methods(["GET", "POST"])
def price(request: HttpRequest, pk: int) -> HttpResponse:
    user = require_operator(request.user)
    found = get_object_or_404(Price, pk=pk)
    form = PriceForm(request.POST if request.method == "POST" else None, price=found)
    if request.method == "POST" and form.is_valid():
        try:
            change_price(price=found, rates=form.rates(), since=form.cleaned_data["since"], by=user)
        except PriceMistake as mistake:
            _say_at_its_field(form, mistake)
        else:
            messages.success(request, _("Saved."))
            return redirect("billing:prices")
    changeable = may_change(found, timezone.now())
    context = {"price": _line(found), "form": form, "changeable": changeable, **_zone()}
    return render(request, "billing/price.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    user = require_operator(request.user)
    found = get_object_or_404(Price, pk=pk)
    if request.method == "POST":
        try:
            remove_price(price=found, by=user)
        except PriceMistake as mistake:
            messages.error(request, mistake.message)
        else:
            messages.success(request, _("Removed."))
        return redirect("billing:prices")
    return render(request, "billing/remove_price.html", {"price": _line(found), **_zone()})


@require_POST
def take_in(request: HttpRequest) -> HttpResponse:
    """A list is first shown with what it would change; it is taken in when that was confirmed."""
    user = require_operator(request.user)
    form = PriceListForm(request.POST, request.FILES)
    if not form.is_valid():
        return _page(request, list_form=form, status=422)
    text = form.cleaned_data["text"]
    try:
        entries = read_list(text)
        if "confirmed" not in request.POST:
            return _preview(request, text, planned(entries, now_whole()))
        steps = import_prices(entries=entries, by=user)
    except PriceListMistakes as mistakes:
        filled = PriceListForm(initial={"text": text})
        return _page(request, list_form=filled, mistakes=mistakes.lines, status=422)
    count = sum(step.change is not Change.KEEP for step in steps)
    messages.success(request, ngettext("%s price was taken in.", "%s prices were taken in.", count) % count)
    return redirect("billing:prices")


@require_GET
def export(request: HttpRequest) -> HttpResponse:
    require_operator(request.user)
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="prices.csv"'
    write_list(response, form="csv")  # type: ignore[arg-type]  # writes text, as a file does
    return response


@dataclass(frozen=True, slots=True)
class Line:
    """A price in words. `cached_input` and `reasoning` are empty where they cost as input and output do."""

    pk: int
    model: str
    since: str
    input: str
    cached_input: str
    output: str
    reasoning: str
    changeable: bool


@dataclass(frozen=True, slots=True)
class PlannedLine:
    """A line of a list: the price that it brings, and the one that it replaces or follows."""

    change: Change
    line: int
    after: Line
    before: Line | None


def _page(
    request: HttpRequest,
    *,
    form: PriceForm | None = None,
    list_form: PriceListForm | None = None,
    mistakes: object = (),
    status: int = 200,
) -> HttpResponse:
    now = timezone.now()
    models = price_list(now)
    context: dict[str, Any] = {
        "current": [(_line(one.now), [_line(next_) for next_ in one.coming[:1]]) for one in models if one.now],
        "coming": [_line(price) for one in models for price in one.coming],
        "past": [_line(price) for one in models for price in one.past],
        "unpriced": used_without_price(now),
        "form": form or PriceForm(),
        "list_form": list_form or PriceListForm(),
        "mistakes": mistakes,
        **_zone(),
    }
    return render(request, "billing/prices.html", context, status=status)


def _preview(request: HttpRequest, text: str, steps: list[Step]) -> HttpResponse:
    lines = [_planned_line(step) for step in steps]
    changes = [line for line in lines if line.change is not Change.KEEP]
    context = {"text": text, "lines": changes, "kept": len(lines) - len(changes), **_zone()}
    return render(request, "billing/price_preview.html", context)


def _planned_line(step: Step) -> PlannedLine:
    after = _line(Price(model=step.entry.model, effective_from=step.since, **step.entry.rates.columns()))
    if step.entry.since is None:  # which is later than now, once it is confirmed
        after = replace(after, since=_("from now on"))
    return PlannedLine(step.change, step.entry.line, after, _line(step.before) if step.before else None)


def _line(price: Price) -> Line:
    return Line(
        pk=price.pk or 0,
        model=price.model,
        since=moments.moment_in_words(price.effective_from),
        input=price_captions.price(price.input),
        cached_input="" if price.cached_input is None else price_captions.price(price.cached_input),
        output=price_captions.price(price.output),
        reasoning="" if price.reasoning is None else price_captions.price(price.reasoning),
        changeable=may_change(price, timezone.now()),
    )


def _initial(model: str) -> dict[str, Any]:
    """For a model that has a price, that price: most new ones change one number of it."""
    if not model or "\0" in model:
        return {}
    found = Price.objects.filter(model=model, effective_from__lte=timezone.now()).order_by("effective_from").last()
    return {"model": model, **(Rates.of(found).columns() if found else {})}


def _zone() -> dict[str, str]:
    zone = ZoneInfo(settings.TIME_ZONE)
    return {
        "currency": settings.ENVIRONMENT.currency,
        "zone": moments.zone_in_words(datetime.now(zone), settings.TIME_ZONE),
    }


def _say_at_its_field(form: PriceForm, mistake: PriceMistake) -> None:
    form.add_error(mistake.param if mistake.param in form.fields else None, mistake.message)
