"""Whether charts and log agree, proved again and again: the last days every few minutes, everything once a day."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from django.utils import timezone

from billing.ledger.auditing import audit, differences_since
from billing.models import LedgerCheck

EVERY = 600  # seconds
RECENT = timedelta(days=2)  # so that today is looked at in every zone
KEPT = timedelta(days=30)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    at: datetime
    agrees: bool


def last_check() -> Check | None:
    """The last one of either kind. One that found a difference stands until one that reaches as far finds none."""
    found = LedgerCheck.objects.order_by("-at").first()
    if found is None:
        return None
    since_all = LedgerCheck.objects.filter(everything=True).order_by("-at").first()
    return Check(found.at, agrees=found.agrees and (since_all is None or since_all.agrees))


def check_recent() -> None:
    """The roll-ups of the last two days against the log. Roll-ups that wait for no month are looked at alone."""
    began = timezone.now()
    since = datetime.combine((began - RECENT).astimezone(UTC).date(), time.min, UTC)
    _note(began, sum(one.groups for one in differences_since(since)), everything=False)
    LedgerCheck.objects.filter(at__lt=began - KEPT).delete()


def check_everything() -> None:
    began = timezone.now()
    _note(began, sum(one.groups for one in audit().differences), everything=True)


def _note(at: datetime, differing: int, *, everything: bool) -> None:
    LedgerCheck.objects.create(at=at, everything=everything, differing=differing)
    if differing:
        logger.error("the roll-ups differ from the log", extra={"groups": differing, "everything": everything})
