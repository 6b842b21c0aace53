"""A team that moves to another time zone: its days and its budgets' months, made anew from its quarter hours.

Quarter hours are those of every zone, so nothing is lost with months that have left the log.
"""

from django.db import DataError, connection, transaction
from psycopg import sql

from accounts.models import Team
from billing.budgets.monthly import move_months
from billing.errors import BooksClosed, UnknownZone
from billing.ledger.months import closed_until
from billing.ledger.rollups import level_of, names, regrouped
from billing.models import UsageQuarter


def require_movable(*, team: Team, time_zone: str) -> None:
    """Hold the books before. Raises UnknownZone where PostgreSQL does not know the zone, and BooksClosed when something
    lies in a closed month: what was billed for it stays as it was.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT now() AT TIME ZONE %s", [time_zone])
    except DataError as error:
        raise UnknownZone(f"PostgreSQL knows no time zone {time_zone}.") from error
    until = closed_until(team)
    if until and UsageQuarter.objects.filter(team=team, bucket__lt=until).exists():
        raise BooksClosed(f"The months of {team} before {until:%Y-%m-%d} are closed.")


@transaction.atomic
def move_calendar(*, team: Team, former_zone: str) -> None:
    """After `team` has got its new zone, in the same transaction, with the books held alone."""
    _rebuild_days(team)
    move_months(team=team, former_zone=former_zone)


def _rebuild_days(team: Team) -> None:
    days = level_of("billing_usageday")
    quarters = sql.SQL("(SELECT * FROM billing_usagequarter WHERE team_id = {})").format(sql.Literal(team.pk))
    statement = sql.SQL("INSERT INTO {} ({}) {}").format(
        sql.Identifier(days.table), names(days), regrouped(days, quarters)
    )
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("DELETE FROM {} WHERE team_id = {}").format(sql.Identifier(days.table), sql.Literal(team.pk))
        )
        cursor.execute(statement)
