"""The pages of this room: the models of a team, the reference of the API, and the engines for operators."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.middleware import HtmxDetails

from accounts.access import TEAM_IN_SESSION, chat_caller, require_operator, team_for, teams_of
from accounts.callers import Caller
from accounts.errors import NotAllowed
from accounts.models import Role, Team, User
from billing.prices.captions import price_said, price_unit
from billing.prices.pricing import price_list
from gateway.availability.captions import model_cells
from gateway.catalogue import (
    add_engine,
    change_engine,
    change_model,
    import_models,
    look,
    models_for,
    remove_engine,
    set_enabled,
)
from gateway.discovery import find_engines
from gateway.errors import CatalogueMistake, GatewayError
from gateway.forms import (
    PRESETS,
    EngineChangeForm,
    EngineForm,
    LifecycleForm,
    ModelForm,
    Preset,
    TrialForm,
    trial,
)
from gateway.lifecycle import set_lifecycle
from gateway.models import Engine, ServedModel
from gateway.reconciliation.views import engine_section
from gateway.reference import reference as api_reference
from gateway.samples import outcome
from gateway.snapshot import load_routes
from gateway.trial import tried


@require_GET
def models(request: HttpRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug, role=Role.MEMBER)
    offered = models_for(chat_caller(request.user, team))
    now = timezone.now()
    prices = {one.model: price_said(one) for one in price_list(now)}
    stand = model_cells({model.public_id: (model.retires_on, model.successor) for model in offered}, now=now)
    rows = [(model, prices.get(model.public_id), stand[model.public_id]) for model in offered]
    context = {
        "team": team,
        "rows": rows,
        "priced": any(price for _model, price, _now in rows),
        "unit": price_unit(),
    }
    return render(request, "gateway/models.html", context)


@require_GET
def reference(request: HttpRequest) -> HttpResponse:
    """`?endpoint=` and `?model=` fill in the form."""
    return _reference_page(request, _team(request), request.GET.dict(), {})


@require_POST
def try_api(request: HttpRequest) -> HttpResponse:
    """Calls the API as the person. Whatever it answers, errors too, is shown; the page itself is well."""
    team = _team(request)
    caller = _caller(request, team)
    if caller is None:
        raise PermissionDenied
    path, body = trial(request.POST.dict())
    answer = outcome(tried(caller, path, json.dumps(body).encode()), path, body)
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]  # set by django-htmx's middleware
    if htmx:
        return render(request, "gateway/reference.html#result", {"tried": answer})
    return _reference_page(request, team, request.POST.dict(), {"tried": answer})


@require_http_methods(["GET", "POST"])
def engines(request: HttpRequest) -> HttpResponse:
    """POST looks on this machine, which takes a moment, and shows what it found."""
    require_operator(request.user)
    return _page(request, looked=request.method == "POST")


@require_POST
def add(request: HttpRequest) -> HttpResponse:
    user = require_operator(request.user)
    form = EngineForm(request.POST)
    if not form.is_valid():
        return _page(request, form=form, status=422)
    try:
        engine = add_engine(**form.cleaned_data, by=user)
    except CatalogueMistake as error:
        _say_at_its_field(form, error)
        return _page(request, form=form, status=422)
    _import(request, engine, user)
    return redirect("gateway:engines")


@require_http_methods(["GET", "POST"])
def engine(request: HttpRequest, pk: int) -> HttpResponse:
    """An engine that was given another address or key is looked at, which takes a moment."""
    user = require_operator(request.user)
    found = get_object_or_404(Engine, pk=pk)
    form = EngineChangeForm(request.POST if request.method == "POST" else None, engine=found)
    if request.method == "POST" and form.is_valid():
        try:
            changed = change_engine(engine=found, **form.words(), by=user)
        except CatalogueMistake as error:
            _say_at_its_field(form, error)
        else:
            _tell(request, found, looks=bool(changed & {"url", "secret"}))
            return redirect("gateway:engine", pk=pk)
    context = {
        "engine": found,
        "models": found.models.order_by("public_id"),
        "form": form,
        "reconciled": engine_section(found),
    }
    return render(request, "gateway/engine.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def model(request: HttpRequest, pk: int) -> HttpResponse:
    """The button of a preset posts too; it fills the form and saves nothing."""
    user = require_operator(request.user)
    found = get_object_or_404(ServedModel.objects.select_related("engine"), pk=pk)
    form = ModelForm(request.POST) if request.method == "POST" else ModelForm.of(found)
    loaded = next((preset for preset in PRESETS if preset.name == request.POST.get("preset")), None)
    if loaded:
        form = ModelForm.with_preset(request.POST, loaded)
    elif request.method == "POST" and form.is_valid():
        try:
            change_model(model=found, **form.words(), by=user)
        except CatalogueMistake as error:
            _say_at_its_field(form, error)
        else:
            _say_what_became_of(request, found.public_id, form.cleaned_data["public_id"])
            return redirect("gateway:engine", pk=found.engine_id)
    return _model_page(request, found, form=form, loaded=loaded)


@require_POST
def lifecycle(request: HttpRequest, pk: int) -> HttpResponse:
    user = require_operator(request.user)
    found = get_object_or_404(ServedModel.objects.select_related("engine"), pk=pk)
    form = LifecycleForm(request.POST, model=found, others=_other_models(found))
    if form.is_valid():
        try:
            set_lifecycle(model=found, **form.cleaned_data, by=user)
        except CatalogueMistake as error:
            _say_at_its_field(form, error)
        else:
            messages.success(request, _("Saved."))
            return redirect("gateway:model", pk=pk)
    return _model_page(request, found, lifecycle=form)


@require_GET
def unpriced(request: HttpRequest) -> HttpResponse:
    """A part of the page of prices: the models on offer that have none, and prices of what nobody offers."""
    require_operator(request.user)
    offered, prices = load_routes().keys(), price_list(timezone.now())
    in_force = {one.model for one in prices if one.now}
    context = {
        "models": [name for name in offered if name not in in_force],
        "strangers": [one.model for one in prices if one.model not in offered],
    }
    return render(request, "gateway/unpriced.html", context)


@require_POST
def import_again(request: HttpRequest, pk: int) -> HttpResponse:
    user = require_operator(request.user)
    _import(request, get_object_or_404(Engine, pk=pk), user)
    return _back(request, pk)


@require_POST
def enabled(request: HttpRequest, pk: int) -> HttpResponse:
    user = require_operator(request.user)
    set_enabled(engine=get_object_or_404(Engine, pk=pk), enabled="on" in request.POST, by=user)
    return _back(request, pk)


@require_http_methods(["GET", "POST"])
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    user = require_operator(request.user)
    engine = get_object_or_404(Engine, pk=pk)
    if request.method == "POST":
        remove_engine(engine=engine, by=user)
        return redirect("gateway:engines")
    return render(request, "gateway/remove_engine.html", {"engine": engine})


def _reference_page(
    request: HttpRequest, team: Team | None, given: Mapping[str, str], more: Mapping[str, Any]
) -> HttpResponse:
    """Who may call no model reads it without the form."""
    caller = _caller(request, team)
    names = [model.public_id for model in models_for(caller)] if caller else []
    context = {
        "reference": api_reference(names[0] if names else ""),
        "form": TrialForm(models=names, given=given) if names else None,
        "team": team,
        "base_url": settings.BASE_URL,
    }
    return render(request, "gateway/reference.html", context | dict(more))


def _team(request: HttpRequest) -> Team | None:
    """The team last looked at, else the first."""
    teams = teams_of(request.user)
    looked_at = request.session.get(TEAM_IN_SESSION)
    return next((team for team in teams if team.slug == looked_at), teams[0] if teams else None)


def _caller(request: HttpRequest, team: Team | None) -> Caller | None:
    """The person as the team's programs are answered; None for those who only read reports, or have no team."""
    try:
        return replace(chat_caller(request.user, team), dialect=team.dialect) if team else None
    except NotAllowed:
        return None


def _back(request: HttpRequest, pk: int) -> HttpResponse:
    """To the page of one engine if the button stood there, else to the list."""
    return redirect("gateway:engine", pk=pk) if "stay" in request.POST else redirect("gateway:engines")


def _say_at_its_field(form: Form, error: CatalogueMistake) -> None:
    form.add_error(error.param if error.param in form.fields else None, error.message)


def _tell(request: HttpRequest, engine: Engine, *, looks: bool) -> None:
    if not looks:
        messages.success(request, _("Saved."))
        return
    engine.refresh_from_db()
    try:
        look(engine)
    except GatewayError as error:
        messages.warning(request, _("Saved. %(problem)s") % {"problem": _(error.message)})
    else:
        messages.success(request, _("Saved. The engine answers."))


def _say_what_became_of(request: HttpRequest, old: str, new: str) -> None:
    if old != new and ServedModel.objects.filter(public_id=old).exists():
        said = _(
            "Saved. Another engine still serves “%(old)s”: teams and keys that are limited to it keep it, "
            "and may not use “%(new)s”."
        )
        messages.warning(request, said % {"old": old, "new": new})
    else:
        messages.success(request, _("Saved."))


def _model_page(
    request: HttpRequest,
    model: ServedModel,
    *,
    form: ModelForm | None = None,
    lifecycle: LifecycleForm | None = None,
    loaded: Preset | None = None,
) -> HttpResponse:
    form = form or ModelForm.of(model)
    lifecycle = lifecycle or LifecycleForm(model=model, others=_other_models(model))
    context = {
        "model": model,
        "others": _also_served_by(model),
        "form": form,
        "lifecycle": lifecycle,
        "presets": PRESETS,
        "loaded": loaded,
    }
    return render(request, "gateway/model.html", context, status=422 if form.errors or lifecycle.errors else 200)


def _other_models(model: ServedModel) -> list[str]:
    """What may follow it."""
    rows = ServedModel.objects.exclude(public_id=model.public_id).order_by("public_id")
    return list(rows.values_list("public_id", flat=True).distinct())


def _also_served_by(model: ServedModel) -> list[ServedModel]:
    """The same model on other engines."""
    rows = ServedModel.objects.filter(public_id=model.public_id).exclude(pk=model.pk)
    return list(rows.select_related("engine").order_by("engine__name"))


def _page(
    request: HttpRequest, *, form: EngineForm | None = None, looked: bool = False, status: int = 200
) -> HttpResponse:
    rows = list(Engine.objects.prefetch_related("models").order_by("fallback", "name"))
    known = {engine.url for engine in rows}
    found = [engine for engine in find_engines() if engine.url not in known] if looked else []
    context = {"engines": rows, "found": found, "looked": looked, "form": form or EngineForm()}
    return render(request, "gateway/engines.html", context, status=status)


def _import(request: HttpRequest, engine: Engine, user: User) -> None:
    try:
        served = import_models(engine=engine, by=user)
    except GatewayError as error:
        messages.warning(request, _("%(name)s: %(problem)s") % {"name": engine.name, "problem": _(error.message)})
        return
    told = ngettext("%(name)s serves %(count)d model.", "%(name)s serves %(count)d models.", len(served))
    messages.success(request, told % {"name": engine.name, "count": len(served)})
