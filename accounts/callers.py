"""Who calls a model: a program with a key, or a person in the chat."""

from dataclasses import dataclass
from typing import Literal

type OriginName = Literal["api", "chat"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Everything that a running request knows about its caller. Models are public ids; None means all.

    `expires_at` is in seconds since the epoch.
    """

    team_id: int
    team_slug: str
    team_name: str
    origin: OriginName
    key_id: int | None
    key_name: str
    member_id: int | None
    member_name: str
    team_models: frozenset[str] | None
    key_models: frozenset[str] | None
    expires_at: float | None
    dialect: str = "openai"
    hard_budget: bool = False  # an answer must be cut when its money is spent: engines are asked to count as they go

    def sees(self, model: str) -> bool:
        """Whether the team may use the model; what it may not use does not exist for it."""
        return self.team_models is None or model in self.team_models

    def may_use(self, model: str) -> bool:
        return self.sees(model) and (self.key_models is None or model in self.key_models)
