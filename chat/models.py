"""Conversations, their messages, and the generations that write the answers."""

import uuid

from django.db import models
from django.utils import timezone

from accounts.models import Team, User


class Conversation(models.Model):
    """Belongs to one person and one team, fixed when it begins; only its owner reads it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="conversations")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    title = models.CharField(max_length=200, blank=True)
    model = models.CharField(max_length=200, blank=True)  # public id that the composer offers first
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["user", "-updated_at"])]

    def __str__(self) -> str:
        return self.title or str(self.id)


class Message(models.Model):
    """A question or an answer. `parent` is the message it follows; siblings are versions of one another."""

    class Author(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="messages")
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="children")
    author = models.CharField(max_length=9, choices=Author)
    text = models.TextField(blank=True)
    reasoning = models.TextField(blank=True)
    client_id = models.UUIDField(null=True)  # chosen by the browser, so that sending twice asks once
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["conversation", "id"])]
        constraints = [
            models.UniqueConstraint(fields=["conversation", "client_id"], name="message_client_id_once"),
        ]

    def __str__(self) -> str:
        return f"{self.author}: {self.text[:40]}"


class Generation(models.Model):
    """One run of a model that writes one answer; bound to a process, never to a socket."""

    class State(models.TextChoices):
        PENDING = "pending"
        RUNNING = "running"
        DONE = "done"
        STOPPED = "stopped"
        FAILED = "failed"
        INTERRUPTED = "interrupted"

    LIVE = (State.PENDING, State.RUNNING)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="generations")
    message = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="generation")
    model = models.CharField(max_length=200)
    state = models.CharField(max_length=11, choices=State, default=State.PENDING)
    stop_requested_at = models.DateTimeField(null=True)
    seq = models.BigIntegerField(default=0)  # of the last text saved in the message
    process = models.CharField(max_length=64, blank=True)  # which process runs it
    heartbeat_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    request_id = models.UUIDField(null=True)  # of its row in the usage log
    error = models.CharField(max_length=64, blank=True)  # a stable code; the sentence is made when shown
    prompt_tokens = models.BigIntegerField(null=True)
    completion_tokens = models.BigIntegerField(null=True)
    estimated = models.BooleanField(default=False)
    cost = models.DecimalField(max_digits=24, decimal_places=12, null=True)  # in the installation's currency
    ttft_ms = models.IntegerField(null=True)
    duration_ms = models.IntegerField(null=True)

    class Meta:
        constraints = [
            # One turn at a time.
            models.UniqueConstraint(
                fields=["conversation"],
                condition=models.Q(state__in=["pending", "running"]),
                name="one_live_generation",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.state}"
