"""The proof that the roll-ups, and the accounts of budgets and credit, equal the log, and making them anew from it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from psycopg import sql

from billing.budgets.settling import accounts_differing
from billing.ledger.partitions import LOG, midnight, next_month
from billing.ledger.rollups import Level, grouped, levels, names
from billing.models import DeadLetter, ThinMonth, UsageRecord


@transaction.atomic
def rebuild() -> None:
    """Make the roll-ups anew from the log; those of months that have left the log are kept. Writers wait."""
    with connection.cursor() as cursor:
        for level in levels():
            table, kept = sql.Identifier(level.table), _retained(level)
            cursor.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table))
            cursor.execute(sql.SQL("DELETE FROM {} WHERE {}").format(table, kept))
            cursor.execute(
                sql.SQL("INSERT INTO {} ({}) SELECT * FROM ({}) anew WHERE {}").format(
                    table, names(level), grouped(level, sql.Identifier(LOG)), kept
                )
            )


@dataclass(frozen=True, slots=True)
class Difference:
    """How many groups of a level have other sums in the log than in the roll-up."""

    table: str
    groups: int


@dataclass(frozen=True, slots=True)
class AuditReport:
    rows: int
    differences: tuple[Difference, ...]
    dead_letters: int

    @property
    def agrees(self) -> bool:
        return not self.differences and not self.dead_letters


@transaction.atomic
def audit() -> AuditReport:
    """Compare the roll-ups with the log, for the months that are still whole in the log. One level is one snapshot."""
    found = [Difference(level.table, _differing(level)) for level in levels()]
    found.append(Difference("billing_budgetaccount", accounts_differing()))
    return AuditReport(
        rows=UsageRecord.objects.count(),
        differences=tuple(difference for difference in found if difference.groups),
        dead_letters=DeadLetter.objects.count(),
    )


def differences_since(since: datetime) -> tuple[Difference, ...]:
    """The same for what was booked from `since` on, which is midnight UTC: groups that begin a day later or more, for a
    day of a zone may begin before that of UTC.
    """
    found = [Difference(level.table, _differing(level, since)) for level in levels()]
    return tuple(difference for difference in found if difference.groups)


_SINCE = sql.SQL(
    "(SELECT * FROM {log} WHERE at >= {since} UNION ALL"
    " SELECT * FROM {log} WHERE booked_at > at AND booked_at >= {since} AND at < {since})"
)


def _differing(level: Level, since: datetime | None = None) -> int:
    """How many groups differ, each counted once from either side."""
    kept = _retained(level)
    source: sql.Composable = sql.Identifier(LOG)
    if since is not None:
        first = sql.Literal(since + timedelta(days=1))
        kept = sql.SQL("{} AND {} >= {}").format(kept, sql.Identifier(level.period), first)
        source = _SINCE.format(log=source, since=sql.Literal(since))
    statement = sql.SQL(
        "WITH log AS (SELECT * FROM ({grouped}) anew WHERE {kept}),"
        " kept AS (SELECT {names} FROM {table} WHERE {kept})"
        " SELECT count(*) FROM (SELECT {keys} FROM (SELECT * FROM log EXCEPT SELECT * FROM kept) only_log"
        " UNION SELECT {keys} FROM (SELECT * FROM kept EXCEPT SELECT * FROM log) only_kept) differing"
    ).format(
        grouped=grouped(level, source),
        kept=kept,
        names=names(level),
        keys=sql.SQL(", ").join(map(sql.Identifier, level.keys)),
        table=sql.Identifier(level.table),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.fetchone()[0])


def _retained(level: Level) -> sql.Composable:
    """The roll-ups that the log can still prove: all but those of months that have left it, in whole or in part.

    A day of a zone may reach into the day before or after in UTC.
    """
    period, day = sql.Identifier(level.period), timedelta(days=1)
    return sql.SQL(" AND ").join(
        (
            sql.SQL("true"),
            *(
                sql.SQL("NOT ({period} >= {first} AND {period} < {above})").format(
                    period=period,
                    first=sql.Literal(midnight(month - day)),
                    above=sql.Literal(midnight(next_month(month) + day)),
                )
                for month in ThinMonth.objects.order_by("month").values_list("month", flat=True)
            ),
        )
    )
