"""The rows of generations: claimed by one process, saved on the way, and closed once.

The only writer of what a generation comes to, and of the answer's text. All of it is sync code for `in_database`.
"""

import datetime as dt
import os
import secrets
import socket
import uuid
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from accounts.access import chat_caller
from accounts.callers import Caller
from accounts.errors import AccountsError
from billing.ids import RequestId, new_request
from chat.conversations import ChatMessage, announce, history
from chat.models import Generation, Message

DEAD_AFTER = dt.timedelta(seconds=30)  # without a heartbeat
CLAIMED_AT_ONCE = 20

_HOST = socket.gethostname()[:30]
PROCESS = f"{_HOST}:{os.getpid()}:{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Task:
    """What a claimed generation needs to run."""

    generation_id: uuid.UUID
    conversation_id: uuid.UUID
    message_id: int
    request: RequestId
    model: str
    caller: Caller
    messages: list[ChatMessage]


@dataclass(frozen=True, slots=True)
class End:
    """How a generation ended. `error` is a stable code; the sentence is made where it is shown."""

    state: Generation.State
    error: str = ""


def save(task: Task, text: str, reasoning: str, seq: int) -> bool:
    """Keep what came so far and say that this process lives. False: it is to stop, or was deleted."""
    with transaction.atomic():
        mine = Generation.objects.filter(pk=task.generation_id, process=PROCESS, state=Generation.State.RUNNING)
        if not mine.update(seq=seq, heartbeat_at=timezone.now()):
            return False
        Message.objects.filter(pk=task.message_id).update(text=text, reasoning=reasoning)
        return mine.filter(stop_requested_at=None).exists()


def finish(task: Task, words: dict[str, object]) -> None:
    """Keep the whole answer and how it ended. Only the process that claimed the generation may, and once."""
    text, reasoning = words.pop("text"), words.pop("reasoning")
    with transaction.atomic():
        mine = Generation.objects.filter(pk=task.generation_id, process=PROCESS, state=Generation.State.RUNNING)
        if mine.update(**words, finished_at=timezone.now()):
            Message.objects.filter(pk=task.message_id).update(text=text, reasoning=reasoning)
            announce("changed", task.conversation_id)


@transaction.atomic
def claim(limit: int = CLAIMED_AT_ONCE) -> list[Task]:
    """Make pending generations this process's own. What cannot run is finished here, with the reason."""
    pending = Generation.objects.select_for_update(skip_locked=True, of=("self",)).filter(
        state=Generation.State.PENDING
    )
    claimed = pending.select_related("message", "conversation__user", "conversation__team").order_by("created_at")
    return [task for generation in claimed[:limit] if (task := _claim_one(generation)) is not None]


def _claim_one(generation: Generation) -> Task | None:
    conversation = generation.conversation
    if generation.stop_requested_at:
        _close(generation, End(Generation.State.STOPPED))
        return None
    try:
        caller = chat_caller(conversation.user, conversation.team)
    except AccountsError:
        _close(generation, End(Generation.State.FAILED, "not_allowed"))
        return None
    request = new_request()
    generation.state, generation.process = Generation.State.RUNNING, PROCESS
    generation.heartbeat_at, generation.request_id = timezone.now(), request.id
    generation.save(update_fields=["state", "process", "heartbeat_at", "request_id"])
    return Task(
        generation_id=generation.pk,
        conversation_id=conversation.pk,
        message_id=generation.message_id,
        request=request,
        model=generation.model,
        caller=caller,
        messages=history(generation),
    )


def _close(generation: Generation, end: End) -> None:
    generation.state, generation.error, generation.finished_at = end.state, end.error, timezone.now()
    generation.save(update_fields=["state", "error", "finished_at"])
    announce("changed", generation.conversation_id)


def mark_interrupted() -> int:
    """Mark what dead processes left running: those without a heartbeat, and at once those that died on this machine."""
    running = Generation.objects.filter(state=Generation.State.RUNNING)
    silent = running.filter(heartbeat_at__lt=timezone.now() - DEAD_AFTER).values_list("process", flat=True)
    here = running.filter(process__startswith=f"{_HOST}:").values_list("process", flat=True)
    dead = {*silent, *(process for process in here.distinct() if _is_dead(process))}
    with transaction.atomic():
        left = list(running.select_for_update(skip_locked=True).filter(process__in=dead))
        for generation in left:
            _close(generation, End(Generation.State.INTERRUPTED, "interrupted"))
    return len(left)


def _is_dead(process: str) -> bool:
    """A process of this machine is dead when its pid is free, or is ours and we are another one.

    Two containers that share a host name but not their pids would misjudge one another; Docker and Kubernetes name
    each of them differently.
    """
    pid = int(process.split(":")[1])
    if process == PROCESS:
        return False
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
