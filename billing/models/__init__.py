"""What was consumed, what it costs and how much may be.

Only `billing.ledger.log` writes the log; the roll-ups also `billing.ledger.auditing`.
"""

from billing.models.alerts import (
    Alert,
    Delivery,
    Dismissal,
    Listener,
    MonthReported,
    Rule,
    Severity,
    Watching,
    Webhook,
)
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
from billing.models.checks import LedgerCheck
from billing.models.limits import KeyLimit, MemberLimit, TeamTier, Tier
from billing.models.log import ENDED_WELL, DeadLetter, Origin, Outcome, Source, UsageRecord
from billing.models.marks import SeriesMark
from billing.models.months import TeamBooks, ThinMonth
from billing.models.prices import Price
from billing.models.refusals import Refusal, RefusedQuarter
from billing.models.rollups import (
    PlatformDay,
    PlatformModelDay,
    PlatformTeamDay,
    RollUp,
    TeamQuarter,
    TeamRollUp,
    UsageDay,
    UsageQuarter,
    UsageUtcDay,
)

__all__ = [
    "CREDITS_MONTH",
    "ENDED_WELL",
    "Alert",
    "Budget",
    "BudgetAccount",
    "CreditEntry",
    "DeadLetter",
    "Delivery",
    "Dismissal",
    "KeyLimit",
    "LedgerCheck",
    "Listener",
    "MemberLimit",
    "MonthReported",
    "Origin",
    "Outcome",
    "Period",
    "PlatformDay",
    "PlatformModelDay",
    "PlatformTeamDay",
    "Price",
    "Refusal",
    "RefusedQuarter",
    "Reservation",
    "RollUp",
    "Rule",
    "SeriesMark",
    "Severity",
    "Source",
    "SpoolMark",
    "TeamBooks",
    "TeamQuarter",
    "TeamRollUp",
    "TeamTier",
    "ThinMonth",
    "Tier",
    "Unit",
    "UsageDay",
    "UsageQuarter",
    "UsageRecord",
    "UsageUtcDay",
    "Watching",
    "Webhook",
]
