"""What the roll-ups are: for each level the SQL that finds its keys and sums in rows of the log.

Writing, rebuilding and the audit all group by this one description, so that they cannot disagree.
"""

from dataclasses import dataclass

from django.conf import settings
from psycopg import sql

from billing.ledger.histograms import BOUNDS, DIGITS
from billing.models import Source

ENGINES_OWN = (Source.UPSTREAM, Source.UPSTREAM_PARTIAL)


@dataclass(frozen=True, slots=True)
class Level:
    """One table of roll-ups: its keys, each with the SQL that finds it in a row of the log."""

    table: str
    period: str  # the key that says when
    keys: dict[str, sql.Composable]


def levels() -> tuple[Level, ...]:
    what: dict[str, sql.Composable] = {
        "model": sql.SQL("log.model"),
        "origin": sql.SQL("log.origin"),
        "outcome": sql.SQL("log.outcome"),
    }
    who: dict[str, sql.Composable] = {
        "team_id": sql.SQL("log.team_id"),
        "key_id": sql.SQL("coalesce(log.key_id, 0)"),
        "member_id": sql.SQL("coalesce(log.member_id, 0)"),
    }
    quarter = sql.SQL("date_bin('15 minutes', log.booked_at, timestamptz '2000-01-01 00:00+00')")
    day = sql.SQL("(log.booked_at AT TIME ZONE coalesce(team.time_zone, 'UTC'))::date")
    platform_day = sql.SQL("(log.booked_at AT TIME ZONE {})::date").format(sql.Literal(settings.TIME_ZONE))
    return (
        Level("billing_usagequarter", "bucket", {"bucket": quarter, **who, **what}),
        Level("billing_usageday", "day", {"day": day, **who, **what}),
        Level("billing_platformday", "day", {"day": platform_day, "team_id": who["team_id"], **what}),
    )


def sums() -> dict[str, sql.Composable]:
    guessed = sql.SQL(
        "(coalesce(sum(log.prompt_tokens) FILTER (WHERE log.prompt_source NOT IN ({own})), 0)"
        " + coalesce(sum(log.completion_tokens) FILTER (WHERE log.completion_source NOT IN ({own})), 0))::bigint"
    )
    return {
        "requests": sql.SQL("count(*) FILTER (WHERE log.corrects IS NULL)"),  # an adjustment is none
        "prompt_tokens": sql.SQL("sum(log.prompt_tokens)::bigint"),
        "completion_tokens": sql.SQL("sum(log.completion_tokens)::bigint"),
        "reasoning_tokens": sql.SQL("coalesce(sum(log.reasoning_tokens), 0)::bigint"),
        "cached_tokens": sql.SQL("coalesce(sum(log.cached_tokens), 0)::bigint"),
        "reasoning_reported": sql.SQL("count(log.reasoning_tokens)"),
        "cached_reported": sql.SQL("count(log.cached_tokens)"),
        "estimated_tokens": guessed.format(own=_words(ENGINES_OWN)),
        "priced_requests": sql.SQL("count(log.cost) FILTER (WHERE log.corrects IS NULL)"),
        "cost": sql.SQL("coalesce(sum(log.cost), 0)::numeric(24, 12)"),
        "ttft": _histogram("log.ttft_ms"),
        "duration": _histogram("log.duration_ms"),
    }


def _histogram(column: str) -> sql.Composed:
    """See `billing.ledger.histograms`: each request is a one in its bucket's digits."""
    return sql.SQL(
        "coalesce(sum(('1e' || {digits} * width_bucket({column}, {bounds}::int[]))::numeric)"
        " FILTER (WHERE log.corrects IS NULL), 0)"
    ).format(digits=sql.Literal(DIGITS), column=sql.SQL(column), bounds=sql.Literal(list(BOUNDS)))


def grouped(level: Level, source: sql.Composable) -> sql.Composed:
    """SELECT what `level` holds out of a table, CTE or query that has the log's columns, in the order of the keys."""
    return sql.SQL(
        "SELECT {expressions} FROM {source} log LEFT JOIN accounts_team team ON team.id = log.team_id"
        " GROUP BY {places} ORDER BY {places}"
    ).format(
        expressions=sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(expression, sql.Identifier(name))
            for name, expression in (level.keys | sums()).items()
        ),
        source=source,
        places=sql.SQL(", ").join(map(sql.Literal, range(1, len(level.keys) + 1))),
    )


def names(level: Level) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, (*level.keys, *sums())))


def _words(values: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Literal(str(value)) for value in values)
