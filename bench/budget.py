"""How many calls a second one key's budget lets in, and whether exactly as many as it has room for.

Sixteen callers reserve from one account until it is full; a third more tries than there is room. Then the same against
a credit, a budget of the team and one of the key at once. Against: as many bare `UPDATE … SET n = n + 1` of one row in
transactions of their own, over the same connections, in the same run. python -m bench.budget [calls]

Then what budgets cost the ledger: batches of ended requests of a team with a thousand budgets and a credit, against
the like of a team with none, in turns.
"""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from statistics import median, quantiles
from typing import TYPE_CHECKING
from uuid import uuid4

from bench.ledger import ended
from bench.scratch import scratch

if TYPE_CHECKING:
    from accounts.models import Team

CALLERS = 16
EACH = 10  # tokens
TRIES = 4 / 3  # of the calls that there is room for
BUDGETS, ROUNDS, BATCH = 1000, 12, 5000


def main(calls: int) -> None:
    let_in(calls)
    settle()


def let_in(calls: int) -> None:
    from django.db import connection, transaction
    from django.utils import timezone

    from accounts.models import Team
    from billing.budgets import settling
    from billing.budgets.credit import top_up
    from billing.budgets.monthly import set_budget
    from billing.budgets.settling import Wanted
    from billing.errors import OverBudget
    from billing.ids import new_request
    from billing.ledger.auditing import audit
    from billing.models import BudgetAccount, Unit
    from tests.factories import make_key

    team = Team.objects.create(slug=f"bench-{time.time_ns()}", name="Bench", time_zone="Europe/Paris")
    key, process = make_key(team).key, uuid4()

    def reserve() -> bool:
        wanted = Wanted(team.pk, key.pk, None, timezone.now(), EACH, Decimal("0.00001"))
        try:
            return settling.reserve(wanted, request_id=new_request().id, process=process, lease=timedelta(hours=1))
        except OverBudget:
            return False

    def bare() -> bool:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE bare SET n = n + 1")
        return True

    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bare (n bigint); INSERT INTO bare VALUES (0)")
    tries = round(calls * TRIES)
    report("one row, bare", tries, *together(bare, tries))
    budget = set_budget(team=team, unit=Unit.TOKENS, amount=Decimal(calls * EACH), hard=True, by=None, key=key)
    granted, *times = together(reserve, tries)
    report("a key's budget", tries, granted, *times)
    assert granted == calls, f"{granted} were let in, and there was room for {calls}"
    assert BudgetAccount.objects.get(budget=budget).reserved == calls * EACH
    set_budget(team=team, unit=Unit.TOKENS, amount=Decimal(2 * calls * EACH), hard=True, by=None, key=key)
    set_budget(team=team, unit=Unit.MONEY, amount=Decimal(10**9), hard=True, by=None)
    top_up(team=team, amount=Decimal(10**9), by=None)
    granted, *times = together(reserve, tries)
    report("key, team and credit", tries, granted, *times)
    assert granted == calls
    assert audit().agrees


def together(work: Callable[[], bool], tries: int) -> tuple[int, float, list[float]]:
    """How many were granted, seconds in all, and milliseconds of each."""
    from django.db import connections

    def caller(number: int) -> list[tuple[bool, float]]:
        found = []
        try:
            for _ in range(number):
                began = time.perf_counter()
                found.append((work(), (time.perf_counter() - began) * 1000))
                connections.close_all()  # back to the pool, as between two calls of a web process
        finally:
            connections.close_all()
        return found

    shares = [tries // CALLERS + (place < tries % CALLERS) for place in range(CALLERS)]
    began = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        results = [one for found in pool.map(caller, shares) for one in found]
    took = time.perf_counter() - began
    return sum(granted for granted, _ in results), took, [each for _, each in results]


def settle() -> None:
    from django.db import connection

    from accounts.models import Team
    from billing.ledger import log as ledger
    from billing.ledger.auditing import audit
    from billing.ledger.partitions import ensure_partitions

    ensure_partitions()
    teams = [Team.objects.create(slug=f"{name}-{time.time_ns()}", name=name) for name in ("none", "thousand")]
    accounts = set_budgets(teams[1])
    times: dict[str, list[float]] = {team.name: [] for team in teams}
    for _ in range(ROUNDS):
        for team in teams:
            now = time.time_ns() // 1_000_000
            rows = [ended(team.pk, now - 600_000 * place // BATCH) for place in range(BATCH)]
            began = time.perf_counter()
            assert ledger.write(rows) == BATCH
            times[team.name].append(time.perf_counter() - began)
    rates = [BATCH / median(times[team.name]) for team in teams]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM billing_budgetaccount WHERE budget_id >= %s AND spent > 0", [accounts])
        raised = cursor.fetchone()[0]
    assert audit().agrees
    print(
        f"ledger, middle of {ROUNDS} batches of {BATCH:,}: {rates[0]:,.0f} rows/s with no budget,"
        f" {rates[1]:,.0f} with {BUDGETS:,}, of which {raised} were raised"
    )


def set_budgets(team: "Team") -> int:
    """In tokens and money: of the keys that the rows name, of more, and of the team; and a credit. The first's id."""
    from billing.budgets.credit import top_up
    from billing.budgets.monthly import recount_all, set_budget
    from billing.models import Budget, Unit
    from tests.factories import make_key

    made = [make_key(team, name=f"key {place}").key.pk for place in range(BUDGETS // 2 - 2)]
    keys = {*range(1, 40), *made}  # those that the rows name are the first that were ever made
    first = set_budget(team=team, unit=Unit.TOKENS, amount=Decimal(10) ** 14, hard=True, by=None)
    for unit in (Unit.TOKENS, Unit.MONEY):
        Budget.objects.bulk_create(
            Budget(team=team, key_id=key, unit=unit, amount=first.amount, counts_from=first.counts_from) for key in keys
        )
    top_up(team=team, amount=Decimal(10) ** 14, by=None)
    recount_all()
    return first.pk


def report(name: str, tries: int, granted: int, took: float, each: list[float]) -> None:
    p99 = quantiles(each, n=100)[98]
    print(
        f"{name:22} {tries / took:8,.0f} tries/s, {granted:,} of {tries:,} let in;"
        f" p50 {median(each):.1f} ms, p99 {p99:.1f} ms"
    )


if __name__ == "__main__":
    with scratch():
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
