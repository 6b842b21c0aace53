"""How many ended requests a second the ledger takes into PostgreSQL, roll-ups included.

Against: the same rows by a bare COPY into a table of the same shape, in the same run; with no budget, and with a
thousand budgets and a credit. python -m bench.ledger [rows]
"""

import random
import sys
import time
from decimal import Decimal
from typing import TYPE_CHECKING

from bench.scratch import scratch
from billing.ids import new_request
from billing.records import Counts, Ended, Final, Start, UnitPrices

if TYPE_CHECKING:
    from accounts.models import Team

MODELS = [f"model-{number}" for number in range(12)]
BUDGETS = 1000
PRICE = UnitPrices(Decimal("0.9"), Decimal("0.45"), Decimal("4.0"), Decimal("4.0"))


def ended(team_id: int, at_ms: int) -> Ended:
    request, key = new_request(), random.randrange(1, 40)
    start = Start(
        request.id, at_ms, team_id, "api", "chat.completions", True, key, f"key {key}", None, "", "someone",
        random.choice(MODELS), "", 40, PRICE if key % 2 else None,
    )  # fmt: skip
    counts = Counts(random.randrange(2000), random.randrange(800), "upstream", "upstream", None, 10)
    return Ended(
        start,
        Final(request.id, "engine", "vllm", "gpu-1", "chatcmpl-1", counts, "ok", 200, 120, random.randrange(9000)),
    )


def set_budgets(team: "Team", number: int) -> None:
    """Budgets of the keys that the rows name, of as many more, and of the team, in tokens and money; and a credit."""
    from billing.budgets import recount_all, set_budget
    from billing.credit import top_up
    from billing.models import Budget, Unit
    from tests.factories import make_key

    keys = [make_key(team, name=f"key {place}").key for place in range(number // 2)]
    for unit in (Unit.TOKENS, Unit.MONEY):
        first = set_budget(team=team, unit=unit, amount=Decimal(10) ** 14, hard=True, by=None)
        Budget.objects.bulk_create(
            Budget(team=team, key=key, unit=unit, amount=first.amount, counts_from=first.counts_from)
            for key in keys[: number // 2 - 1]
        )
    top_up(team=team, amount=Decimal(10) ** 14, by=None)
    recount_all()


def main(total: int, batch: int = 5000) -> None:
    from django.db import connection, transaction  # once Django is set up

    from accounts.models import Team
    from billing import ledger

    team = Team.objects.create(slug=f"bench-{time.time_ns()}", name="Bench", time_zone="Europe/Paris")
    now = time.time_ns() // 1_000_000
    rows = [ended(team.pk, now - 1_800_000 + 1_800_000 * place // total) for place in range(total)]
    ledger.ensure_partitions()

    began = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE bare (LIKE billing_usage) ON COMMIT DROP")
        with cursor.copy("COPY bare FROM STDIN") as copy:
            for row in map(ledger._row, rows):
                copy.write_row(row)
    bare = time.perf_counter() - began

    print(f"bare COPY {total / bare:10,.0f} rows/s")
    print(f"ledger    {total / written(rows, batch):10,.0f} rows/s, in batches of {batch:,}, three levels of roll-ups")
    set_budgets(team, BUDGETS)
    rows = [ended(team.pk, now - 1_800_000 + 1_800_000 * place // total) for place in range(total)]
    took = written(rows, batch)
    print(f"          {total / took:10,.0f} rows/s with {BUDGETS:,} budgets and a credit")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM billing_budgetaccount WHERE spent > 0")
        print(f"          {cursor.fetchone()[0]} accounts were raised; the audit agrees: {ledger.audit().agrees}")


def written(rows: list[Ended], batch: int) -> float:
    """Seconds."""
    from billing import ledger

    began = time.perf_counter()
    new = sum(ledger.write(rows[place : place + batch]) for place in range(0, len(rows), batch))
    took = time.perf_counter() - began
    assert new == len(rows)
    return took


if __name__ == "__main__":
    with scratch():
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
