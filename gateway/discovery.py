"""A look round this machine for engines at their usual ports. Nothing is connected here, only found."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings

from gateway.engines import CLIENTS
from gateway.engines.client import close_http, read_json
from gateway.engines.clock import Clock, Deadlines
from gateway.engines.facts import EngineFacts, Json
from gateway.errors import GatewayError
from gateway.models import EngineType

HOST = "127.0.0.1"
QUICK = Deadlines(connect=0.5, first=1.5, between=1, total=3)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine usually listens."""

    name: str
    type: str
    port: int


@dataclass(frozen=True, slots=True)
class Found:
    """An engine that answered, and the models it listed."""

    name: str
    type: str
    url: str
    models: tuple[str, ...]


PLACES = (
    Place("Ollama", EngineType.OLLAMA, 11434),
    Place("LM Studio", EngineType.OPENAI, 1234),
    Place("llama.cpp", EngineType.LLAMACPP, 8080),
    Place("vLLM", EngineType.VLLM, 8000),
)


def find_engines(places: Sequence[Place] = PLACES) -> list[Found]:
    """The engines that answer, in the order of `places`; at most a few seconds."""
    return asyncio.run(_find([place for place in places if place.port != settings.ENVIRONMENT.port]))


async def _find(places: Sequence[Place]) -> list[Found]:
    try:
        looks = await asyncio.gather(*(_look(place) for place in places))
    finally:
        await close_http()
    return [found for found in looks if found is not None]


async def _look(place: Place) -> Found | None:
    """None also for Tertulia itself, whose list of models nobody sees without a key."""
    url = f"http://{HOST}:{place.port}"
    engine = EngineFacts(0, place.name, place.type, url, "", "")
    try:
        models = await CLIENTS[place.type].models(engine, Clock(QUICK))
        kind = await _kind(place, engine)
    except GatewayError:
        return None
    return Found(place.name, kind, url, tuple(model.name for model in models))


async def _kind(place: Place, engine: EngineFacts) -> str:
    """Ports 8000 and 8080 are anybody's: what the list says of its owner decides."""
    if place.type not in {EngineType.VLLM, EngineType.LLAMACPP}:
        return place.type
    listed = await read_json(engine, Clock(QUICK), "/v1/models", None)
    owners = {card.get("owned_by") for card in _cards(listed)}
    if "vllm" in owners:
        return EngineType.VLLM
    return EngineType.LLAMACPP if "llamacpp" in owners else EngineType.OPENAI


def _cards(listed: Json) -> list[Json]:
    cards = listed.get("data")
    return [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
