"""The engines that Tertulia can speak to, by type. Adding a dialect is one module and one line here."""

from gateway.engines.demo import DemoEngine
from gateway.engines.facts import EngineClient
from gateway.engines.ollama import OllamaEngine
from gateway.engines.openai import LlamaCppEngine, OpenAIEngine, VllmEngine

CLIENTS: dict[str, EngineClient] = {
    "openai": OpenAIEngine(),
    "vllm": VllmEngine(),
    "llamacpp": LlamaCppEngine(),
    "ollama": OllamaEngine(),
    "demo": DemoEngine(),
}
