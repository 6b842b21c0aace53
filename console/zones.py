"""The time zone of a team: one change through the rooms, and the zones that are offered for it."""

import re
import zoneinfo
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from django.db import transaction

from accounts.models import Team, User
from accounts.teams import set_time_zone
from billing.ledger.months import hold_books_alone
from billing.ledger.zones import move_calendar, require_movable

# Names of places. Those of countries, of offsets and of old systems are left out: they say less, or change.
_OFFERED = re.compile(r"(Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Europe|Indian|Pacific)/.+|UTC")


@dataclass(frozen=True, slots=True)
class Zone:
    name: str
    offset: str  # of the moment, as in UTC+05:30


@transaction.atomic
def change_time_zone(*, team: Team, time_zone: str, by: User | None) -> None:
    """Days, months, budgets and limits of the team go by it from now on, and its past days too.

    Nothing reaches the log meanwhile. Raises UnknownZone and BooksClosed.
    """
    hold_books_alone()
    require_movable(team=team, time_zone=time_zone)
    former = set_time_zone(team=team, time_zone=time_zone, by=by)
    team.refresh_from_db(fields=["time_zone"])
    if former != time_zone:
        move_calendar(team=team, former_zone=former)


@cache
def zone_names() -> tuple[str, ...]:
    return tuple(sorted(filter(_OFFERED.fullmatch, zoneinfo.available_timezones())))


def zones(*, now: datetime) -> list[Zone]:
    """By name, with their offset of this moment."""
    return [Zone(name, offset(name, now=now)) for name in zone_names()]


def offset(zone: str, *, now: datetime) -> str:
    ahead = now.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()
    hours, minutes = divmod(abs(int(ahead.total_seconds())) // 60, 60)
    return f"UTC{'-' if ahead < timedelta() else '+'}{hours:02d}:{minutes:02d}"
