"""What was consumed and what it costs. Only `billing.ledger` writes the log and the roll-ups."""

from billing.models.budgets import (
    CREDITS_MONTH,
    Budget,
    BudgetAccount,
    CreditEntry,
    Period,
    Reservation,
    SpoolMark,
    Unit,
)
from billing.models.log import DeadLetter, Origin, Outcome, Source, UsageRecord
from billing.models.prices import Price
from billing.models.rollups import PlatformDay, RollUp, TeamRollUp, UsageDay, UsageQuarter

__all__ = [
    "CREDITS_MONTH",
    "Budget",
    "BudgetAccount",
    "CreditEntry",
    "DeadLetter",
    "Origin",
    "Outcome",
    "Period",
    "PlatformDay",
    "Price",
    "Reservation",
    "RollUp",
    "Source",
    "SpoolMark",
    "TeamRollUp",
    "Unit",
    "UsageDay",
    "UsageQuarter",
    "UsageRecord",
]
