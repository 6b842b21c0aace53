"""One budget and several web processes: never more than it allows, whoever asks whom, and whatever dies."""

import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from django.conf import settings

from accounts.models import Team
from billing.budgets.monthly import set_budget
from billing.ledger.auditing import audit
from billing.ledger.partitions import ensure_partitions
from billing.models import Budget, BudgetAccount, Reservation, Unit, UsageRecord
from gateway.catalogue import add_engine
from gateway.models import ServedModel
from tests.engines.faultd import FaultEngine
from tests.factories import make_key
from tests.server import LiveServer

pytestmark = pytest.mark.django_db(transaction=True)

PROCESSES, CALLS, ROOM = 4, 200, 10
SLOW = "fault:slow?first=4000&n=20"
LONG = "fault:drip?n=20&gap=500"
PROMPT, ANSWER = 5, 21  # as it is estimated, and what is asked for; the fault engine counts 6 and 20


@pytest.fixture
def engine() -> Iterator[FaultEngine]:
    with FaultEngine() as running:
        yield running


@pytest.fixture
def data() -> Iterator[Path]:
    """One folder of spools for all processes, as on one machine."""
    with tempfile.TemporaryDirectory(dir=settings.DATA, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def secret(red: Team, engine: FaultEngine) -> str:
    ensure_partitions()
    row = add_engine(name="fault", type="openai", url=engine.url)
    for model in (SLOW, LONG):
        ServedModel.objects.create(engine=row, public_id=model, engine_model=model)
    return make_key(red, name="shared").secret


def limit(team: Team, calls: int) -> Budget:
    return set_budget(
        team=team, unit=Unit.TOKENS, amount=Decimal(calls * (PROMPT + ANSWER)), hard=True, by=None
    )  # fmt: skip


def ask(url: str, secret: str, model: str = SLOW, *, stream: bool = False) -> int:
    body = {
        "model": model,
        "stream": stream,
        "max_tokens": ANSWER,
        "messages": [{"role": "user", "content": "Hola, ¿qué tal?"}],
    }
    with httpx.Client(timeout=120, trust_env=False) as client:
        headers = {"authorization": f"Bearer {secret}"}
        return client.post(f"{url}/v1/chat/completions", json=body, headers=headers).status_code


@pytest.mark.spec("R14", "F32", "U4", "U7")
def test_two_hundred_calls_at_four_processes_are_let_in_as_far_as_the_budget_goes(
    red: Team, engine: FaultEngine, secret: str, data: Path
) -> None:
    budget = limit(red, ROOM)
    answers: list[int] = []
    with ExitStack() as stack:
        servers = [stack.enter_context(LiveServer(data=data)) for _ in range(PROCESSES)]
        threads = [
            threading.Thread(target=lambda place=place: answers.append(ask(servers[place % PROCESSES].url, secret)))
            for place in range(CALLS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        engine.wait_for(lambda: UsageRecord.objects.count() == ROOM)
        engine.wait_for(lambda: not Reservation.objects.exists())
    assert Counter(answers) == {200: ROOM, 402: CALLS - ROOM}
    account = BudgetAccount.objects.get(budget=budget)
    assert (account.spent, account.reserved) == (ROOM * 26, 0)
    assert account.spent <= budget.amount
    assert audit().agrees


@pytest.mark.spec("F21", "R01")
def test_what_a_killed_process_held_is_free_again_once_another_has_shipped_its_spool(
    red: Team, engine: FaultEngine, secret: str, data: Path
) -> None:
    budget = limit(red, 2)
    with LiveServer(data=data) as server:
        threads = [threading.Thread(target=_broken_off, args=(server.url, secret, LONG)) for _ in range(2)]
        for thread in threads:
            thread.start()
        engine.wait_for(lambda: sum(one.deltas for one in engine.completions()) > 6)
        assert ask(server.url, secret) == 402
        server.kill()
        for thread in threads:
            thread.join()
        assert BudgetAccount.objects.get(budget=budget).reserved == 2 * (PROMPT + ANSWER)
        server.start()
        engine.wait_for(lambda: UsageRecord.objects.count() == 2)
    assert not Reservation.objects.exists()
    account = BudgetAccount.objects.get(budget=budget)
    assert (account.spent, account.reserved) == (sum(row.prompt_tokens + row.completion_tokens for row in rows()), 0)
    assert {row.outcome for row in rows()} == {"interrupted"}
    assert account.spent > 0
    assert audit().agrees


def _broken_off(url: str, secret: str, model: str) -> None:
    with pytest.raises(httpx.HTTPError):
        ask(url, secret, model, stream=True)


def rows() -> list[UsageRecord]:
    return list(UsageRecord.objects.all())
