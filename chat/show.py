"""Conversations as the templates show them: words for states and errors, meters, groups of the list."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.utils.functional import cached_property
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.limits.words import refused
from chat.conversations import Turn, group_by_day
from chat.markdown import render
from chat.models import Conversation, Generation, Message

GROUPS = {
    "today": gettext_lazy("Today"),
    "yesterday": gettext_lazy("Yesterday"),
    "week": gettext_lazy("Last seven days"),
    "earlier": gettext_lazy("Earlier"),
}

# What happened, what is safe, what to do.
ERRORS = {
    "service_unavailable": gettext_lazy("The engine of this model cannot be reached. Your question is kept."),
    "bad_gateway": gettext_lazy("The engine failed while it answered. What it wrote is kept."),
    "timeout": gettext_lazy("The engine took too long. What it wrote is kept."),
    "overloaded": gettext_lazy("Every engine of this model is busy. Your question is kept; ask again in a moment."),
    "engine_busy": gettext_lazy("The engine of this model is busy. Your question is kept; ask again in a moment."),
    "rate_limit_exceeded": gettext_lazy("Too many requests just now. Your question is kept; wait a moment."),
    "insufficient_quota": gettext_lazy(
        "The budget or credit that pays for this has too little left. What was written is kept; ask an admin for more."
    ),
    "model_without_price": gettext_lazy(
        "This model has no price, and the team pays in money. Choose another below, or ask the operator for a price."
    ),
    "model_not_found": gettext_lazy("This model is no longer offered. Choose another below and ask again."),
    "model_not_allowed": gettext_lazy("Your team may not use this model. Choose another below and ask again."),
    "context_length_exceeded": gettext_lazy("The conversation is longer than this model can read. Begin a new one."),
    "accounts_unavailable": gettext_lazy("Usage cannot be recorded just now, so nothing was asked. Try again later."),
    "not_allowed": gettext_lazy("You may no longer chat on this team's account."),
    "interrupted": gettext_lazy("The server was interrupted while it answered. What it wrote is kept."),
    "drained": gettext_lazy("The server was stopped while it answered. What it wrote is kept."),
    "busy": gettext_lazy("An answer is being written. Stop it, or wait for its end; your text stays here."),
    "empty": gettext_lazy("Write a question first."),
    "too_long": gettext_lazy("A question may have at most 100,000 characters. Your text stays here."),
    "unreadable": gettext_lazy("The question did not arrive whole. Reload the page and ask again."),
    "no_model": gettext_lazy("Choose a model that your team may use."),
}


def sentence(code: str) -> str:
    """`code` may say more after a colon: which limit was reached."""
    code, _colon, more = code.partition(":")
    if more and (told := refused(more)):
        return told
    return str(ERRORS.get(code) or _("Something went wrong here. Your question is kept."))


@dataclass(frozen=True, slots=True)
class Meters:
    """The figures under an answer. None: not known. Times in seconds."""

    prompt: int | None
    completion: int | None
    estimated: bool
    first_token: float | None
    speed: float | None  # tokens a second, after the first
    cost: Decimal | None

    @property
    def currency(self) -> str:
        return str(settings.ENVIRONMENT.currency)

    @classmethod
    def of(cls, generation: Generation) -> "Meters":
        ttft, duration, out = generation.ttft_ms, generation.duration_ms, generation.completion_tokens
        writing = (duration - ttft) / 1000 if duration is not None and ttft is not None else 0
        return cls(
            prompt=generation.prompt_tokens,
            completion=out,
            estimated=generation.estimated,
            first_token=None if ttft is None else ttft / 1000,
            speed=out / writing if out and writing > 0 else None,
            cost=generation.cost,
        )


@dataclass(frozen=True)
class ShownAnswer:
    message: Message
    generation: Generation | None
    meters: Meters | None
    live: Any = None  # watching.Live, while it is being written

    @property
    def pk(self) -> int:
        return self.message.pk

    @property
    def key(self) -> str:
        """The id for attributes, where no thousands separator may come in."""
        return str(self.message.pk)

    @property
    def is_live(self) -> bool:
        return self.generation is not None and self.generation.state in Generation.LIVE

    @property
    def is_stopped(self) -> bool:
        return self.generation is not None and self.generation.state == Generation.State.STOPPED

    @property
    def problem(self) -> str:
        return sentence(self.generation.error) if self.generation and self.generation.error else ""

    @cached_property
    def html(self) -> SafeString:
        return render(self.message.text)


@dataclass(frozen=True, slots=True)
class ShownTurn:
    question: Message
    answer: ShownAnswer | None
    versions: int
    is_last: bool

    @property
    def newest(self) -> str:
        return self.answer.key if self.answer else str(self.question.pk)

    @property
    def is_long(self) -> bool:
        return len(self.question.text) > 280 or self.question.text.count("\n") > 2


def shown_turns(turns: list[Turn]) -> list[ShownTurn]:
    return [
        ShownTurn(
            question=turn.question,
            answer=_shown_answer(turn.answer) if turn.answer else None,
            versions=turn.versions,
            is_last=turn is turns[-1],
        )
        for turn in turns
    ]


def _shown_answer(message: Message) -> ShownAnswer:
    generation: Generation | None = getattr(message, "generation", None)
    if generation is None or generation.finished_at is None:
        return ShownAnswer(message, generation, None)
    return ShownAnswer(message, generation, Meters.of(generation))


def conversation_groups(rows: list[Conversation], *, today: dt.date) -> list[tuple[str, list[Conversation]]]:
    return [(str(GROUPS[name]), found) for name, found in group_by_day(rows, today=today)]
