"""What was consumed, what it costs and how much may be. Only `billing.ledger` writes the log and the roll-ups."""

from billing.models.limits import KeyLimit, MemberLimit, TeamTier, Tier
from billing.models.log import DeadLetter, Origin, Outcome, Source, UsageRecord
from billing.models.prices import Price
from billing.models.rollups import PlatformDay, RollUp, TeamRollUp, UsageDay, UsageQuarter

__all__ = [
    "DeadLetter",
    "KeyLimit",
    "MemberLimit",
    "Origin",
    "Outcome",
    "PlatformDay",
    "Price",
    "RollUp",
    "Source",
    "TeamRollUp",
    "TeamTier",
    "Tier",
    "UsageDay",
    "UsageQuarter",
    "UsageRecord",
]
