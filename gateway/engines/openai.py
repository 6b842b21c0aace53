"""Engines that speak OpenAI's protocol: vLLM, llama.cpp, LM Studio and the like."""

from collections.abc import AsyncGenerator
from typing import Any, ClassVar

from gateway.engines.client import read_answer, read_json, streamed
from gateway.engines.clock import Clock
from gateway.engines.facts import EngineFacts, FoundModel, Item, Json, Kind, Question, Route, version_in
from gateway.engines.sse import Splitter
from gateway.errors import BrokenOff, EngineFailed, UnreadableAnswer

PATHS = {Kind.CHAT: "/v1/chat/completions", Kind.TEXT: "/v1/completions", Kind.EMBEDDING: "/v1/embeddings"}
DONE = b"[DONE]"

# What would let a caller choose where a request goes, run a template of his own, or get ahead of others.
DENIED = frozenset(
    {
        "api_base", "api_key", "api_type", "api_version", "azure_endpoint", "base_url", "custom_llm_provider",
        "extra_body", "extra_headers", "extra_query", "fallbacks", "headers", "mock_response", "proxy", "url",
        "user_config", "chat_template", "chat_template_kwargs", "logits_processors", "logits_processor_pattern",
        "continuous_usage_stats", "timings_per_token", "return_progress", "kv_transfer_params", "prompt_logprobs",
        "mm_processor_kwargs", "vllm_xargs", "priority", "request_id", "return_token_ids", "keep_alive", "id_slot",
        "slot_id", "lora", "options", "prompt_embeds",
        # SGLang's: another model's weights, code of the caller's own, hosts that it fetches from, others' requests
        "lora_path", "custom_logit_processor", "bootstrap_host", "bootstrap_port", "bootstrap_room", "rid",
        "session_params", "data_parallel_rank", "return_hidden_states", "input_embeds",
        "n_cmpl",  # llama.cpp's own word for `n`, which it takes for more: answers that nobody has reserved for
    }
)  # fmt: skip


class OpenAIEngine:
    denied = DENIED
    taken: frozenset[str] | None = None
    health: ClassVar[str] = "/v1/models"  # what answers with 200 while the engine is well
    usage_wanted: ClassVar[Json] = {"stream_options": {"include_usage": True}}
    counts_wanted: ClassVar[Json] = usage_wanted  # the same with a running count in every event, where there is one

    async def models(self, engine: EngineFacts, clock: Clock) -> list[FoundModel]:
        listed = await read_json(engine, clock, "/v1/models", None)
        cards = listed.get("data")
        if not isinstance(cards, list):
            raise UnreadableAnswer("The engine's list of models cannot be read.")
        found = [self._found(card) for card in cards if isinstance(card, dict) and isinstance(card.get("id"), str)]
        return [model for model in found if model.name]

    async def probe(self, engine: EngineFacts, clock: Clock) -> None:
        await read_answer(engine, clock, self.health, None)

    async def version(self, engine: EngineFacts, clock: Clock) -> str:
        """Servers of this protocol have no common word for it."""
        return ""

    async def stream(self, route: Route, question: Question, clock: Clock) -> AsyncGenerator[list[Item]]:
        more = self.counts_wanted if question.exact else self.usage_wanted
        payload = self._payload(route, question) | {"stream": True} | more
        splitter = Splitter()
        async with streamed(route.engine, clock, PATHS[question.kind], payload, "text/event-stream") as reading:
            while piece := await reading.piece():
                events = splitter.feed(piece)
                if DONE in events:
                    yield list(events[: events.index(DONE)])
                    return
                if events:
                    yield list(events)
        raise BrokenOff("The engine's answer broke off.")

    async def answer(self, route: Route, question: Question, clock: Clock) -> Item:
        return await read_answer(route.engine, clock, PATHS[question.kind], self._payload(route, question))

    def _payload(self, route: Route, question: Question) -> Json:
        return {**question.body, "model": route.engine_model}

    def _found(self, card: Json) -> FoundModel:
        """vLLM says `max_model_len`, llama.cpp `meta.n_ctx_train`, others `context_length`."""
        meta = card.get("meta")
        n_ctx = (meta.get("n_ctx") or meta.get("n_ctx_train")) if isinstance(meta, dict) else None
        length = card.get("max_model_len") or card.get("context_length") or n_ctx
        known = length if isinstance(length, int) and 0 < length < 2**31 else None
        return FoundModel(card["id"], known)


class VllmEngine(OpenAIEngine):
    health = "/health"
    counts_wanted: ClassVar[Json] = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}

    async def version(self, engine: EngineFacts, clock: Clock) -> str:
        return version_in((await read_json(engine, clock, "/version", None)).get("version"))


class LlamaCppEngine(OpenAIEngine):
    """llama.cpp's server, whose /props knows the context that one request may use."""

    health = "/health"  # 503 while it loads a model
    counts_wanted: ClassVar[Json] = {"stream_options": {"include_usage": True}, "timings_per_token": True}

    async def models(self, engine: EngineFacts, clock: Clock) -> list[FoundModel]:
        found = await super().models(engine, clock)
        try:
            props = await read_json(engine, clock, "/props", None)
        except EngineFailed:
            return found
        settings: Any = props.get("default_generation_settings")
        n_ctx = settings.get("n_ctx") if isinstance(settings, dict) else None
        if not isinstance(n_ctx, int) or n_ctx <= 0:
            return found
        return [FoundModel(model.name, n_ctx) for model in found]

    async def version(self, engine: EngineFacts, clock: Clock) -> str:
        return version_in((await read_json(engine, clock, "/props", None)).get("build_info"))

    def _payload(self, route: Route, question: Question) -> Json:
        payload = super()._payload(route, question)
        if "max_completion_tokens" in payload:  # by the name that its older servers know too
            payload["max_tokens"] = payload.pop("max_completion_tokens")
        return payload
