"""Alerts are raised once, whoever looks and whenever somebody dies."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import IntegrityError, connection

from accounts.models import Team, User
from billing.alerts.noticed import Noticed
from billing.alerts.raising import CALM, forget_old, raise_alert, resolve, settle
from billing.alerts.webhooks import add_webhook
from billing.errors import AddressRefused
from billing.models import Alert, Delivery, Rule, Severity

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def budget(team: Team, part: int = 80) -> Noticed:
    detail = {"part": part, "spent": "81", "amount": "100", "unit": "tokens", "hard": 1, "month": "2026-11-01"}
    return Noticed(team.pk, Rule.BUDGET, "team", f"2026-11:{part}:tokens:100", Severity.WARNING, detail=detail)


def errors(team: Team) -> Noticed:
    detail = {"requests": 40, "failed": 20, "percent": 20, "minutes": 30, "model": "llama", "model_failed": 20}
    return Noticed(team.pk, Rule.ERRORS, "team", "", Severity.URGENT, detail=detail)


def test_an_occasion_is_raised_once_and_told_to_owners_and_admins(
    red: Team, alice: User, bob: User, now: datetime
) -> None:
    for minute in range(3):
        settle([budget(red)], rules=[Rule.BUDGET], now=now + minute * MINUTE)

    alert = Alert.objects.get()
    assert (alert.team, alert.raised_at, alert.resolved_at) == (red, now, None)
    assert list(Delivery.objects.values_list("user", "to", "kind", "state")) == [
        (alice.pk, "alice@example.org", "raised", "waiting")
    ]


def test_what_is_not_found_any_more_is_over_and_comes_back_without_a_word(red: Team, now: datetime) -> None:
    settle([budget(red)], rules=[Rule.BUDGET], now=now)
    settle([], rules=[Rule.BUDGET], now=now + MINUTE)
    assert Alert.objects.get().resolved_at == now + MINUTE

    settle([budget(red)], rules=[Rule.BUDGET], now=now + 2 * MINUTE)
    assert Alert.objects.get().resolved_at is None
    assert Delivery.objects.count() == 1


def test_a_look_at_some_rules_leaves_the_alerts_of_others_alone(red: Team, now: datetime) -> None:
    settle([budget(red)], rules=[Rule.BUDGET], now=now)
    settle([], rules=[Rule.ERRORS, Rule.SLOW], now=now + MINUTE)
    assert Alert.objects.get().resolved_at is None


def test_an_episode_is_over_after_a_calm_and_its_end_is_told(red: Team, now: datetime) -> None:
    settle([errors(red)], rules=[Rule.ERRORS], now=now)
    settle([], rules=[Rule.ERRORS], now=now + CALM - MINUTE)
    assert Alert.objects.get().resolved_at is None
    settle([], rules=[Rule.ERRORS], now=now + CALM)

    assert Alert.objects.get().resolved_at == now + CALM
    assert [row.kind for row in Delivery.objects.order_by("created_at")] == ["raised", "resolved"]


def test_an_episode_that_flickers_is_one_and_a_later_one_is_another(red: Team, now: datetime) -> None:
    later = now + timedelta(hours=1)
    for minute in range(0, 60, 5):  # found every second time
        settle([errors(red)] if minute % 10 == 0 else [], rules=[Rule.ERRORS], now=now + minute * MINUTE)
    assert Alert.objects.count() == 1
    settle([], rules=[Rule.ERRORS], now=later + CALM)
    settle([errors(red)], rules=[Rule.ERRORS], now=later + 2 * CALM)

    assert sorted(Alert.objects.values_list("occasion", flat=True)) == ["1", "2"]
    assert Delivery.objects.filter(kind="raised").count() == 2


def test_an_end_that_was_told_is_not_told_again_and_breaks_nothing(red: Team, now: datetime) -> None:
    """A second leader that looked before the end, and raised after it, takes the episode for open."""
    alert = raise_alert(errors(red), now=now)
    assert alert is not None
    for minute in (1, 2):
        assert resolve(alert, now=now + minute * MINUTE)
        Alert.objects.filter(pk=alert.pk).update(resolved_at=None)
    assert Delivery.objects.filter(kind="resolved").count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("notice", [budget, errors])
def test_two_leaders_at_once_raise_one_alert_with_one_mail(
    red: Team, now: datetime, notice: Callable[[Team], Noticed]
) -> None:
    together = threading.Barrier(2)
    raised: list[Alert | None] = []

    def look() -> None:
        together.wait()
        try:
            raised.append(raise_alert(notice(red), now=now))
        finally:
            connection.close()

    leaders = [threading.Thread(target=look) for _ in range(2)]
    for leader in leaders:
        leader.start()
    for leader in leaders:
        leader.join()
    assert sum(alert is not None for alert in raised) == 1
    assert (Alert.objects.count(), Delivery.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_of_two_who_add_a_webhook_at_once_the_second_is_told_that_it_is_there(red: Team) -> None:
    together, ended = threading.Barrier(2), list[str]()

    def add() -> None:
        together.wait()
        try:
            add_webhook(team=red, url="https://hooks.example.org/in", by=None)
            ended.append("added")
        except AddressRefused as error:
            ended.append(error.reason)
        finally:
            connection.close()

    people = [threading.Thread(target=add) for _ in range(2)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert sorted(ended) == ["added", "known"]


@pytest.mark.django_db(transaction=True)
def test_an_alert_whose_messages_cannot_be_written_is_not_raised_and_the_next_look_raises_it(
    red: Team, now: datetime
) -> None:
    """As if the process had died between the two."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE billing_delivery ADD CONSTRAINT none_today CHECK (false) NOT VALID")
        with pytest.raises(IntegrityError):
            raise_alert(budget(red), now=now)
        cursor.execute("ALTER TABLE billing_delivery DROP CONSTRAINT none_today")
    assert (Alert.objects.count(), Delivery.objects.count()) == (0, 0)
    settle([budget(red)], rules=[Rule.BUDGET], now=now + MINUTE)
    assert (Alert.objects.count(), Delivery.objects.count()) == (1, 1)


def test_each_webhook_of_the_team_gets_it_and_no_other_teams(red: Team, blue: Team, now: datetime) -> None:
    ours, _secret = add_webhook(team=red, url="https://hooks.example.org/a", by=None)
    add_webhook(team=blue, url="https://hooks.example.org/b", by=None)
    add_webhook(team=None, url="https://hooks.example.org/c", by=None)
    settle([budget(red)], rules=[Rule.BUDGET], now=now)
    assert list(Delivery.objects.exclude(webhook=None).values_list("webhook", flat=True)) == [ours.pk]


def test_old_alerts_go_with_their_deliveries_and_open_ones_stay(red: Team, now: datetime) -> None:
    settle([budget(red, 50), budget(red, 80)], rules=[Rule.BUDGET], now=now)
    settle([budget(red, 80)], rules=[Rule.BUDGET], now=now + MINUTE)
    assert forget_old(now=now + timedelta(days=700)) == 0
    assert forget_old(now=now + timedelta(days=800)) == 2  # the alert and its mail
    assert Alert.objects.get().occasion.startswith("2026-11:80")
