"""The rows of roll-ups and refusals that a section reads, with the column of its chart that each belongs to."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db.models import DateField, DateTimeField, F, Func, IntegerField, QuerySet, Value

from billing.models import RefusedQuarter
from billing.usage.buckets import Moment, instant
from billing.usage.comparing import cut, shift
from billing.usage.periods import Period
from billing.usage.questions import Compared, Group, Question, days, quarters

TOLD = ("model", "outcome")  # what the sections tell apart


def used_before(question: Question, *, now: datetime) -> list[QuerySet[Any]]:
    """Those of the days it is compared with, up to the same time of the day as now; empty where it is not compared.

    Two tables where a day is cut: its quarter hours tell, and the days before it.
    """
    if question.compared == Compared.NOT:
        return []
    earlier, until = _earlier(question, now)
    if question.by_quarters:
        return [_until(quarters(earlier), until)]
    if until is None or question.scope.team is None:
        return [_days(earlier)]
    day = until.astimezone(question.period.zone).date()
    last = question.over(Period(day, day, question.period.zone))
    return [_days(earlier).filter(day__lt=day), _until(quarters(last), until)]


def _days(question: Question) -> QuerySet[Any]:
    """Whatever the page groups by, the sections tell models and outcomes apart."""
    return days(replace(question, group=Group.MODEL), *TOLD)


def refused(question: Question, begins: Sequence[Moment]) -> QuerySet[Any]:
    """Sums of what was refused. Of the filters, those by model and outcome cannot tell: such a call has neither."""
    moments = [instant(begin, question.period) for begin in begins]
    found: QuerySet[Any] = _refused(question).annotate(place=place("bucket", moments))
    return found


def refused_before(question: Question, *, now: datetime) -> QuerySet[Any] | None:
    if question.compared == Compared.NOT:
        return None
    earlier, until = _earlier(question, now)
    return _until(_refused(earlier), until)


def _refused(question: Question) -> QuerySet[Any]:
    period, scope, filters = question.period, question.scope, question.filters
    exactly = {"team": scope.team, "key_id": scope.key_id, "member_id": scope.member_id}
    any_of = {
        "key_id__in": filters.keys, "member_id__in": filters.members,
        "origin__in": filters.origins, "team_id__in": filters.teams,
    }  # fmt: skip
    found: QuerySet[Any] = RefusedQuarter.objects.filter(bucket__gte=period.begin, bucket__lt=period.end)
    found = found.filter(**{name: value for name, value in exactly.items() if value is not None})
    return found.filter(**{name: values for name, values in any_of.items() if values})


def _earlier(question: Question, now: datetime) -> tuple[Question, datetime | None]:
    back, period = shift(question), question.period
    earlier = question.over(Period(period.first - back, period.last - back, period.zone))
    return earlier, cut(question, back, now=now)


def _until(rows: QuerySet[Any], until: datetime | None) -> QuerySet[Any]:
    return rows if until is None else rows.filter(bucket__lt=until)


def place(when: str, begins: Sequence[Moment]) -> Any:
    """In which of these stretches of time a row lies, from 0; `when` is its column that says so."""
    base = DateField() if when == "day" else DateTimeField()
    places = Value(list(begins), ArrayField(base))
    return Func(F(when), places, function="width_bucket", output_field=IntegerField()) - Value(1)
