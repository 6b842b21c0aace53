"""Where vendors differ, in one table: `openai` is what every client expects, `saptiva` what its own clients know.

Sources: Cloud Temple's and Saptiva's pages on their APIs. Cloud Temple's additions (`backend`, the flat
`reasoning_tokens`) harm nobody and are part of every answer; Saptiva's are for those who ask for them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.errors import BadRequest, GatewayError


@dataclass(frozen=True, slots=True)
class Dialect:
    """`answer` and `message` are added to whole answers, `message` where the engine has not said it itself."""

    answer: Mapping[str, Any] = field(default_factory=dict)
    message: Mapping[str, Any] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # where they are narrower than OpenAI's
    required: tuple[str, ...] = ()  # of a chat completion, beside model and messages
    bad_request: int = 400
    detail: bool = False  # errors carry their message a second time, where FastAPI puts it

    def status(self, error: GatewayError) -> int:
        return self.bad_request if type(error) is BadRequest else error.status

    def body(self, error: GatewayError) -> Mapping[str, Any]:
        told = {"error": error.told()}
        return {**told, "detail": error.message} if self.detail else told


OPENAI = Dialect()
SAPTIVA = Dialect(
    answer={"error": False, "status": 200},
    message={"tool_calls": []},
    ranges={"temperature": (0, 1)},
    bad_request=422,
    detail=True,
)
DIALECTS: Mapping[str, Dialect] = {
    "openai": OPENAI,
    "saptiva": SAPTIVA,
    "saptiva-strict": replace(SAPTIVA, required=("max_tokens", "temperature", "top_p")),
}
