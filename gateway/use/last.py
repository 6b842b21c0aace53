"""When a model was last used, to the minute: from the roll-ups to the quarter of an hour, and one row of the log."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from billing.usage.periods import DAY, midnight
from billing.usage.questions import Question

QUARTER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Last:
    """`exact`: to the second; else the quarter of an hour that begins then, because the log has the call no more."""

    at: datetime
    exact: bool


def last_uses(question: Question, found: Mapping[str, Mapping[int, Any]], *, by_quarters: bool) -> dict[str, Last]:
    """By model; given are, for each, the teams' last days (or quarters). Two queries at most.

    Corrections are no use: they ask no model anything.
    """
    wanted = _newest([(model, team, at) for model, of in found.items() for team, at in of.items()])
    if not by_quarters:
        zone = question.period.zone
        spans = [(model, team, midnight(day, zone), midnight(day + DAY, zone)) for model, team, day in wanted]
        wanted = _newest(_ask(_QUARTERS, spans))
    lasts = {model: Last(bucket, exact=False) for model, _team, bucket in wanted}
    spans = [(model, team, bucket, bucket + QUARTER) for model, team, bucket in wanted]
    for model, at in _ask(_LOG, spans):
        if not lasts[model].exact or at > lasts[model].at:
            lasts[model] = Last(at, exact=True)
    return lasts


# Each asks the index of one team for one row.
_QUARTERS = """
    SELECT wanted.model, wanted.team, newest.bucket
    FROM unnest(%s::text[], %s::bigint[], %s::timestamptz[], %s::timestamptz[]) AS wanted(model, team, first, until)
    CROSS JOIN LATERAL (
        SELECT bucket FROM billing_usagequarter
        WHERE team_id = wanted.team AND bucket >= wanted.first AND bucket < wanted.until
        AND model = wanted.model AND requests > 0
        ORDER BY bucket DESC LIMIT 1
    ) newest
"""
_LOG = """
    SELECT wanted.model, newest.at
    FROM unnest(%s::text[], %s::bigint[], %s::timestamptz[], %s::timestamptz[]) AS wanted(model, team, first, until)
    CROSS JOIN LATERAL (
        SELECT at FROM billing_usage
        WHERE team_id = wanted.team AND at >= wanted.first AND at < wanted.until
        AND model = wanted.model AND corrects IS NULL
        ORDER BY at DESC LIMIT 1
    ) newest
"""


def _newest(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Of (model, team, moment), each model's latest; several teams may share it."""
    last: dict[str, Any] = {}
    for model, _team, at in rows:
        last[model] = max(last.get(model, at), at)
    return [row for row in rows if row[2] == last[row[0]]]


def _ask(statement: str, spans: list[tuple[str, int, datetime, datetime]]) -> list[tuple[Any, ...]]:
    if not spans:
        return []
    with connection.cursor() as cursor:
        cursor.execute(statement, [list(column) for column in zip(*spans, strict=True)])
        return list(cursor.fetchall())
