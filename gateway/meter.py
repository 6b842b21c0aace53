"""What an answer cost in tokens, and where each number comes from.

The engine's own count wins, the last valid one before the stream's end, never a sum. Without one, completion tokens
are the non-empty deltas that came (`counted`), or bytes ÷ 3.5 where there were no deltas (`estimated`), and prompt
tokens are bytes ÷ 3.5. Where nothing came there is nothing to count.

Some engines report the tokens of one choice where several were asked for. Of these, all deltas count, or, for an answer
in one piece, as many tokens to a byte as its first choice has.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from billing.records import NOTHING, Counts
from gateway.engines.client import written

BYTES_PER_TOKEN = 3.5
OF_ONE_CHOICE = frozenset({"llamacpp"})  # types of engines whose usage is that of one of several choices
MOST_TOKENS = 10_000_000  # of one request; a count above it is not believed


class Reported(NamedTuple):
    """An engine's count that passed for one."""

    prompt: int
    completion: int
    reasoning: int | None
    cached: int | None
    words: Mapping[str, Any]


def estimate(text: str) -> int:
    return round(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)


def estimate_prompt(body: Mapping[str, Any]) -> int:
    """Tokens of what was asked, its tools and calls of them too, but text only: what an image costs is the engine's
    secret.
    """
    if "messages" in body:
        asked = sum(map(_estimate_of_message, body["messages"]))
        return asked + sum(_estimate_of_json(body[name]) for name in _TOOLS if body.get(name))
    return _estimate_of(body.get("prompt", body.get("input", "")))


_TOOLS = ("tools", "functions")  # the second by OpenAI's former name, which passes through


def _estimate_of_message(message: Mapping[str, Any]) -> int:
    calls = message.get("tool_calls")
    return estimate(_text_in(message.get("content"))) + (_estimate_of_json(calls) if calls else 0)


def _estimate_of_json(value: object) -> int:
    return round(len(written(value)) / BYTES_PER_TOKEN)


def _estimate_of(given: object) -> int:
    """Of a text, token ids, or a list of either."""
    if isinstance(given, str):
        return estimate(given)
    if not isinstance(given, list):
        return 0
    ids = sum(not isinstance(one, str | list) for one in given)
    return ids + sum(_estimate_of(one) for one in given if isinstance(one, str | list))


class Meter:
    """The count of one answer as it comes in. `of_one`: what the engine reports is one choice's, and there are more."""

    def __init__(self, prompt_estimate: int, *, of_one: bool = False) -> None:
        self.deltas = 0
        self._of_one = of_one
        self.usage: Mapping[str, Any] = {}  # the engine's own words for what it counted
        self._prompt_estimate = prompt_estimate
        self.events = 0
        self._reported: Reported | None = None
        self._anomaly = ""
        self._estimated: int | None = None  # completion tokens of an answer in one piece

    @property
    def completion(self) -> int:
        """Tokens of the answer so far, as the engine counts them, else as deltas."""
        if self._reported is None:
            return self.deltas
        return max(self._reported.completion, self.deltas) if self._of_one else self._reported.completion

    def event(self, *, counts: bool, usage: object) -> None:
        """An event came; `counts` tells whether its delta brought something."""
        self.events += 1
        self.deltas += counts
        if usage is not None:
            self._take(usage)

    def whole(self, texts: Sequence[str], usage: object) -> None:
        """An answer came in one piece: its choices' texts, none where it is none, as embeddings are."""
        self.events += 1
        if usage is not None:
            self._take(usage)
        if self._reported is None:
            self._estimated = estimate("".join(texts))
        elif self._of_one and texts and (first := estimate(texts[0])):
            self._estimated = round(self._reported.completion * estimate("".join(texts)) / first)

    def counts(self, *, complete: bool) -> Counts:
        """`complete`: the answer came to its own end."""
        if not self.events:
            return NOTHING
        if self._reported is None:
            return self._own_count()
        source = "upstream" if complete else "upstream_partial"
        reported = self._reported
        completion, completion_source = max((reported.completion, source), self._of_all_choices(), key=itemgetter(0))
        return Counts(
            reported.prompt, completion, source, completion_source, reported.reasoning, reported.cached, self._anomaly
        )

    def _of_all_choices(self) -> tuple[int, str]:
        """Completion tokens by our own count, where the engine has counted one choice of several."""
        if not self._of_one:
            return 0, "none"
        return (self.deltas, "counted") if self._estimated is None else (self._estimated, "estimated")

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
