"""What an answer cost in tokens, and where each number comes from.

The engine's own count wins, the last valid one before the stream's end, never a sum. Without one, completion tokens
are the non-empty deltas that came (`counted`), or bytes ÷ 3.5 where there were no deltas (`estimated`), and prompt
tokens are bytes ÷ 3.5. Where nothing came there is nothing to count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from billing.records import NOTHING, Counts

BYTES_PER_TOKEN = 3.5
MOST_TOKENS = 10_000_000  # of one request; a count above it is not believed


@dataclass(frozen=True, slots=True)
class Reported:
    """An engine's count that passed for one."""

    prompt: int
    completion: int
    reasoning: int | None
    cached: int | None
    words: Mapping[str, Any]


def estimate(text: str) -> int:
    return round(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)


def estimate_prompt(body: Mapping[str, Any]) -> int:
    """Tokens of what was asked, text only: what an image costs is the engine's secret."""
    if "messages" in body:
        return sum(estimate(_text_in(message.get("content"))) for message in body["messages"])
    return _estimate_of(body.get("prompt", body.get("input", "")))


def _estimate_of(given: object) -> int:
    """Of a text, token ids, or a list of either."""
    if isinstance(given, str):
        return estimate(given)
    if not isinstance(given, list):
        return 0
    ids = sum(not isinstance(one, str | list) for one in given)
    return ids + sum(_estimate_of(one) for one in given if isinstance(one, str | list))


class Meter:
    """The count of one answer as it comes in."""

    def __init__(self, prompt_estimate: int) -> None:
        self.deltas = 0
        self.usage: Mapping[str, Any] = {}  # the engine's own words for what it counted
        self._prompt_estimate = prompt_estimate
        self.events = 0
        self._reported: Reported | None = None
        self._anomaly = ""
        self._estimated: int | None = None  # completion tokens of an answer in one piece

    @property
    def completion(self) -> int:
        """Tokens of the answer so far, as the engine counts them, else as deltas."""
        return self._reported.completion if self._reported else self.deltas

    def event(self, *, counts: bool, usage: object) -> None:
        """An event came; `counts` tells whether its delta brought something."""
        self.events += 1
        self.deltas += counts
        if usage is not None:
            self._take(usage)

    def whole(self, text: str, usage: object) -> None:
        """An answer came in one piece; without text where it is none, as embeddings are."""
        self.events += 1
        if usage is not None:
            self._take(usage)
        if self._reported is None:
            self._estimated = estimate(text)

    def counts(self, *, complete: bool) -> Counts:
        """`complete`: the answer came to its own end."""
        if not self.events:
            return NOTHING
        if self._reported is None:
            return self._own_count()
        source = "upstream" if complete else "upstream_partial"
        reported = self._reported
        return Counts(
            reported.prompt, reported.completion, source, source, reported.reasoning, reported.cached, self._anomaly
        )

    def _own_count(self) -> Counts:
        if self._estimated is not None:
            return Counts(self._prompt_estimate, self._estimated, "estimated", "estimated", anomaly=self._anomaly)
        return Counts(self._prompt_estimate, self.deltas, "estimated", "counted", anomaly=self._anomaly)

    def _take(self, usage: object) -> None:
        found = _reported(usage)
        if isinstance(found, Reported):
            self._reported, self.usage = found, found.words
        else:
            self._anomaly = found


def _reported(usage: object) -> Reported | str:
    """The engine's count, or the name of what is wrong with it."""
    if not isinstance(usage, dict):
        return "usage_type"
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    if type(prompt) is not int or type(completion) is not int:
        return "usage_type"
    if prompt < 0 or completion < 0:
        return "usage_negative"
    if prompt > MOST_TOKENS or completion > MOST_TOKENS:
        return "usage_huge"
    reasoning = _detail(usage, "completion_tokens_details", "reasoning_tokens", completion)
    cached = _detail(usage, "prompt_tokens_details", "cached_tokens", prompt)
    return Reported(prompt, completion, reasoning, cached, usage)


def _detail(usage: Mapping[str, Any], group: str, name: str, limit: int) -> int | None:
    """A part of a count, in OpenAI's place or flat; None unless it can be a part of its whole."""
    details = usage.get(group)
    value = details.get(name) if isinstance(details, dict) else None
    if value is None:
        value = usage.get(name)
    return value if type(value) is int and 0 <= value <= limit else None


def _text_in(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return " ".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
