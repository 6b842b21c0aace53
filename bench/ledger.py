"""How many ended requests a second the ledger takes into PostgreSQL, roll-ups included.

Against: the same rows by a bare COPY into a table of the same shape, in the same run. python -m bench.ledger [rows]
"""

import random
import sys
import time
from decimal import Decimal

from psycopg import sql

from bench.scratch import scratch
from billing.ids import new_request
from billing.records import Counts, Ended, Final, Start, UnitPrices

MODELS = [f"model-{number}" for number in range(12)]
PRICE = UnitPrices(Decimal("0.9"), Decimal("0.45"), Decimal("4.0"), Decimal("4.0"))


def ended(team_id: int, at_ms: int) -> Ended:
    request, key = new_request(), random.randrange(1, 40)
    start = Start(
        request.id, at_ms, team_id, "api", "chat.completions", True, key, f"key {key}", None, "", "someone",
        random.choice(MODELS), "", 40, PRICE if key % 2 else None,
    )  # fmt: skip
    counts = Counts(random.randrange(2000), random.randrange(800), "upstream", "upstream", None, 10)
    ttft = int(random.lognormvariate(6, 0.8))  # milliseconds, spread as those of real engines are
    duration = ttft + int(random.lognormvariate(8, 1))
    return Ended(start, Final(request.id, "engine", "vllm", "gpu-1", "chatcmpl-1", counts, "ok", 200, ttft, duration))


def main(total: int, batch: int = 5000) -> None:
    from django.db import connection, transaction  # once Django is set up

    from accounts.models import Team
    from billing.ledger import log as ledger
    from billing.ledger.partitions import ensure_partitions
    from billing.ledger.rows import COLUMNS
    from billing.ledger.rows import row as row_of

    team = Team.objects.create(slug=f"bench-{time.time_ns()}", name="Bench", time_zone="Europe/Paris")
    now = time.time_ns() // 1_000_000
    rows = [ended(team.pk, now - 1_800_000 + 1_800_000 * place // total) for place in range(total)]
    ensure_partitions()

    began = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE bare (LIKE billing_usage) ON COMMIT DROP")
        with cursor.copy(sql.SQL("COPY bare ({}) FROM STDIN").format(COLUMNS)) as copy:
            for row in map(row_of, rows):
                copy.write_row(row)
    bare = time.perf_counter() - began

    began = time.perf_counter()
    written = sum(ledger.write(rows[place : place + batch]) for place in range(0, total, batch))
    took = time.perf_counter() - began
    assert written == total
    print(f"bare COPY {total / bare:10,.0f} rows/s")
    print(f"ledger    {total / took:10,.0f} rows/s, in batches of {batch:,}, all levels of roll-ups")


if __name__ == "__main__":
    with scratch():
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
