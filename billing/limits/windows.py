"""What may be limited, by whom and over what time. No Django here: the hot path holds these.

Minutes of requests slide; every other window is fixed. Minutes and hours are those of the clock (UTC), days those of
the team's own zone, so that what a day has used here is what the usage page says of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

MINUTE, HOUR = 60, 3600  # seconds
DAY = timedelta(days=1)

type Unit = Literal["requests", "tokens", "output", "concurrent"]
type Span = Literal["minute", "hour", "day", ""]
type SubjectKind = Literal["team", "key", "member"]


@dataclass(frozen=True, slots=True)
class Window:
    """`field` is the column that holds its limit, `name` what the API calls it.

    `slides`: see `billing.limits.counters`. `counts_calls`: a call counts in it from its beginning.
    """

    field: str
    name: str
    unit: Unit
    span: Span
    slides: bool = False
    counts_calls: bool = False


# In the order in which they are looked at: the first that is exceeded refuses.
WINDOWS = (
    Window("concurrent_requests", "concurrent-requests", "concurrent", "", counts_calls=True),
    Window("requests_per_minute", "requests-per-minute", "requests", "minute", slides=True, counts_calls=True),
    Window("tokens_per_minute", "tokens-per-minute", "tokens", "minute"),
    Window("output_tokens_per_hour", "output-tokens-per-hour", "output", "hour"),
    Window("requests_per_day", "requests-per-day", "requests", "day", counts_calls=True),
    Window("tokens_per_day", "tokens-per-day", "tokens", "day"),
    Window("output_tokens_per_day", "output-tokens-per-day", "output", "day"),
)
BY_FIELD = {window.field: window for window in WINDOWS}


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of one subject; None: unlimited."""

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    output_tokens_per_hour: int | None = None
    output_tokens_per_day: int | None = None
    concurrent_requests: int | None = None

    def rules(self) -> "tuple[Rule, ...]":
        return tuple(Rule(window, limit) for window in WINDOWS if (limit := getattr(self, window.field)) is not None)


@dataclass(frozen=True, slots=True)
class Rule:
    window: Window
    limit: int

    def share(self, processes: int) -> int:
        """What one of so many processes may let in by itself."""
        return max(1, self.limit // processes)


class Days:
    """The days of a zone, told by their end: a number for counters, and the moment at which it changes."""

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self._zone = ZoneInfo(zone)
        self._ends = 0, 0, 0

    def end(self, now: float) -> int:
        """Of the day that holds this moment, both in seconds since the epoch."""
        return self.ends(now)[1]

    def ends(self, now: float) -> tuple[int, int, int]:
        """Of yesterday, today and tomorrow."""
        begin, end, _ = self._ends
        if not begin <= now < end:
            today = datetime.fromtimestamp(now, self._zone).replace(hour=0, minute=0, second=0, microsecond=0)
            # 23, 24 or 25 hours apart
            begin, end, next_end = (int((today + DAY * days).timestamp()) for days in range(3))
            self._ends = begin, end, next_end
        return self._ends


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose calls are counted together. `name` is what counters are kept under; 0: no key, no member."""

    kind: SubjectKind
    name: str
    team_id: int
    key_id: int
    member_id: int
    rules: tuple[Rule, ...]
    days: Days


class Standing(NamedTuple):
    """One window at one moment. `reset`: seconds since the epoch at which it ends; 0 for what is no window of time."""

    subject: Subject
    rule: Rule
    used: int
    reset: float

    @property
    def limit(self) -> int:
        return self.rule.limit

    @property
    def remaining(self) -> int:
        return max(0, self.rule.limit - self.used)

    def is_fuller_than(self, other: "Standing") -> bool:
        """Whether less of its limit is left."""
        return self.used * other.rule.limit > other.used * self.rule.limit


@dataclass(frozen=True, slots=True)
class Consumed:
    """Of a subject, in the hour and the day that are open: output tokens; requests, tokens and output tokens."""

    subject: Subject
    hour_output: int
    requests: int
    tokens: int
    output: int


@dataclass(frozen=True, slots=True)
class Rules:
    """Every limit there is. `teams` and `keys` by id, `members` by team and user id."""

    teams: dict[int, Subject]
    keys: dict[int, Subject]
    members: dict[tuple[int, int], Subject]

    def of(self, team_id: int, key_id: int | None, member_id: int | None) -> tuple[Subject, ...]:
        """The subjects that a call counts for, the team first. Empty for most."""
        found = (
            self.teams.get(team_id),
            self.keys.get(key_id) if key_id is not None and self.keys else None,
            self.members.get((team_id, member_id)) if member_id is not None and self.members else None,
        )
        return tuple(one for one in found if one is not None) if any(found) else ()

    def without(self, others: "Rules") -> "list[Subject]":
        """The subjects that the others have no rules for, or whose days are those of another zone there: what was
        counted of such a day is forgotten.
        """
        known = {(one.name, one.days.zone) for one in others}
        return [one for one in self if (one.name, one.days.zone) not in known]

    def __iter__(self) -> Iterator[Subject]:
        yield from self.teams.values()
        yield from self.keys.values()
        yield from self.members.values()


NO_RULES = Rules({}, {}, {})
