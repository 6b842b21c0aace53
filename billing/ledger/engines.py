"""What the log has of each engine in a span of time, for comparing with what the engines counted themselves.

The roll-ups know no engines. A day of the log is read through its key: `at` in a month's partition, team by team.
Calls alone: no engine counts what is corrected in the accounts later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from django.db import connection
from django.db.models import F, Sum
from psycopg import sql

from billing.ledger.rollups import ENGINES_OWN
from billing.models import PlatformDay

_SUMS = sql.SQL(
    "SELECT log.engine,"
    " count(*) FILTER (WHERE {late}),"
    " coalesce(sum(log.prompt_tokens) FILTER (WHERE {late}), 0)::bigint,"
    " coalesce(sum(log.completion_tokens) FILTER (WHERE {late}), 0)::bigint,"
    " coalesce(sum(log.cached_tokens) FILTER (WHERE {late}), 0)::bigint,"
    " coalesce(sum(log.prompt_tokens) FILTER (WHERE {late} AND log.prompt_source <> ALL({own})), 0)::bigint,"
    " coalesce(sum(log.completion_tokens) FILTER (WHERE {late} AND log.completion_source <> ALL({own})), 0)::bigint,"
    " coalesce(sum(log.prompt_tokens + log.completion_tokens)"
    " FILTER (WHERE {late} AND log.at + log.duration_ms * interval '1 millisecond' >= {end}), 0)::bigint,"
    " count(*) FILTER (WHERE NOT {late}),"
    " coalesce(sum(log.prompt_tokens + log.completion_tokens) FILTER (WHERE NOT {late}), 0)::bigint"
    " FROM billing_usage log"
    " LEFT JOIN unnest({engines}::text[], {moments}::timestamptz[]) AS since(engine, moment) USING (engine)"
    " WHERE log.at >= {begin} AND log.at < {end} AND log.engine <> '' AND log.corrects IS NULL"
    " GROUP BY log.engine"
)
_LATE = sql.SQL("(since.moment IS NULL OR log.at >= since.moment)")


@dataclass(frozen=True, slots=True)
class EngineSums:
    """Tokens and requests by the time at which the calls began.

    `guessed_…`: those that are not the engine's own count; `crossing_tokens`: those of calls that went on after the
    span; `earlier_…`: of calls before the moment asked for, which are in no other sum.
    """

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    guessed_prompt_tokens: int
    guessed_completion_tokens: int
    crossing_tokens: int
    earlier_requests: int
    earlier_tokens: int


def sums_by_engine(*, begin: datetime, end: datetime, since: Mapping[str, datetime]) -> dict[str, EngineSums]:
    """By the engine's name of that time. `since`: for these engines, the moment from which calls count."""
    statement = _SUMS.format(
        late=_LATE,
        own=sql.Literal([str(source) for source in ENGINES_OWN]),
        begin=sql.Literal(begin),
        end=sql.Literal(end),
        engines=sql.Literal(list(since)),
        moments=sql.Literal(list(since.values())),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return {engine: EngineSums(*sums) for engine, *sums in cursor.fetchall()}


def sums_by_platform_day(first: date, last: date) -> dict[date, tuple[int, int]]:
    """Requests and tokens of days in TIME_ZONE. What is new in the log has changed one of these."""
    days = PlatformDay.objects.filter(day__gte=first, day__lte=last).values("day")
    rows = days.annotate(number=Sum("requests"), tokens=Sum(F("prompt_tokens") + F("completion_tokens")))
    return {row["day"]: (int(row["number"]), int(row["tokens"])) for row in rows}
