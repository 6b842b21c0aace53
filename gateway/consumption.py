"""What a key has used and may still use, for whoever holds it: /v1/usage."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from django.conf import settings
from django.db import Error as DatabaseError
from django.utils import timezone

from accounts.callers import Caller
from accounts.database import in_database
from accounts.models import ApiKey
from billing.budgets.credit import Credit, credit_of
from billing.budgets.monthly import Standing, budgets_binding
from billing.limits.limiter import limiter
from billing.limits.windows import Subject
from billing.usage.glances import KeyUsage, usage_of_key
from billing.usage.sums import Sums
from gateway import allowances
from gateway.errors import Unavailable
from gateway.snapshot import RETRY_AFTER, holder

type Json = dict[str, Any]


async def consumption(caller: Caller) -> Json:
    """Of a caller with a key: today and this month, in the team's zone. Raises Unavailable while PostgreSQL is away."""
    if not holder.fresh:  # a try would hold a thread of the database's until the pool gives up
        raise _away()
    try:
        subjects = holder.current().limits.of(caller.team_id, caller.key_id, caller.member_id)
        return await in_database(_told, caller.key_id or 0, subjects, timezone.now())
    except (DatabaseError, psycopg.Error) as error:
        raise _away() from error


def _away() -> Unavailable:
    return Unavailable("The database cannot be reached. Try again later.", retry_after=RETRY_AFTER)


def _told(key_id: int, subjects: tuple[Subject, ...], now: datetime) -> Json:
    key = ApiKey.objects.select_related("team").get(pk=key_id)
    today, month = usage_of_key(key, now=now)
    return {
        "object": "usage",
        "key": {"name": key.name, "masked": key.masked, "expires_at": _epoch(key.expires_at)},
        "team": key.team.slug,
        "time_zone": key.team.time_zone,
        "currency": settings.ENVIRONMENT.currency,
        "today": _period(today),
        "month": _period(month),
        "budgets": [_budget(standing) for standing in budgets_binding(key.team, key=key, now=now)],
        "credit": _credit(credit_of(key.team, now=now)),
        "limits": allowances.told(limiter.look(subjects)),
        "as_of": _epoch(now),
    }


def _period(usage: KeyUsage) -> Json:
    models = [{"model": name, **_sums(sums)} for name, sums in usage.models]
    begin, end = _epoch(usage.period.begin), _epoch(usage.period.end)
    return {"start": begin, "end": end, **_sums(usage.total), "models": models}


def _budget(standing: Standing) -> Json:
    """Of this month: tokens as whole numbers, money as decimal strings."""
    budget = standing.budget

    def amount(value: Decimal) -> int | str:
        return int(value) if standing.in_tokens else f"{value.normalize():f}"

    return {
        "of": "key" if budget.key_id else "member" if budget.member_id else "team",
        "unit": budget.unit,
        "hard": budget.hard,
        "limit": amount(budget.amount),
        "spent": amount(standing.spent),
        "reserved": amount(standing.reserved),
        "left": amount(standing.left),
        "renews_at": _epoch(standing.renews),
    }


def _credit(credit: Credit | None) -> Json | None:
    if credit is None:
        return None
    return {
        "balance": f"{credit.balance.normalize():f}",
        "reserved": f"{credit.standing.reserved.normalize():f}",
        "available": f"{credit.available.normalize():f}",
        "hard": credit.binding,
    }


def _sums(sums: Sums) -> Json:
    """`cost` as a decimal string, null where no price was in force; null, too, what no engine reported.

    `estimated_tokens`: how many of the tokens are not an engine's own count.
    """
    return {
        "requests": sums.requests,
        "prompt_tokens": sums.prompt_tokens,
        "completion_tokens": sums.completion_tokens,
        "total_tokens": sums.tokens,
        "reasoning_tokens": sums.reasoning,
        "cached_tokens": sums.cached,
        "estimated_tokens": sums.estimated_tokens,
        "cost": f"{sums.cost:f}" if sums.priced else None,
    }


def _epoch(moment: datetime | None) -> int | None:
    return int(moment.timestamp()) if moment else None
