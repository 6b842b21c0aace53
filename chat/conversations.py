"""What people do with conversations: ask, ask again, rename, delete; and how a conversation is read.

Messages form a tree (`Message.parent`); the thread that people see and models are given is the path that ends in the
newest message.
"""

import datetime as dt
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.utils import timezone

from accounts.access import chat_caller
from accounts.errors import NotAllowed
from accounts.models import Role, Team, User
from chat.errors import Busy, Empty, NoModel, TooLong
from chat.models import Conversation, Generation, Message

CHANNEL = "tertulia_chat"  # notifications "<what> <conversation>"; what: asked, stop, changed
QUESTION_LIMIT = 100_000  # characters
TITLE_LENGTH = 80
LISTED = 200  # the newest conversations in the list

type ChatMessage = dict[str, str]

MAY_CHAT = [Role.MEMBER, Role.ADMIN, Role.OWNER]


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and the answer shown under it. `versions` counts the answers that it has had."""

    question: Message
    answer: Message | None
    versions: int = 1


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody wants to ask. `client_id` is chosen by the browser, so that sending twice asks once."""

    text: str
    model: str
    client_id: uuid.UUID


def visible_to(user: User) -> QuerySet[Conversation]:
    """The user's conversations in the teams on whose account they may chat. Nobody else's, whatever their role."""
    return (
        Conversation.objects.filter(user=user, user__is_active=True, team__archived_at=None)
        .filter(team__memberships__user=user, team__memberships__role__in=MAY_CHAT)
        .select_related("team", "user")
    )


def listed(user: User) -> list[Conversation]:
    """The newest conversations, newest first, each with `live`: whether it is being answered."""
    live = Generation.objects.filter(conversation=OuterRef("pk"), state__in=Generation.LIVE).values("pk")[:1]
    return list(visible_to(user).annotate(live=Subquery(live)).order_by("-updated_at")[:LISTED])


@transaction.atomic
def start(*, user: User, team: Team, question: Question) -> Conversation:
    """A new conversation with its first question. Its id comes from the question's: sending twice starts one."""
    chat_caller(user, team)
    pk = uuid.uuid5(question.client_id, f"{user.pk}")
    conversation, _ = Conversation.objects.get_or_create(pk=pk, defaults={"user": user, "team": team})
    ask(user=user, conversation=conversation, question=question)
    return conversation


@transaction.atomic
def ask(*, user: User, conversation: Conversation, question: Question) -> Generation:
    """Put the question and set a generation to answer it.

    Raises Empty, TooLong, NoModel, Busy while another answer is being written, and NotAllowed.
    """
    conversation = _locked(user, conversation)
    sent_before = Generation.objects.filter(message__parent__client_id=question.client_id, conversation=conversation)
    if found := sent_before.order_by("created_at").first():
        return found
    _check(question)
    _refuse_while_busy(conversation)
    text = question.text.strip().replace("\x00", "\ufffd")
    asked = Message.objects.create(
        conversation=conversation,
        parent=_newest(conversation),
        author=Message.Author.USER,
        text=text,
        client_id=question.client_id,
    )
    conversation.title = conversation.title or title_from(text)
    return _generate(conversation, asked, question.model)


@transaction.atomic
def ask_again(*, user: User, conversation: Conversation, model: str = "") -> Generation:
    """Another answer to the last question, beside the one it has. Raises Busy, NotAllowed, Empty if there is none."""
    conversation = _locked(user, conversation)
    _refuse_while_busy(conversation)
    newest = _newest(conversation)
    asked = newest.parent if newest and newest.author == Message.Author.ASSISTANT else newest
    if asked is None:
        raise Empty
    return _generate(conversation, asked, model or conversation.model)


def stop(*, user: User, conversation: Conversation) -> None:
    """Ask whichever process writes the answer to end it. Nothing happens if none is being written."""
    stopped = Generation.objects.filter(
        conversation__in=visible_to(user).filter(pk=conversation.pk), state__in=Generation.LIVE, stop_requested_at=None
    ).update(stop_requested_at=timezone.now())
    if stopped:
        announce("stop", conversation.pk)


def rename(*, user: User, conversation: Conversation, title: str) -> None:
    cleaned = " ".join(title.replace("\x00", "").split())[:TITLE_LENGTH]
    if cleaned:
        visible_to(user).filter(pk=conversation.pk).update(title=cleaned)
        announce("changed", conversation.pk)


@transaction.atomic
def delete(*, user: User, conversation: Conversation) -> None:
    """Delete it with all it holds; an answer being written is stopped first. The usage log keeps its numbers."""
    stop(user=user, conversation=conversation)
    Conversation.objects.filter(pk=conversation.pk, user=user).delete()
    announce("changed", conversation.pk)


def title_from(text: str) -> str:
    """The question's first line, cut between words."""
    line = text.strip().splitlines()[0].strip()
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[: TITLE_LENGTH - 1]
    return f"{cut.rsplit(None, 1)[0] if ' ' in cut else cut}…"


def announce(what: str, conversation_id: uuid.UUID) -> None:
    """Tell every web process; the notification leaves when the transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, f"{what} {conversation_id}"])


def turns(conversation_id: uuid.UUID) -> list[Turn]:
    """The thread, oldest first."""
    rows = {row.pk: row for row in Message.objects.filter(conversation_id=conversation_id).select_related("generation")}
    answers: dict[int | None, int] = {}
    for row in rows.values():
        if row.author == Message.Author.ASSISTANT:
            answers[row.parent_id] = answers.get(row.parent_id, 0) + 1
    found: list[Turn] = []
    answer: Message | None = None
    for message in _ancestry(rows):
        if message.author == Message.Author.ASSISTANT:
            answer = message
        else:
            found.append(Turn(message, answer, versions=answers.get(message.pk, 0)))
            answer = None
    return found[::-1]


def history(generation: Generation) -> list[ChatMessage]:
    """What the model is given: the thread that ends in the question it is to answer, without empty answers."""
    rows = {row.pk: row for row in Message.objects.filter(conversation=generation.conversation_id)}
    asked = generation.message.parent_id
    given = [row for row in _ancestry(rows, start=asked) if row.text]
    return [{"role": row.author, "content": row.text} for row in reversed(given)]


def _ancestry(rows: Mapping[int, Message], start: int | None = None) -> Iterator[Message]:
    """From the newest message, or `start`, back to the first."""
    pk = start if start is not None else max(rows, default=None)
    while pk is not None:
        yield rows[pk]
        pk = rows[pk].parent_id


def _locked(user: User, conversation: Conversation) -> Conversation:
    """The row, locked, so that of two questions at the same time the second finds the first."""
    chat_caller(user, conversation.team)
    try:
        return Conversation.objects.select_for_update().get(pk=conversation.pk, user=user)
    except Conversation.DoesNotExist as error:
        raise NotAllowed("The conversation belongs to somebody else, or is gone.") from error


def _check(question: Question) -> None:
    if not question.text.strip():
        raise Empty
    if len(question.text) > QUESTION_LIMIT:
        raise TooLong
    if not question.model:
        raise NoModel


def _refuse_while_busy(conversation: Conversation) -> None:
    if Generation.objects.filter(conversation=conversation, state__in=Generation.LIVE).exists():
        raise Busy


def _newest(conversation: Conversation) -> Message | None:
    return Message.objects.filter(conversation=conversation).order_by("-pk").first()


def _generate(conversation: Conversation, asked: Message, model: str) -> Generation:
    answer = Message.objects.create(conversation=conversation, parent=asked, author=Message.Author.ASSISTANT)
    conversation.model = model
    conversation.updated_at = timezone.now()
    conversation.save(update_fields=["title", "model", "updated_at"])
    generation = Generation.objects.create(conversation=conversation, message=answer, model=model)
    announce("asked", conversation.pk)
    return generation


@dataclass(frozen=True, slots=True)
class Leaf:
    """The newest message, all that a watcher must know to say whether the page is up to date."""

    message_id: int
    question_id: int | None
    previous_id: int | None  # the message that the question follows
    live: bool
    text: str
    reasoning: str


def leaf(conversation_id: uuid.UUID) -> Leaf | None:
    newest = (
        Message.objects.filter(conversation_id=conversation_id).select_related("parent", "generation").order_by("-pk")
    ).first()
    if newest is None:
        return None
    generation = getattr(newest, "generation", None)
    return Leaf(
        message_id=newest.pk,
        question_id=newest.parent_id,
        previous_id=newest.parent.parent_id if newest.parent else None,
        live=generation is not None and generation.state in Generation.LIVE,
        text=newest.text,
        reasoning=newest.reasoning,
    )


def group_by_day(rows: list[Conversation], *, today: dt.date) -> list[tuple[str, list[Conversation]]]:
    """The rows under `today`, `yesterday`, `week` and `earlier`, without the empty groups."""
    groups: dict[str, list[Conversation]] = {"today": [], "yesterday": [], "week": [], "earlier": []}
    for row in rows:
        age = (today - timezone.localdate(row.updated_at)).days
        groups["today" if age < 1 else "yesterday" if age == 1 else "week" if age < 7 else "earlier"].append(row)
    return [(name, found) for name, found in groups.items() if found]


def still_allowed(conversation_ids: list[uuid.UUID]) -> set[uuid.UUID]:
    """Of these conversations, those whose owner is active and still a member who may chat."""
    allowed = Conversation.objects.filter(
        pk__in=conversation_ids,
        user__memberships__team=F("team"),
        user__memberships__role__in=MAY_CHAT,
        user__is_active=True,
        team__archived_at=None,
    )
    return set(allowed.values_list("pk", flat=True))
