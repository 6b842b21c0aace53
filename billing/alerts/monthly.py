"""The report of each month: made out once for a team, on the first days of the next month in its own zone."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone

from accounts.models import Team, User
from billing.alerts.month_figures import month_figures
from billing.alerts.wishes import hearers
from billing.budgets.monthly import next_month
from billing.models import Delivery, MonthReported, Watching
from billing.usage.periods import midnight

LATE = timedelta(hours=6)  # after the month's end: until then machines that were away have shipped
TWO_MONTHS = timedelta(days=62)
LATEST = timedelta(days=10)  # after that nobody wants it any more


def make_out_due(*, now: datetime | None = None) -> None:
    """Of each team whose month has just ended."""
    now = now or timezone.now()
    unwanted = Watching.objects.filter(monthly_report=False).values("team")
    lately = MonthReported.objects.filter(month__gte=now.date() - TWO_MONTHS)
    there = set(lately.values_list("team", "month"))
    for team in Team.objects.filter(archived_at=None).exclude(pk__in=unwanted):
        month = due_month(team, now)
        if month is not None and (team.pk, month) not in there:
            make_out(team=team, month=month, now=now)


def due_month(team: Team, now: datetime) -> date | None:
    """The first day of the month that ended last, while it is time for its report."""
    zone = ZoneInfo(team.time_zone)
    this = now.astimezone(zone).date().replace(day=1)
    month, end = (this - timedelta(days=1)).replace(day=1), midnight(this, zone)
    if not end + LATE <= now <= end + LATEST or team.created_at >= end:
        return None
    return month


@transaction.atomic
def make_out(*, team: Team, month: date, now: datetime) -> MonthReported | None:
    """The row and its mails. None: another process has been here. A month without anything has a row and no mail."""
    row, created = MonthReported.objects.get_or_create(team=team, month=month, defaults={"at": now})
    if not created:
        return None
    if month_figures(team, month).has_something:
        people = [one.user for one in hearers(team) if one.hears_reports]
        Delivery.objects.bulk_create(_mail(row, user, now) for user in people)
    return row


def is_over(team: Team, month: date, now: datetime) -> bool:
    return midnight(next_month(month), ZoneInfo(team.time_zone)) <= now


def _mail(report: MonthReported, user: User, now: datetime) -> Delivery:
    return Delivery(
        kind=Delivery.Kind.REPORT,
        team=report.team,
        report=report,
        user=user,
        to=user.email,
        created_at=now,
        due_at=now,
    )
