"""What a look found: not yet an alert, which is a row, and stands once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from billing.models import Rule, Severity

type Detail = str | int | float | None

# These begin and end by themselves and may come again: their occasions are numbered, and their end is told too.
EPISODES = frozenset({Rule.ERRORS, Rule.SLOW, Rule.ENGINE, Rule.DEAD_LETTERS, Rule.SPOOL})


@dataclass(frozen=True, slots=True)
class Noticed:
    """`team_id` None: the platform's. `subject` is a kind and an id, such as "key:7".

    `occasion` is what it is noticed once for, and empty for episodes. `detail` has what the words need, as numbers;
    amounts of money as text.
    """

    team_id: int | None
    rule: Rule
    subject: str
    occasion: str
    severity: Severity
    name: str = ""
    detail: Mapping[str, Detail] = field(default_factory=dict)

    @property
    def episode(self) -> bool:
        return self.rule in EPISODES
