"""Refused calls one by one, newest first, by a place as the log's pages. Each is kept for 90 days."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from billing.ledger.refusals import KEPT
from billing.log.rows import PAGE, Page, Place, Window, cut
from billing.models import Refusal
from billing.usage.questions import Question

__all__ = ["KEPT", "RefusedEntry", "find_refused", "read_refused"]


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """`count` above one: so many of a minute that were the same but for their model."""

    id: UUID
    at: datetime
    origin: str
    endpoint: str
    key_name: str
    member_id: int | None
    member_name: str
    model: str
    code: str
    reason: str
    status: int
    count: int

    @property
    def place(self) -> Place:
        return Place(self.at, self.id)


_COLUMNS = (
    "id", "at", "origin", "endpoint", "key_name", "member_id", "member_name", "model", "code", "reason", "status",
    "count",
)  # fmt: skip


def read_refused(question: Question, window: Window) -> Page[RefusedEntry]:
    """Of a team. What became of a call is no question here: none has an outcome."""
    period, order = question.period, ("at", "id") if window.newer else ("-at", "-id")
    rows = Refusal.objects.filter(_asked(question), at__gte=period.begin, at__lt=period.end)
    if window.place is not None:
        rows = rows.filter(_beyond(window.place, newer=window.newer))
    found = rows.order_by(*order).values_list(*_COLUMNS)[: PAGE + 1]
    return cut([RefusedEntry(*row) for row in found], window)


def find_refused(team_id: int, request_id: UUID) -> RefusedEntry | None:
    row = Refusal.objects.filter(team=team_id, pk=request_id).values_list(*_COLUMNS).first()
    return None if row is None else RefusedEntry(*row)


def _asked(question: Question) -> Q:
    scope, filters = question.scope, question.filters
    found = Q(team=scope.team)
    for column, value in (("key_id", scope.key_id), ("member_id", scope.member_id)):
        if value is not None:
            found &= Q(**{column: value})
    for column, values in filters.columns().items():
        if values and column != "outcome":
            found &= Q(**{f"{column}__in": values}) | (Q(**{column: None}) if 0 in values else Q(pk__in=[]))
    return found


def _beyond(place: Place, *, newer: bool) -> Q:
    if newer:
        return Q(at__gte=place.at) & (Q(at__gt=place.at) | Q(id__gt=place.id))
    return Q(at__lte=place.at) & (Q(at__lt=place.at) | Q(id__lt=place.id))
