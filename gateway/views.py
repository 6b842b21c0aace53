"""The pages of this room: the models of a team, and the engines behind them for operators."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import chat_caller, require_operator, team_for
from accounts.models import Role, User
from gateway.catalogue import add_engine, import_models, models_for, remove_engine, set_enabled
from gateway.discovery import find_engines
from gateway.errors import GatewayError
from gateway.forms import EngineForm
from gateway.models import Engine


@require_GET
def models(request: HttpRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug, role=Role.MEMBER)
    offered = models_for(chat_caller(request.user, team))
    return render(request, "gateway/models.html", {"team": team, "models": offered})


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
    except GatewayError as error:
        form.add_error(None, error.message)
        return _page(request, form=form, status=422)
    _import(request, engine, user)
    return redirect("gateway:engines")


@require_POST
def import_again(request: HttpRequest, pk: int) -> HttpResponse:
    user = require_operator(request.user)
    _import(request, get_object_or_404(Engine, pk=pk), user)
    return redirect("gateway:engines")


@require_POST
def enabled(request: HttpRequest, pk: int) -> HttpResponse:
    user = require_operator(request.user)
    set_enabled(engine=get_object_or_404(Engine, pk=pk), enabled="on" in request.POST, by=user)
    return redirect("gateway:engines")


@require_http_methods(["GET", "POST"])
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    user = require_operator(request.user)
    engine = get_object_or_404(Engine, pk=pk)
    if request.method == "POST":
        remove_engine(engine=engine, by=user)
        return redirect("gateway:engines")
    return render(request, "gateway/remove_engine.html", {"engine": engine})


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
