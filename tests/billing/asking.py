"""Reports as a page would ask for them, without a page."""

from datetime import datetime

from accounts.models import Team
from billing.usage.periods import Period
from billing.usage.questions import Bucket, Filters, Group, Question, Scope
from billing.usage.reports import Report, usage

NO_FILTERS = Filters()


def report_of(
    team: Team, period: Period, *, now: datetime, group: Group = Group.MODEL, filters: Filters = NO_FILTERS
) -> Report:
    """By the hour for two days or less, else by day."""
    bucket = Bucket.HOUR if period.by_hour else Bucket.DAY
    return usage(Question(Scope(team), period, group=group, bucket=bucket, filters=filters), now=now)
