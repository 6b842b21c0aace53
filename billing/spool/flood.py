"""What keeps a flood of refusals small: each minute a caller's first ones are written one by one, the rest counted.

A caller that ignores every 429 sends thousands a second. Its refusals then cost the disk one row a minute for each
kind, whose count rises, and lose nothing of their sum.
"""

from dataclasses import dataclass, replace

from billing.ids import new_request
from billing.records import Refusal

OF_A_CALLER = 100  # refusals a minute that are written one by one
OF_ALL = 1000  # the same of this process, so that many callers do not come to more

MINUTE = 60_000  # milliseconds


@dataclass(slots=True)
class _Tally:
    number: int
    count: int


class Flood:
    """Of one process. It says what is to be written, and is told when that was done."""

    def __init__(self) -> None:
        self._minute = 0
        self._all = 0
        self._callers: dict[tuple[object, ...], int] = {}
        self._tallies: dict[tuple[object, ...], _Tally] = {}
        self._number = 0

    def next_file(self) -> None:
        """Every file of the spool stands alone, so counting begins anew in it."""
        self._tallies.clear()

    def take(self, refusal: Refusal) -> tuple[int, Refusal | int]:
        """A number and the row to insert under it, or the count to which that number's row has come."""
        self._turn_to(refusal.at_ms // MINUTE)
        caller = (refusal.team_id, refusal.key_id, refusal.member_id)
        alone = self._callers.get(caller, 0)
        if alone < OF_A_CALLER and self._all < OF_ALL:
            return self._number + 1, refusal
        tally = self._tallies.get(_kind(refusal))
        if tally is not None:
            return tally.number, tally.count + 1
        # A row of its own, so that the request's id may still name a single one.
        return self._number + 1, replace(refusal, id=new_request().id, model="")

    def written(self, number: int, refusal: Refusal, what: Refusal | int) -> None:
        if isinstance(what, int):
            self._tallies[_kind(refusal)].count = what
            return
        self._number = number
        if what is refusal:
            caller = (refusal.team_id, refusal.key_id, refusal.member_id)
            self._callers[caller] = self._callers.get(caller, 0) + 1
            self._all += 1
        else:
            self._tallies[_kind(refusal)] = _Tally(number, 1)

    def _turn_to(self, minute: int) -> None:
        if minute != self._minute:
            self._minute, self._all = minute, 0
            self._callers.clear()
            self._tallies.clear()


def _kind(refusal: Refusal) -> tuple[object, ...]:
    return (
        refusal.team_id,
        refusal.key_id,
        refusal.member_id,
        refusal.origin,
        refusal.endpoint,
        refusal.code,
        refusal.reason,
        refusal.status,
    )
