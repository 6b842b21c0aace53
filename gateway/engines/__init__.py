"""The engines that Tertulia can speak to, by type. Adding a dialect is one module and one line here."""

from gateway.engines.client import EngineClient
from gateway.engines.demo import DemoEngine
from gateway.engines.ollama import OllamaEngine
from gateway.engines.openai import LlamaCppEngine, OpenAIEngine

CLIENTS: dict[str, EngineClient] = {
    "openai": OpenAIEngine(),
    "vllm": OpenAIEngine(),
    "llamacpp": LlamaCppEngine(),
    "ollama": OllamaEngine(),
    "demo": DemoEngine(),
}
