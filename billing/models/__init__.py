"""What was consumed and what it costs. Only `billing.ledger` writes the log; the roll-ups also `billing.auditing`."""

from billing.models.log import DeadLetter, Origin, Outcome, Source, UsageRecord
from billing.models.months import TeamBooks, ThinMonth
from billing.models.prices import Price
from billing.models.refusals import Refusal, RefusedQuarter
from billing.models.rollups import PlatformDay, RollUp, TeamRollUp, UsageDay, UsageQuarter

__all__ = [
    "DeadLetter",
    "Origin",
    "Outcome",
    "PlatformDay",
    "Price",
    "Refusal",
    "RefusedQuarter",
    "RollUp",
    "Source",
    "TeamBooks",
    "TeamRollUp",
    "ThinMonth",
    "UsageDay",
    "UsageQuarter",
    "UsageRecord",
]
