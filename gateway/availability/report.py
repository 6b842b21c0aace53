"""What the public status page says: the platform and each model, without a name of a team, an engine or a machine."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from threading import Lock
from time import monotonic

from django.db import DatabaseError
from django.utils import timezone

from gateway.availability.speed import Speed, speeds
from gateway.availability.spells import PLATFORM
from gateway.availability.standings import Standing, standings
from gateway.models import Health
from gateway.offers import offered

FRESH_FOR = 10.0  # seconds that a process shows the same report

NOTHING = Speed(None, None)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    standing: Standing
    speed: Speed
    offered_since: date
    retires_on: date | None
    successor: str


@dataclass(frozen=True, slots=True)
class Report:
    """`reached`: whether PostgreSQL answered; else it is the last report that there was."""

    at: datetime
    platform: Standing
    models: tuple[ModelStatus, ...]
    reached: bool = True

    @property
    def state(self) -> Health | None:
        """The platform's, or the worst of its models': down only when all are. None: not known."""
        if not self.reached or self.platform.state == Health.DOWN:
            return Health.DOWN
        states = [one.standing.state for one in self.models if one.standing.state]
        if not states:
            return self.platform.state
        if all(state == Health.DOWN for state in states):
            return Health.DOWN
        return Health.WORKS if all(state == Health.WORKS for state in states) else Health.SLOW


def load(*, now: datetime) -> Report:
    """Five queries, however many models there are."""
    shown = {name: of for name, of in offered().items() if all(row.on_status_page for row in of)}
    stand, fast = standings([PLATFORM, *shown], now=now), speeds(list(shown), now=now)
    models = tuple(
        ModelStatus(
            standing=stand[name],
            speed=fast.get(name, NOTHING),
            offered_since=min(row.created_at for row in of).date(),
            retires_on=min((row.retires_on for row in of if row.retires_on), default=None),
            successor=next((row.successor for row in of if row.successor in shown), ""),
        )
        for name, of in shown.items()
    )
    return Report(at=now, platform=stand[PLATFORM], models=models)


class Board:
    """The report of this process, looked for anew when it is FRESH_FOR old: anybody may ask as often as they like."""

    def __init__(self) -> None:
        self._report: Report | None = None
        self._read_at = 0.0
        self._lock = Lock()

    def report(self) -> Report:
        """While somebody looks, the others get the last report: a slow database holds up one thread and not all.

        Raises DatabaseError when PostgreSQL is away and there has been no report yet.
        """
        last = self._report
        if not self._lock.acquire(blocking=last is None):
            return last  # type: ignore[return-value]  # else we would have waited
        try:
            if self._report is None or monotonic() - self._read_at >= FRESH_FOR:
                try:
                    self._report = load(now=timezone.now())
                except DatabaseError:
                    if self._report is None:
                        raise
                    self._report = replace(self._report, reached=False)
                self._read_at = monotonic()
            return self._report
        finally:
            self._lock.release()

    def forget(self) -> None:
        self._report = None


board = Board()
