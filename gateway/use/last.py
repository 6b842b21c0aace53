"""When a model was last used, to the minute: from the roll-ups to the quarter of an hour, and one row of the log."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection
from django.db.models import Max
from django.utils import timezone

from billing.models import PlatformDay, UsageQuarter
from billing.usage.periods import DAY, midnight
from billing.usage.questions import Question
from gateway.models import LastUse

QUARTER = timedelta(minutes=15)
LATELY = timedelta(hours=1)
LOOK_BACK = timedelta(days=7)  # calls that come to the log later than this do not move a last day


@dataclass(frozen=True, slots=True)
class Last:
    """`exact`: to the second; else the quarter of an hour that begins then, because the log has the call no more."""

    at: datetime
    exact: bool


def last_uses(
    question: Question, found: Mapping[str, Mapping[int, Any]], *, by_quarters: bool, now: datetime
) -> dict[str, Last]:
    """By model; given are, for each, the teams' last days (or quarters). Three queries at most.

    Corrections are no use: they ask no model anything.
    """
    wanted = _newest([(model, team, at) for model, of in found.items() for team, at in of.items()])
    if not by_quarters:
        wanted = _last_quarters(wanted, question.period.zone, now)
    lasts = {model: Last(bucket, exact=False) for model, _team, bucket in wanted}
    spans = [(model, team, bucket, bucket + QUARTER) for model, team, bucket in wanted]
    for model, at in _ask(_LOG, spans):
        if not lasts[model].exact or at > lasts[model].at:
            lasts[model] = Last(at, exact=True)
    return lasts


def _last_quarters(wanted: list[tuple[Any, ...]], zone: ZoneInfo, now: datetime) -> list[tuple[Any, ...]]:
    """Of (model, team, day), each model's last quarter and the teams that have it.

    Most models that are used today were used in the last hour, which is read in one go; the others are looked for.
    """
    since = now - LATELY
    today = [(model, team) for model, team, day in wanted if midnight(day + DAY, zone) > since]
    rows = UsageQuarter.objects.filter(
        team_id__in={team for _model, team in today}, bucket__gte=since, model__in={model for model, _team in today}
    )
    lately = list(rows.filter(requests__gt=0).values_list("model", "team_id", "bucket").distinct()) if today else []
    seen = {model for model, _team, _bucket in lately}
    spans = [
        (model, team, midnight(day, zone), midnight(day + DAY, zone))
        for model, team, day in wanted
        if model not in seen
    ]
    return _newest([*lately, *_ask(_QUARTERS, spans)])


def note_last_uses() -> None:
    """Brings each model's last day up to date: from all there is the first time, from the last days after that."""
    today = timezone.localdate(timezone=ZoneInfo(settings.TIME_ZONE))
    rows = PlatformDay.objects.filter(requests__gt=0)
    if LastUse.objects.exists():
        rows = rows.filter(day__gte=today - LOOK_BACK)
    newest = rows.values("model").annotate(last=Max("day"))
    known = dict(LastUse.objects.values_list("model", "day"))
    later = [
        LastUse(model=row["model"], day=row["last"])
        for row in newest
        if row["model"] not in known or row["last"] > known[row["model"]]
    ]
    LastUse.objects.bulk_create(later, update_conflicts=True, unique_fields=["model"], update_fields=["day"])


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
