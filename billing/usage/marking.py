"""Which turn a series has, and so its mark: written down when it is first drawn, so that it never changes.

Whatever the period, the filters, the measure or the order, and whoever comes or goes beside it.
"""

from collections.abc import Sequence
from contextlib import suppress

from django.db import DatabaseError, transaction

from accounts.models import Team
from billing.models import SeriesMark
from billing.usage.marks import next_turn
from billing.usage.questions import Group

TRIES = 3  # of pages that give turns in one moment, one waits for the other and looks again

# Kinds of which all that there is was known beforehand.
CHOSEN = {
    Group.ORIGIN: {"api": 1, "chat": 2},
    Group.TOKENS: {"input": 1, "cached": 5, "output": 4, "reasoning": 6},
    Group.OUTCOME: {
        "ok": 1, "stopped": 2, "client_gone": 4, "upstream_error": 3, "upstream_timeout": 7, "bad_upstream": 6,
        "interrupted": 5, "drained": 8, "internal_error": 11, "budget_stop": 9, "revoked": 15, "error": 10,
    },
}  # fmt: skip
# Of refused calls, the limits by their windows and the other codes; those that are most often seen together first, as
# they have hues of their own. Of one window a team's, a key's and a person's limit evade each other.
_REFUSED = (
    "requests-per-minute", "tokens-per-minute", "model_not_found", "insufficient_quota", "invalid_value",
    "model_not_allowed", "service_unavailable",
    "tokens-per-day", "requests-per-day", "request_too_large", "rate_limit_exceeded", "concurrent-requests",
    "missing_required_parameter", "overloaded",
    "output-tokens-per-day", "output-tokens-per-hour", "unsupported_media_type", "idempotency_conflict",
    "idempotency_mismatch", "model_without_price", "internal_error",
)  # fmt: skip


def turn_of_refusal(code: str, reason: str) -> int:
    """0 for a code that is not known here."""
    _whose, _colon, window = reason.partition(":")
    name = window or code
    return _REFUSED.index(name) + 1 if name in _REFUSED else 0


def turns(team: Team | None, group: Group, drawn: Sequence[str]) -> dict[str, int]:
    """Of the series that a chart draws, by what a filter calls them; `team`: whose charts, the platform's without."""
    if group in CHOSEN:
        return CHOSEN[group]
    rows = SeriesMark.objects.filter(team=team, kind=group.value)
    found: dict[str, int] = {}
    for _ in range(TRIES):
        found = dict(rows.filter(value__in=drawn).values_list("value", "turn"))
        missing = [value for value in drawn if value not in found]
        if not missing:
            break
        taken = set(rows.values_list("turn", flat=True))
        for value in missing:
            found[value] = next_turn(taken, [found[one] for one in drawn if one in found])
            taken.add(found[value])
        _give([SeriesMark(team=team, kind=group.value, value=value, turn=found[value]) for value in missing])
    return found


def _give(fresh: list[SeriesMark]) -> None:
    """What another page gave meanwhile stays as it is. That nothing can be written keeps nobody from reading."""
    in_order = sorted(fresh, key=lambda one: one.turn)  # two pages then seldom wait for each other
    with suppress(DatabaseError), transaction.atomic():
        SeriesMark.objects.bulk_create(in_order, ignore_conflicts=True)
