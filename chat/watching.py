"""What a page must be sent to show a conversation as it stands. Knows no socket: HTML fragments come out.

A page is brought up to date by replacing what may differ (`begin`), and from then on only receives what was added.
Everything is computed from where the page stands and where the answer stands, so a page that was not sent anything
for a while simply gets more at once; nothing is queued for it.
"""

import dataclasses
import time
import uuid
from dataclasses import dataclass
from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.safestring import SafeString

from accounts.database import in_database
from chat.conversations import Leaf, leaf, listed, turns
from chat.generations import Answer, supervisor
from chat.models import Conversation
from chat.show import conversation_groups, shown_turns

TEMPLATE = "chat/conversation.html"
METER_EVERY = 0.5  # seconds
POLL_ELSEWHERE = 0.5  # while another process writes the answer
POLL_IDLE = 15.0  # in case a notification was lost


@dataclass(frozen=True, slots=True)
class Live:
    """A picture of a growing answer, taken in one step."""

    blocks: tuple[SafeString, ...]
    tail: str
    tail_is_code: bool
    reasoning: str
    seq: int
    position: "Position"

    @classmethod
    def of(cls, answer: Answer) -> "Live":
        return cls(
            blocks=tuple(block.html for block in answer.text.blocks),
            tail=answer.text.tail.lstrip("\n"),
            tail_is_code=answer.text.tail_is_code,
            reasoning=answer.reasoning,
            seq=answer.seq,
            position=Position.of(answer),
        )


@dataclass(frozen=True, slots=True)
class Position:
    """How much of an answer a page shows: blocks, and characters of text and of reasoning."""

    blocks: int = 0
    settled: int = 0
    text: int = 0
    reasoning: int = 0

    @classmethod
    def of(cls, answer: Answer) -> "Position":
        growing = answer.text
        return cls(len(growing.blocks), growing.settled, len(growing.text), len(answer.reasoning))

    @property
    def seq(self) -> int:
        return self.text + self.reasoning


class Watcher:
    """One page's view of one conversation."""

    def __init__(self, conversation_id: uuid.UUID, language: str) -> None:
        self.conversation_id = conversation_id
        self.language = language
        self._newest: int | None = None  # the newest message in the page
        self._live = False  # whether the page shows it as being written
        self._at = Position()
        self._copy: Answer | None = None  # grown from the database while another process writes the answer
        self._metered = 0.0
        self.began = False  # until then nobody knows what the page shows

    @property
    def patience(self) -> float:
        """Seconds until the database should be asked although nobody called."""
        here = supervisor.run_of(self.conversation_id) is not None
        return POLL_ELSEWHERE if self._live and not here else POLL_IDLE

    async def begin(self, newest: int | None) -> str:
        """Replace what may differ in a page whose newest message is `newest`."""
        found = await in_database(leaf, self.conversation_id)
        self.began = True
        if found is None:
            return ""
        return await self._show(found, "answer" if found.message_id == newest else "turns")

    async def advance(self) -> str:
        """What was added since the last call; empty if nothing was."""
        run = supervisor.run_of(self.conversation_id)
        if run is not None and self._live and run.task.message_id == self._newest:
            return await self._added(run.answer, began=run.began, ttft_ms=run.ttft_ms)
        found = await in_database(leaf, self.conversation_id)
        if found is None:
            return ""
        if found.message_id != self._newest:
            return await self._show(found, self._part_for(found))
        if not found.live:
            return await self._show(found, "answer") if self._live else ""
        return await self._added(self._grown(found))

    def _part_for(self, found: Leaf) -> str:
        """The least that brings the page up to date: one more turn, or all of them."""
        return "turn" if found.previous_id == self._newest else "turns"

    def _grown(self, found: Leaf) -> Answer:
        copy = self._copy = self._copy or Answer()
        text, reasoning = found.text[len(copy.text.text) :], found.reasoning[len(copy.reasoning) :]
        if text or reasoning:
            copy.add(text=text, reasoning=reasoning)
        return copy

    async def _show(self, found: Leaf, part: str) -> str:
        """Render `part` with the newest answer as it stands, and remember that the page now shows it."""
        run = supervisor.run_of(self.conversation_id)
        self._copy, live = None, None
        if found.live:
            here = run is not None and run.task.message_id == found.message_id
            live = Live.of(run.answer if run is not None and here else self._grown(found))
        was_live = self._live and self._newest == found.message_id
        self._newest, self._live = found.message_id, found.live
        self._at = live.position if live else Position()
        return await in_database(
            render_part,
            self.conversation_id,
            self.language,
            part,
            live,
            "complete" if was_live and not found.live else "answering" if found.live else "",
        )

    async def _added(self, answer: Answer, *, began: float = 0.0, ttft_ms: int | None = None) -> str:
        before, now = self._at, Position.of(answer)
        if now == before:
            return ""
        if now.reasoning and not before.reasoning:  # the page has no place for it yet
            found = await in_database(leaf, self.conversation_id)
            return await self._show(found, "answer") if found else ""
        self._at = now
        growing = answer.text
        moved = now.settled != before.settled
        start = now.settled if moved else before.text
        fresh = growing.text[start:]
        context = {
            "newest": str(self._newest),
            "before": str(before.seq),
            "seq": str(now.seq),
            "blocks": [block.html for block in growing.blocks[before.blocks :]],
            "moved": moved,
            "tail": fresh if growing.text[now.settled : start].strip() else fresh.lstrip("\n"),
            "tail_is_code": growing.tail_is_code,
            "reasoning": answer.reasoning[before.reasoning :],
            "meter": self._meter(answer, began, ttft_ms),
        }
        with translation.override(self.language):
            return render_to_string(f"{TEMPLATE}#delta", context)

    def _meter(self, answer: Answer, began: float, ttft_ms: int | None) -> dict[str, Any] | None:
        now = time.monotonic()
        if ttft_ms is None or now - self._metered < METER_EVERY:
            return None
        self._metered = now
        writing = now - began - ttft_ms / 1000
        return {
            "tokens": answer.deltas,
            "ttft": ttft_ms / 1000,
            "speed": answer.deltas / writing if writing > METER_EVERY else None,
        }


def render_part(conversation_id: uuid.UUID, language: str, part: str, live: Live | None, announce: str) -> str:
    """`part` of the conversation's page as fragments that replace or extend what the page holds."""
    conversation = Conversation.objects.select_related("user", "team").filter(pk=conversation_id).first()
    if conversation is None:
        return ""
    found = turns(conversation_id)
    with translation.override(language):
        rows = shown_turns(found if part == "turns" else found[-1:])
        if live and rows and rows[-1].answer:
            rows[-1] = dataclasses.replace(rows[-1], answer=dataclasses.replace(rows[-1].answer, live=live))
        context = {
            "part": part,
            "conversation": conversation,
            "turns": rows,
            "newest": rows[-1].newest if rows else "",
            "seq": str(live.seq) if live else "",
            "live": live,
            "announce": announce,
            "groups": conversation_groups(listed(conversation.user), today=timezone.localdate()),
        }
        return render_to_string(f"{TEMPLATE}#update", context)
