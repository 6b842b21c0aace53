"""Two real processes that do the background work, one of which is killed in the middle of a call."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Team, User
from billing.alerts.webhooks import add_webhook
from billing.budgets.monthly import set_budget
from billing.ledger import log as ledger
from billing.models import Alert, Delivery, Unit
from console.models import JobRun
from tests.billing.alerts.hooks import Receiver
from tests.billing.traffic import counts, ended, milliseconds
from tests.factories import make_key
from tests.server import ROOT, LiveServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

KEYS = 6


@pytest.fixture
def worker(settings: Any) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    with ExitStack() as stack:

        def start() -> subprocess.Popen[bytes]:
            env = LiveServer("work", SECRET_KEY=settings.SECRET_KEY, WEBHOOK_HOSTS="localhost")._env
            words = [sys.executable, "manage.py", "work"]
            process = stack.enter_context(
                subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            stack.callback(process.kill)
            return process

        yield start


def until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_each_alert_is_raised_once_and_its_message_known_by_one_id_when_the_leader_is_killed_in_a_call(
    red: Team, alice: User, worker: Callable[[], subprocess.Popen[bytes]], settings: Any
) -> None:
    keys = [make_key(red, name=f"key-{number}").key for number in range(KEYS)]
    for key in keys:
        set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(1000), hard=True, by=alice, key=key)
    now = milliseconds(timezone.now())
    ledger.write([ended(red.pk, counts(900, 0), at_ms=now, key_id=key.pk) for key in keys])
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, webhook_hosts=("localhost",))
    with Receiver(wait=0.4) as receiver:
        hook, _secret = add_webhook(team=red, url=f"http://localhost:{receiver.port}/", by=None)
        leader = worker()
        until(lambda: JobRun.objects.exists())
        worker()
        until(lambda: len(receiver.calls) >= 2)
        leader.kill()
        leader.wait()
        Delivery.objects.filter(state="waiting").update(due_at=timezone.now())  # as if its claims were over
        JobRun.objects.update(started_at=timezone.now() - timedelta(hours=2))
        until(lambda: not Delivery.objects.filter(webhook=hook, state="waiting").exists())

    assert Counter(Alert.objects.values_list("subject", flat=True)) == Counter(f"key:{key.pk}" for key in keys)
    deliveries = Delivery.objects.filter(webhook=hook)
    assert set(deliveries.values_list("state", flat=True)) == {"sent"}
    ids = Counter(call.headers["webhook-id"] for call in receiver.calls)
    assert ids.keys() == {f"msg_{delivery.pk.hex}" for delivery in deliveries}
    assert len(ids) == KEYS
    bodies = {call.headers["webhook-id"]: call.json["data"]["subject"] for call in receiver.calls}
    assert sorted(bodies.values()) == sorted(f"key:{key.pk}" for key in keys)
