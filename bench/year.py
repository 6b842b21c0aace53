"""A log that a year has filled: whether the ledger is as quick as before, and how long a month takes to leave.

    python -m bench.year [--rows 10000000]

Against: the ledger on the empty log of the same database, before the year is filled in, each beside bare COPY into a
table of the log's shape, in turns, which tells how busy the machine was. Ten million rows, the default,
take a few minutes and 6 GB; PostgreSQL makes them itself, in the log's own shape, and the roll-ups are built from them
as `usage_rebuild` does. While the month leaves, batches go on being written, and the longest wait of one is told.
"""

import argparse
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from statistics import median
from zoneinfo import ZoneInfo

from psycopg import sql

from bench.filled import fill
from bench.ledger import ended
from bench.scratch import scratch
from billing.records import Ended

TEAMS, KEYS, MODELS = 10, 40, 12  # each key uses two models
ROUNDS, ROUND, BATCH = 5, 20_000, 5_000  # rows
SLOWER, LONGEST_DROP = 0.20, 1.0  # bars: share of the empty log's rate, seconds


def main(rows: int) -> None:
    from django.db import connection  # once Django is set up

    from accounts.models import Team
    from billing.ledger import auditing
    from billing.ledger.partitions import drop_old_months, ensure_partitions, months, months_before
    from billing.usage import reports
    from billing.usage.periods import last_days
    from billing.usage.questions import Question, Scope

    teams = [
        Team.objects.create(slug=f"bench-{number}", name="Bench", time_zone="Europe/Paris") for number in range(TEAMS)
    ]
    today = datetime.now(UTC).date()
    firsts = [months_before(today, ago) for ago in range(12, -1, -1)]
    ensure_partitions(firsts)
    empty = Rate.seen(teams[0].pk)
    print(f"empty log           {empty}", flush=True)

    began = time.perf_counter()
    fill(first_team=teams[0].pk, teams=TEAMS, keys=KEYS // TEAMS, models=MODELS, rows=rows, months=firsts)
    filled = time.perf_counter() - began
    auditing.rebuild()
    built = time.perf_counter() - began - filled
    print(f"a year of {rows:,} rows: filled in {filled:.0f} s, roll-ups built in {built:.0f} s, {sizes()}", flush=True)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")

    full = Rate.seen(teams[0].pk)
    print(f"after the year      {full}; {full.share / empty.share - 1:+.0%} (bar -{SLOWER:.0%})", flush=True)
    now = datetime.now(UTC)
    ninety = Question(Scope(teams[0]), last_days(90, today, ZoneInfo("Europe/Paris")))
    took = seconds(lambda: reports.usage(ninety, now=now))
    print(f"a team's 90 days    {took * 1000:10,.0f} ms, from the roll-ups (bar 200)", flush=True)

    oldest = months()
    later = datetime.combine(months_before(min(oldest), -26), datetime.min.time(), UTC)
    with Writing(teams[1].pk) as writing:
        took = seconds(lambda: drop_old_months(now=later))
    gone = set(oldest) - set(months())
    assert gone == {min(oldest)}
    print(
        f"a month's drop      {took:10.2f} s (bar {LONGEST_DROP}); {len(writing.waits)} batches of {BATCH:,} written"
        f" meanwhile and just before, the longest took {max(writing.waits):.2f} s, the middle one"
        f" {median(writing.waits):.2f} s",
        flush=True,
    )
    took = seconds(lambda: print("roll-ups equal the log:", auditing.audit().agrees))
    print(f"usage_audit         {took:10.0f} s")


@dataclass(frozen=True)
class Rate:
    """Rows a second, the middle of some rounds."""

    ledger: float
    bare: float

    def __str__(self) -> str:
        return (
            f"{self.ledger:10,.0f} rows/s, in batches of {BATCH:,}; bare COPY {self.bare:,.0f}, share {self.share:.0%}"
        )

    @property
    def share(self) -> float:
        return self.ledger / self.bare

    @classmethod
    def seen(cls, team_id: int) -> "Rate":
        from billing.ledger import log as ledger

        def write(rows: list[Ended]) -> None:
            for place in range(0, ROUND, BATCH):
                ledger.write(rows[place : place + BATCH])

        took: list[tuple[float, float]] = []
        for _ in range(ROUNDS):
            now = time.time_ns() // 1_000_000
            rows = [ended(team_id, now - 900_000 + 900_000 * place // ROUND) for place in range(ROUND)]
            took.append((seconds(partial(copy, rows)), seconds(partial(write, rows))))
        bare, ledgers = (median(side) for side in zip(*took, strict=True))
        return cls(ROUND / ledgers, ROUND / bare)


def copy(rows: list[Ended]) -> None:
    from django.db import connection, transaction

    from billing.ledger.rows import COLUMNS
    from billing.ledger.rows import row as row_of

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE bare (LIKE billing_usage) ON COMMIT DROP")
        with cursor.copy(sql.SQL("COPY bare ({}) FROM STDIN").format(COLUMNS)) as copying:
            for row in map(row_of, rows):
                copying.write_row(row)


class Writing:
    """Writes batches in a thread while the block runs."""

    def __init__(self, team_id: int) -> None:
        self.waits: list[float] = []
        self._team_id = team_id
        self._over, self._begun = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> "Writing":
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _write(self) -> None:
        from django.db import connection

        from billing.ledger import log as ledger

        while not self._over.is_set():
            now = time.time_ns() // 1_000_000
            rows = [ended(self._team_id, now) for _ in range(BATCH)]
            self.waits.append(seconds(partial(ledger.write, rows)))
            if len(self.waits) >= 3:
                self._begun.set()
        connection.close()


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def sizes() -> str:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits"
            " WHERE inhparent = 'billing_usage'::regclass"
        )
        log = cursor.fetchone()[0]
        cursor.execute(
            "SELECT sum(pg_total_relation_size(name::regclass))::bigint, (SELECT count(*) FROM billing_usagequarter)"
            " FROM unnest(ARRAY['billing_usagequarter', 'billing_usageday', 'billing_platformday']) name"
        )
        roll_ups, quarters = cursor.fetchone()
    return f"log {log / 1e9:.1f} GB, roll-ups {roll_ups / 1e9:.1f} GB ({quarters:,} quarter hours)"


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=10_000_000)
    given = options.parse_args()
    with scratch():
        main(given.rows)
