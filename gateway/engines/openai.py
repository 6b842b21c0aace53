"""Engines that speak OpenAI's protocol: vLLM, llama.cpp, LM Studio and the like."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from gateway.engines.client import (
    Chunk,
    Clock,
    EngineFacts,
    FoundModel,
    Json,
    Route,
    parsed_object,
    read_json,
    read_stream,
)
from gateway.engines.sse import Splitter
from gateway.errors import EngineFailed, UnreadableAnswer

BAD_EVENTS = 5  # of one stream that are skipped; one more ends it

# What would let a caller choose where a request goes, run a template of his own, or get ahead of others.
DENIED = frozenset(
    {
        "api_base", "api_key", "api_type", "api_version", "azure_endpoint", "base_url", "custom_llm_provider",
        "extra_body", "extra_headers", "extra_query", "fallbacks", "headers", "mock_response", "proxy", "url",
        "user_config", "chat_template", "chat_template_kwargs", "logits_processors", "logits_processor_pattern",
        "continuous_usage_stats", "timings_per_token", "return_progress", "kv_transfer_params", "prompt_logprobs",
        "mm_processor_kwargs", "vllm_xargs", "priority", "request_id", "return_token_ids", "keep_alive", "id_slot",
        "slot_id", "lora", "options",
    }
)  # fmt: skip


class OpenAIEngine:
    denied = DENIED

    async def models(self, engine: EngineFacts, clock: Clock) -> list[FoundModel]:
        listed = await read_json(engine, clock, "/v1/models", None)
        cards = listed.get("data")
        if not isinstance(cards, list):
            raise UnreadableAnswer("The engine's list of models cannot be read.")
        found = [self._found(card) for card in cards if isinstance(card, dict) and isinstance(card.get("id"), str)]
        return [model for model in found if model.name]

    async def stream(self, route: Route, body: Mapping[str, Any], clock: Clock) -> AsyncGenerator[Chunk]:
        payload = self._payload(route, body) | {"stream": True, "stream_options": {"include_usage": True}}
        splitter, bad, finished = Splitter(), 0, False
        pieces = read_stream(route.engine, clock, _path(body), payload, "text/event-stream")
        async with aclosing(pieces):
            async for piece in pieces:
                for data in splitter.feed(piece):
                    if data == b"[DONE]":
                        return
                    parsed = parsed_object(data)
                    if parsed is not None and parsed.get("error"):
                        raise EngineFailed("The engine met an error.")
                    if parsed is None or not isinstance(parsed.get("choices"), list):
                        bad += 1
                        continue
                    clock.progress()
                    finished = finished or any(map(_finish_of, parsed["choices"]))
                    yield Chunk(data, parsed)
                if bad + splitter.strays > BAD_EVENTS:
                    raise UnreadableAnswer("The engine's answer cannot be read.")
        if not finished:
            raise EngineFailed("The engine's answer broke off.")

    async def answer(self, route: Route, body: Mapping[str, Any], clock: Clock) -> Json:
        return await read_json(route.engine, clock, _path(body), self._payload(route, body))

    def _payload(self, route: Route, body: Mapping[str, Any]) -> Json:
        return {**body, "model": route.engine_model}

    def _found(self, card: Json) -> FoundModel:
        """vLLM says `max_model_len`, llama.cpp `meta.n_ctx_train`, others `context_length`."""
        meta = card.get("meta")
        n_ctx = (meta.get("n_ctx") or meta.get("n_ctx_train")) if isinstance(meta, dict) else None
        length = card.get("max_model_len") or card.get("context_length") or n_ctx
        known = length if isinstance(length, int) and 0 < length < 2**31 else None
        return FoundModel(card["id"], known)


class LlamaCppEngine(OpenAIEngine):
    """llama.cpp's server, whose /props knows the context that one request may use."""

    async def models(self, engine: EngineFacts, clock: Clock) -> list[FoundModel]:
        found = await super().models(engine, clock)
        try:
            props = await read_json(engine, clock, "/props", None)
        except EngineFailed:
            return found
        settings = props.get("default_generation_settings")
        n_ctx = settings.get("n_ctx") if isinstance(settings, dict) else None
        if not isinstance(n_ctx, int) or n_ctx <= 0:
            return found
        return [FoundModel(model.name, n_ctx) for model in found]


def _path(body: Mapping[str, Any]) -> str:
    return "/v1/chat/completions" if "messages" in body else "/v1/completions"


def _finish_of(choice: object) -> object:
    return choice.get("finish_reason") if isinstance(choice, dict) else None
