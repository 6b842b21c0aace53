"""The chat's pages. They read and post without a socket too; the socket only makes them live."""

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import TEAM_IN_SESSION, chat_caller, has_role, role_in, signed_in, team_for, teams_of
from accounts.models import Role, Team, User
from chat import conversations
from chat.conversations import listed, turns, visible_to
from chat.errors import ChatError
from chat.forms import QuestionForm, TitleForm
from chat.models import Conversation, Message
from chat.show import conversation_groups, sentence, shown_turns
from gateway.catalogue import models_for


@never_cache
@require_http_methods(["GET", "POST"])
def home(request: HttpRequest) -> HttpResponse:
    """A new conversation: the composer alone, and the list."""
    user, team = signed_in(request.user), _team(request)
    form = QuestionForm(request.POST or None)
    problem = ""
    if request.method == "POST" and not form.is_valid():
        problem = sentence("unreadable")
    elif request.method == "POST" and team is not None:
        try:
            return redirect("chat:conversation", conversations.start(user=user, team=team, question=form.question()).pk)
        except ChatError as error:
            problem = sentence(error.code)
    chosen = str(form.data.get("model") or request.GET.get("model", "")) or _last_model(user)
    context = {"chat_team": team, "problem": problem, "text": form.data.get("text", "")}
    page = context | _frame(user) | _picker(user, team, chosen)
    return render(request, "chat/home.html", page, status=422 if problem else 200)


@never_cache
@require_http_methods(["GET", "POST"])
def conversation(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    user, found = signed_in(request.user), _own(request, pk)
    form = QuestionForm(request.POST or None)
    problem = ""
    if request.method == "POST" and not form.is_valid():
        problem = sentence("unreadable")
    elif request.method == "POST":
        try:
            conversations.ask(user=user, conversation=found, question=form.question())
            return redirect("chat:conversation", pk)
        except ChatError as error:
            problem = sentence(error.code)
    rows = shown_turns(turns(pk))
    context = {
        "conversation": found,
        "turns": rows,
        "newest": rows[-1].newest if rows else "",
        "is_live": bool(rows and rows[-1].answer and rows[-1].answer.is_live),
        "problem": problem,
        "text": form.data.get("text", "") if problem else "",
    }
    page = context | _frame(user) | _picker(user, found.team, str(form.data.get("model") or found.model))
    return render(request, "chat/conversation.html", page, status=422 if problem else 200)


@require_POST
def stop(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    conversations.stop(user=signed_in(request.user), conversation=_own(request, pk))
    return redirect("chat:conversation", pk)


@require_POST
def again(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Once more; if an answer is being written already, that is the one that is shown."""
    found = _own(request, pk)
    try:
        conversations.ask_again(user=signed_in(request.user), conversation=found, model=request.POST.get("model", ""))
    except ChatError:
        return redirect("chat:conversation", pk)
    return redirect("chat:conversation", pk)


@require_POST
def rename(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    found, form = _own(request, pk), TitleForm(request.POST)
    if form.is_valid():
        conversations.rename(user=signed_in(request.user), conversation=found, title=form.cleaned_data["title"])
    return redirect("chat:conversation", pk)


@require_POST
def delete(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    conversations.delete(user=signed_in(request.user), conversation=_own(request, pk))
    return redirect("chat:home")


@never_cache
@require_GET
def source(request: HttpRequest, pk: uuid.UUID, answer: int) -> HttpResponse:
    """An answer as the model wrote it, to be copied."""
    message = get_object_or_404(Message, pk=answer, conversation=_own(request, pk), author=Message.Author.ASSISTANT)
    return HttpResponse(message.text, content_type="text/plain; charset=utf-8")


def _own(request: HttpRequest, pk: uuid.UUID) -> Conversation:
    """The conversation, for its owner; for everybody else there is none."""
    return get_object_or_404(visible_to(signed_in(request.user)), pk=pk)


def _team(request: HttpRequest) -> Team | None:
    """The team that pays for a new conversation: the one asked for, else the one last looked at, else the first."""
    asked = request.POST.get("team") or request.GET.get("team")
    if asked:
        return team_for(request.user, asked, role=Role.MEMBER)
    mine = [team for team in teams_of(request.user) if has_role(role_in(request.user, team), Role.MEMBER)]
    looked_at = request.session.get(TEAM_IN_SESSION)
    return next((team for team in mine if team.slug == looked_at), mine[0] if mine else None)


def _frame(user: User) -> dict[str, Any]:
    return {"groups": conversation_groups(listed(user), today=timezone.localdate()), "client_id": uuid.uuid4()}


def _picker(user: User, team: Team | None, chosen: str) -> dict[str, Any]:
    """The models to choose from, and the one chosen: what was used before if it is still there, else the first.

    Deprecated ones stand last: nobody new should begin with one.
    """
    if team is None:
        return {"models": [], "chosen": ""}
    offered = sorted(models_for(chat_caller(user, team)), key=lambda model: model.retires_on is not None)
    ids = [model.public_id for model in offered]
    renamed = [model.public_id for model in offered if chosen in model.aliases]
    return {"models": offered, "chosen": chosen if chosen in ids else next(iter(renamed + ids), "")}


def _last_model(user: User) -> str:
    newest = visible_to(user).order_by("-updated_at").first()
    return newest.model if newest else ""
