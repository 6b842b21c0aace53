"""What is known of a request while it runs and when it has ended. No Django here: the gateway's hot path holds these.

Counts are tokens, times whole milliseconds. `Source` and `Outcome` of `billing.models` name the words used.
Those that every request makes are named tuples: a frozen dataclass of as many fields takes three times as long.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID


class UnitPrices(NamedTuple):
    """What a million tokens of each kind cost."""

    input: Decimal
    cached_input: Decimal
    output: Decimal
    reasoning: Decimal


class Counts(NamedTuple):
    """`cached_tokens` are part of the prompt, `reasoning_tokens` of the completion; None: the engine did not say."""

    prompt_tokens: int
    completion_tokens: int
    prompt_source: str
    completion_source: str
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    anomaly: str = ""

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.completion_tokens


NOTHING = Counts(0, 0, "none", "none")


class Start(NamedTuple):
    """An admitted request, before the engine is asked."""

    id: UUID
    at_ms: int
    team_id: int
    origin: str
    endpoint: str
    stream: bool
    key_id: int | None
    key_name: str
    member_id: int | None
    member_name: str
    end_user: str
    model: str
    client_request_id: str
    prompt_estimate: int
    price: UnitPrices | None


class Progress(NamedTuple):
    """How far an answer has come; what is billed if this process dies now."""

    id: UUID
    engine: str
    engine_type: str
    machine: str
    answer_id: str
    counts: Counts
    ttft_ms: int | None


class Final(NamedTuple):
    """How a request ended. There is one for each start."""

    id: UUID
    engine: str
    engine_type: str
    machine: str
    answer_id: str
    counts: Counts
    outcome: str
    status: int
    ttft_ms: int | None
    duration_ms: int


class Ended(NamedTuple):
    """A request whose start and end are both known: what becomes a row of the log."""

    start: Start
    final: Final


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call of a known caller that was not admitted. No text of it; `model` as it was asked for, if it came so far.

    `reason` says more than `code` where there is more to say, such as which limit of whom. `count` above one: so many
    of a minute that were the same but for their model, told from one another no more.
    """

    id: UUID
    at_ms: int
    team_id: int
    origin: str
    endpoint: str
    key_id: int | None
    key_name: str
    member_id: int | None
    member_name: str
    model: str
    code: str
    reason: str
    status: int
    count: int = 1
