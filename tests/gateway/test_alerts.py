"""Operators hear of an engine that is down, and of its return."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.core import mail
from django.utils import timezone

from accounts.models import User
from billing.alerts.outbox import deliver
from billing.alerts.raising import CALM, settle
from billing.models import Alert, Delivery, Rule
from gateway.alerts import engines_down, look_at_engines
from gateway.jobs import probe_engines
from gateway.models import Engine
from tests.engines.faultd import FaultEngine
from tests.server import free_port

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


@pytest.fixture
def away(alice: User) -> Engine:
    """Nobody listens there."""
    url = f"http://127.0.0.1:{free_port()}"
    return Engine.objects.create(name=f"gpu-{uuid4().hex[:4]}", type="openai", url=url)


def names() -> list[str]:
    return [one.name for one in engines_down(now=timezone.now())]


def test_an_engine_that_cannot_be_reached_for_minutes_is_down(away: Engine) -> None:
    probe_engines()
    assert names() == []  # a restart is no alarm
    Engine.objects.update(created_at=timezone.now() - 3 * MINUTE)
    assert names() == [away.name]


def test_one_that_was_well_a_moment_ago_or_is_switched_off_is_not(away: Engine) -> None:
    probe_engines()
    Engine.objects.update(created_at=timezone.now() - 3 * MINUTE, seen_at=timezone.now() - MINUTE)
    assert names() == []
    Engine.objects.update(seen_at=timezone.now() - 3 * MINUTE)
    assert names() == [away.name]
    Engine.objects.update(enabled=False)
    assert names() == []


def test_it_is_told_once_and_its_return_too(away: Engine) -> None:
    probe_engines()
    Engine.objects.update(created_at=timezone.now() - 3 * MINUTE)
    for _ in range(3):
        look_at_engines()
    deliver()
    assert [message.subject for message in mail.outbox] == [f"the platform: Engine {away.name} does not work"]
    assert f"/operator/engines/{away.pk}/" in mail.outbox[0].body

    with FaultEngine() as engine:
        Engine.objects.update(url=engine.url)
        probe_engines()
    later = timezone.now() + CALM
    settle(engines_down(now=later), rules=[Rule.ENGINE], now=later)
    assert Alert.objects.get().resolved_at == later
    Delivery.objects.update(due_at=datetime.now(UTC))
    deliver()
    assert mail.outbox[1].subject == f"the platform: over: Engine {away.name} does not work"
