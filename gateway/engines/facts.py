"""What the road to an engine knows: the engine, the way to a model, and what is asked. No Django here."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from gateway.engines.clock import Clock

type Json = dict[str, Any]
type Item = bytes | Json
"""JSON of an answer in OpenAI's form: bytes as an engine sent them, or an object made here of what it said."""


DEFAULT_RESERVE = 4096  # tokens
LONGEST_VERSION = 60  # characters


class Kind(StrEnum):
    """What is asked of a model."""

    CHAT = "chat"
    TEXT = "text"
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """An engine as the hot path knows it. `url` has no /v1; `machine_name` is a label for callers to see.

    `allowed`: the names of the request fields that may reach it beside the documented ones; None: all not denied.
    """

    id: int
    name: str
    type: str
    url: str
    secret: str = field(repr=False)
    machine_name: str
    secret_lost: bool = False  # stored with another SECRET_KEY
    weight: int = 1  # its share of a model's calls; 0: only when no other can
    max_concurrent: int | None = None
    allowed: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One way to a model: the engine that serves it and the name it has there.

    `defaults` are request fields for a caller who is silent on them. `default_reserve`: the longest answer, in tokens,
    for one whom a budget or credit binds and who does not say how long it may be.
    """

    engine: EngineFacts
    public_id: str
    engine_model: str
    context_length: int | None = None
    aliases: tuple[str, ...] = ()
    created: int = 0  # seconds since the epoch
    retires_on: date | None = None  # set: it is deprecated
    successor: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    default_reserve: int = DEFAULT_RESERVE


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model that an engine says it serves."""

    name: str
    context_length: int | None = None


def version_in(said: object) -> str:
    """What an engine calls its version, if that is a word to be shown; else nothing."""
    return said.strip()[:LONGEST_VERSION] if isinstance(said, str) and said.isprintable() else ""


class Question(NamedTuple):
    """What an engine is asked. `body` is in OpenAI's form and has neither `model` nor `stream`.

    `exact`: a running count of the tokens is wanted with every event, from an engine that can.
    """

    kind: Kind
    body: Mapping[str, Any]
    exact: bool = False


class EngineClient(Protocol):
    """What each type of engine offers. Answers are in OpenAI's form, whatever the engine speaks.

    `denied` names the request fields that must not reach the engine; `taken`, where it is not None, the only ones
    that it understands. `stream` gives what came together as one list, and ends without an error at the answer's own
    end; an engine that hangs up before saying so raises BrokenOff.
    """

    denied: frozenset[str]
    taken: frozenset[str] | None

    async def models(self, engine: EngineFacts, clock: "Clock") -> list[FoundModel]: ...

    async def probe(self, engine: EngineFacts, clock: "Clock") -> None:
        """Whether it would take a request now. Raises GatewayError when not."""

    async def version(self, engine: EngineFacts, clock: "Clock") -> str:
        """Of its program, as it says itself; empty where it says none. Raises GatewayError."""

    def stream(self, route: Route, question: Question, clock: "Clock") -> AsyncGenerator[list[Item]]: ...

    async def answer(self, route: Route, question: Question, clock: "Clock") -> Item: ...
