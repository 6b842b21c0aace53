"""What goes out: once each, signed, with patience, in the reader's language."""

import base64
import hashlib
import hmac
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.core import mail
from django.db import connection
from django.test import Client
from django.utils import timezone
from django.utils.translation import override

from accounts.models import AuditEntry, Role, Team, User
from accounts.people import deactivate_person
from accounts.teams import remove_member
from billing.alerts.letters import stop_url
from billing.alerts.links import path_of
from billing.alerts.noticed import Noticed
from billing.alerts.outbox import BATCH, CLAIM, PATIENCE, claim, deliver, done
from billing.alerts.raising import raise_alert, resolve
from billing.alerts.signing import PREFIX, new_secret, signature
from billing.alerts.webhooks import STOP_AFTER, add_webhook, renew_secret, start_again, try_out
from billing.alerts.wishes import choose, decline
from billing.alerts.words import said
from billing.models import Alert, Delivery, Rule, Severity, Webhook
from tests.billing.alerts.conftest import words
from tests.billing.alerts.hooks import Receiver
from tests.billing.alerts.smtpd import MailServer
from tests.billing.alerts.test_raising import budget, errors
from tests.factories import join, make_key, make_person

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def named_host(settings: Any) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, webhook_hosts=("hooks.example.org",))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def hook(red: Team, receiver: Receiver) -> tuple[Webhook, str]:
    return add_webhook(team=red, url=f"http://hooks.example.org:{receiver.port}/in", by=None)


def to_us(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def send() -> None:
    deliver(lookup=to_us)


def raised(noticed: Noticed) -> Alert:
    alert = raise_alert(noticed, now=timezone.now())
    assert alert is not None
    return alert


def due_now() -> None:
    Delivery.objects.update(due_at=timezone.now())


# Webhooks


def test_a_webhook_gets_the_alert_signed_as_standard_webhooks_are(
    red: Team, hook: tuple[Webhook, str], receiver: Receiver
) -> None:
    alert = raised(budget(red))
    send()
    (call,) = receiver.calls
    delivery = Delivery.objects.get(webhook=hook[0])
    key = base64.b64decode(hook[1].removeprefix(PREFIX))
    signed = f"msg_{delivery.pk.hex}.{call.headers['webhook-timestamp']}.".encode() + call.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert call.headers["webhook-id"] == f"msg_{delivery.pk.hex}"
    assert call.headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(call.headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60
    assert call.headers["content-type"] == "application/json"
    assert (call.json["type"], call.json["data"]["id"]) == ("alert.raised", str(alert.pk))
    assert call.json["data"]["team"] == {"id": red.pk, "slug": "red", "name": "Red"}
    assert call.json["data"]["title"] == "80% of the budget is used: the whole team"
    assert call.json["data"]["url"] == (
        f"{settings.BASE_URL}/t/red/usage/?period=custom&first=2026-11-01&last=2026-11-30&group=model&metric=tokens"
    )
    assert (delivery.state, delivery.attempts) == ("sent", 1)


def test_the_signature_is_the_one_of_the_schemes_own_example() -> None:
    """https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""
    made = signature(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}', "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    )
    assert made == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_is_stored_encrypted_and_a_new_one_takes_its_place(
    red: Team, hook: tuple[Webhook, str], receiver: Receiver
) -> None:
    row = Webhook.objects.get()
    assert hook[1] not in row.secret
    fresh = renew_secret(hook=row, by=None)
    try_out(hook=row, by=None)
    send()
    (call,) = receiver.calls
    identity, moment = call.headers["webhook-id"], call.headers["webhook-timestamp"]
    assert call.headers["webhook-signature"] == f"v1,{signature(identity, moment, call.body, fresh)}"
    assert new_secret() != new_secret()


def test_what_is_not_taken_is_tried_again_later_with_the_same_id(
    red: Team, hook: tuple[Webhook, str], receiver: Receiver
) -> None:
    receiver.answers = [500, 429, 204]
    raised(budget(red))
    before = timezone.now()
    send()
    waiting = Delivery.objects.get(webhook=hook[0])
    assert (waiting.state, waiting.answer) == ("waiting", "500")
    assert before + PATIENCE[0] <= waiting.due_at <= timezone.now() + PATIENCE[0]
    send()
    assert len(receiver.calls) == 1  # not due
    for _ in range(2):
        due_now()
        send()
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1
    assert len(receiver.calls) == 3
    assert Delivery.objects.get(webhook=hook[0]).state == "sent"
    assert Webhook.objects.get().failing_since is None


def test_after_the_last_try_it_is_given_up(red: Team, hook: tuple[Webhook, str], receiver: Receiver) -> None:
    receiver.answers = [500]
    raised(budget(red))
    for _ in range(len(PATIENCE) + 3):
        due_now()
        send()
    assert (Delivery.objects.get(webhook=hook[0]).state, len(receiver.calls)) == ("failed", len(PATIENCE) + 1)


def test_messages_after_one_that_failed_wait_for_it_and_come_in_their_order(
    red: Team, hook: tuple[Webhook, str], receiver: Receiver
) -> None:
    receiver.answers = [500, 204]
    parts = [raised(budget(red, part)).detail["part"] for part in (50, 80, 100)]
    send()
    assert len(receiver.calls) == 1
    due_now()
    send()
    assert [call.json["data"]["detail"]["part"] for call in receiver.calls[1:]] == parts
    assert set(Delivery.objects.filter(webhook=hook[0]).values_list("attempts", flat=True)) == {1, 2}


def test_a_webhook_that_takes_nothing_for_days_is_stopped_and_people_hear_of_it(
    red: Team, alice: User, hook: tuple[Webhook, str], receiver: Receiver
) -> None:
    receiver.answers, receiver.text = [503], b"on fire"
    raised(budget(red))
    send()
    Webhook.objects.update(failing_since=timezone.now() - STOP_AFTER)
    raised(budget(red, 100))
    due_now()
    send()
    stopped = Webhook.objects.get()
    assert stopped.stopped_at is not None
    assert not Delivery.objects.filter(webhook=stopped, state="waiting").exists()
    alert = Alert.objects.get(rule=Rule.WEBHOOK)
    assert alert.detail == {"answer": "503 on fire"}
    assert list(alert.deliveries.values_list("user", "webhook")) == [(alice.pk, None)]
    assert AuditEntry.objects.filter(action="webhook.stopped", actor=None, team=red).count() == 1

    raised(errors(red))
    assert not Delivery.objects.filter(webhook=stopped, alert__rule=Rule.ERRORS).exists()
    start_again(hook=stopped, by=alice)
    assert Alert.objects.get(rule=Rule.WEBHOOK).resolved_at is not None
    assert Webhook.objects.get().stopped_at is None


def test_410_gone_stops_it_at_once(red: Team, hook: tuple[Webhook, str], receiver: Receiver) -> None:
    receiver.answers = [410]
    raised(budget(red))
    send()
    assert Webhook.objects.get().stopped_at is not None


def test_a_test_is_tried_once_and_a_failed_one_counts_no_day(
    red: Team, hook: tuple[Webhook, str], receiver: Receiver
) -> None:
    receiver.answers = [500]
    for _ in range(2):  # the second while the first waits
        try_out(hook=hook[0], by=None)
    send()
    assert [call.json["type"] for call in receiver.calls] == ["test"]
    assert Delivery.objects.get().state == "failed"
    assert Webhook.objects.get().failing_since is None


def test_an_address_that_may_be_called_no_more_is_not(
    red: Team, hook: tuple[Webhook, str], receiver: Receiver, settings: Any
) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, webhook_hosts=())
    raised(budget(red))
    send()
    assert (receiver.calls, Delivery.objects.get(webhook=hook[0]).answer) == ([], "scheme")


def test_a_message_that_cannot_be_written_holds_up_no_other(
    red: Team, blue: Team, hook: tuple[Webhook, str], receiver: Receiver
) -> None:
    raised(Noticed(red.pk, Rule.BUDGET, "team", "without its numbers", Severity.NOTE))
    add_webhook(team=blue, url=f"http://hooks.example.org:{receiver.port}/blue", by=None)
    raised(budget(blue))
    send()
    assert [message.to for message in mail.outbox] == [["charlie@example.org"]]
    assert [call.path for call in receiver.calls] == ["/blue"]
    assert set(Delivery.objects.filter(team=red).values_list("state", "answer")) == {("waiting", "not written")}


def test_a_secret_of_another_installation_is_said_and_stops_nothing_else(
    red: Team, blue: Team, hook: tuple[Webhook, str], receiver: Receiver
) -> None:
    Webhook.objects.update(secret="not ours")
    add_webhook(team=blue, url=f"http://hooks.example.org:{receiver.port}/blue", by=None)
    raised(budget(red))
    raised(budget(blue))
    send()
    assert [call.path for call in receiver.calls] == ["/blue"]
    assert Delivery.objects.get(webhook=hook[0]).answer == "secret unreadable"


# Claims


@pytest.mark.django_db(transaction=True)
def test_two_leaders_send_each_message_once(red: Team, hook: tuple[Webhook, str], receiver: Receiver) -> None:
    receiver.wait = 0.05
    for part in (50, 80, 100):
        raised(budget(red, part))
    together = threading.Barrier(2)

    def lead() -> None:
        together.wait()
        try:
            send()
        finally:
            connection.close()

    leaders = [threading.Thread(target=lead) for _ in range(2)]
    for leader in leaders:
        leader.start()
    for leader in leaders:
        leader.join()
    assert len(receiver.calls) == 3
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 3
    assert set(Delivery.objects.values_list("state", "attempts")) == {("sent", 1)}


def test_what_a_dead_process_had_claimed_is_sent_once_its_claim_is_over(
    red: Team, hook: tuple[Webhook, str], receiver: Receiver
) -> None:
    """It may have sent it before it died: the receiver knows by the id."""
    raised(budget(red))
    now = timezone.now()
    dead = claim(now=now)
    assert {one.attempts for one in dead} == {1}
    assert claim(now=now + CLAIM - timedelta(seconds=1)) == []
    again = claim(now=now + CLAIM)
    assert {one.pk for one in again} == {one.pk for one in dead}

    done(dead[0], sent=False, answer="too late to say so")
    assert Delivery.objects.get(pk=dead[0].pk).answer == ""


# Mail


def test_a_mail_has_text_and_html_and_its_way_out(red: Team, alice: User) -> None:
    raised(budget(red))
    send()
    (message,) = mail.outbox
    assert message.subject == "Red: 80% of the budget is used: the whole team"
    assert message.to == ["alice@example.org"]
    html = str(message.alternatives[0].content)
    for text in (str(message.body), words(html)):
        assert "81 tokens of 100 tokens in November 2026. Once it is used up, further calls are refused." in text
    link = f"{settings.BASE_URL}/t/red/usage/?period=custom&first=2026-11-01&last=2026-11-30"
    assert link in message.body
    assert link.replace("&", "&amp;") in html
    delivery = Delivery.objects.get()
    assert message.extra_headers["Message-ID"] == f"<{delivery.pk.hex}@localhost>"
    assert message.extra_headers["Auto-Submitted"] == "auto-generated"
    assert message.extra_headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message.extra_headers["List-Unsubscribe"].startswith(f"<{settings.BASE_URL}/mail/stop/")
    assert delivery.state == "sent"


def test_a_mail_asks_for_nothing_from_elsewhere(red: Team) -> None:
    raised(budget(red))
    send()
    html = str(mail.outbox[0].alternatives[0].content)
    for needle in ("<img", "<script", "src=", "@import", "url(", "<link"):
        assert needle not in html


def test_everybody_reads_it_in_an_own_language(red: Team, alice: User) -> None:
    for name, language in (("Sofía", "es"), ("Renée", "fr")):
        person = make_person(name, email=f"{language}@example.org")
        person.language = language
        person.save(update_fields=["language"])
        join(red, person, Role.ADMIN)
    raised(budget(red))
    send()
    subjects = {message.to[0]: message.subject.replace("\xa0", " ") for message in mail.outbox}
    assert subjects == {
        "alice@example.org": "Red: 80% of the budget is used: the whole team",
        "es@example.org": "Red: Se ha usado el 80 % del presupuesto: todo el equipo",
        "fr@example.org": "Red: 80 % du budget sont utilisés : toute l’équipe",
    }
    assert {'lang="es"' in str(message.alternatives[0].content) for message in mail.outbox} == {True, False}


def test_what_is_due_for_somebody_from_one_team_goes_in_one_mail(red: Team, blue: Team, alice: User) -> None:
    join(blue, alice, Role.ADMIN)
    for noticed in (budget(red, 50), errors(red), budget(blue)):
        raised(noticed)
    send()
    mine = [message for message in mail.outbox if message.to == ["alice@example.org"]]
    assert sorted(message.subject for message in mine) == [
        "Blue: 80% of the budget is used: the whole team", "Red: 2 alerts",
    ]  # fmt: skip
    both = next(message for message in mine if message.subject == "Red: 2 alerts")
    assert str(both.body).index("50% of the requests failed") < str(both.body).index("50% of the budget")
    assert set(Delivery.objects.values_list("state", flat=True)) == {"sent"}


def test_the_end_of_an_episode_is_told_to_whom_its_beginning_was(red: Team, alice: User) -> None:
    alert = raised(errors(red))
    send()
    join(red, make_person("Ada"), Role.ADMIN)
    resolve(alert, now=timezone.now())
    send()
    assert [(message.to, message.subject) for message in mail.outbox] == [
        (["alice@example.org"], "Red: 50% of the requests failed"),
        (["alice@example.org"], "Red: over: 50% of the requests failed"),
    ]


def test_who_left_was_deactivated_or_declined_meanwhile_gets_no_mail(red: Team, alice: User) -> None:
    people = [make_person(name) for name in ("Ada", "Ben", "Cleo")]
    for person in people:
        join(red, person, Role.ADMIN)
    raised(budget(red))
    remove_member(team=red, user=people[0], by=None)
    deactivate_person(user=people[1], by=None)
    decline(team=red, user=people[2], alerts=True, by=people[2])
    send()
    assert [message.to for message in mail.outbox] == [["alice@example.org"]]
    assert sorted(Delivery.objects.values_list("state", flat=True)) == ["dropped", "dropped", "dropped", "sent"]


def test_the_teams_choice_decides_who_is_told_and_the_persons_own_stands_above_it(
    red: Team, alice: User, bob: User
) -> None:
    choose(team=red, alerts={bob.pk}, reports=set(), by=alice)
    raised(budget(red, 50))
    decline(team=red, user=bob, alerts=True, by=bob)
    raised(budget(red, 80))
    decline(team=red, user=bob, alerts=False, by=bob)
    raised(budget(red, 100))
    assert list(Delivery.objects.order_by("alert__detail__part").values_list("user", "alert__detail__part")) == [
        (bob.pk, 50), (bob.pk, 100),
    ]  # fmt: skip


def test_the_owner_of_a_key_hears_of_its_end_whatever_the_role(red: Team, alice: User, bob: User) -> None:
    key = make_key(red, owner=bob).key
    detail = {"masked": key.masked, "ends": "2026-12-01T00:00:00+00:00", "days": 3}
    raised(Noticed(red.pk, Rule.EXPIRING_KEY, f"key:{key.pk}", "x", Severity.WARNING, "nightly", detail))
    assert set(Delivery.objects.values_list("user", flat=True)) == {alice.pk, bob.pk}


def test_the_platforms_alerts_go_to_operators_alone(red: Team, bob: User, alice: User) -> None:
    raised(Noticed(None, Rule.SPOOL, "full", "", Severity.URGENT))
    send()
    assert [(message.to, message.subject) for message in mail.outbox] == [
        (["alice@example.org"], "the platform: The spool cannot be written")
    ]


def test_mails_go_over_one_connection_and_one_that_is_refused_holds_up_no_other(
    red: Team, alice: User, settings: Any
) -> None:
    for name in ("Ada", "Ben"):
        join(red, make_person(name), Role.ADMIN)
    raised(budget(red))
    with MailServer(refused={"ada@example.org"}) as server:
        settings.MAILERS = server.mailers
        send()
    assert sorted(to for to, _message in server.received) == ["alice@example.org", "ben@example.org"]
    assert server.connections == 1
    waiting = Delivery.objects.get(state="waiting")
    assert (waiting.to, waiting.answer) == ("ada@example.org", "SMTPRecipientsRefused")
    delivery = Delivery.objects.get(to="ben@example.org")
    message = dict(server.received)["ben@example.org"]
    assert message["Message-ID"] == f"<{delivery.pk.hex}@localhost>"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    link = stop_url(User.objects.get(email="ben@example.org"), red, "alerts").rpartition(":")[0]  # but its signature
    assert any(line.startswith(f"List-Unsubscribe: <{link[:60]}".encode()) for line in server.lines)
    assert b"=?utf-8?" not in b"".join(server.lines)


def test_a_mail_server_that_leaves_in_the_middle_gets_the_rest_later_and_nothing_twice(
    red: Team, alice: User, settings: Any
) -> None:
    for name in ("Ada", "Ben"):
        join(red, make_person(name), Role.ADMIN)
    raised(budget(red))
    with MailServer(leaves_after=1) as server:
        settings.MAILERS = server.mailers
        send()
        assert len(server.received) == 1
        server.leaves_after = None
        due_now()
        send()
    assert sorted(to for to, _message in server.received) == [
        "ada@example.org", "alice@example.org", "ben@example.org",
    ]  # fmt: skip
    assert set(Delivery.objects.values_list("state", flat=True)) == {"sent"}


def test_while_the_mail_server_is_away_mails_wait(red: Team, settings: Any) -> None:
    with MailServer() as server:
        settings.MAILERS = server.mailers
    raised(budget(red))
    send()
    waiting = Delivery.objects.get(state="waiting")
    assert (waiting.attempts, waiting.answer) == (1, "ConnectionRefusedError")


@pytest.mark.parametrize("status", [200, 410])
def test_an_answer_that_the_database_cannot_hold_ends_its_own_delivery_and_no_others(
    red: Team, hook: tuple[Webhook, str], receiver: Receiver, status: int
) -> None:
    receiver.answers, receiver.text = [status], b"a\0b"
    raised(budget(red))
    send()
    send()
    assert len(receiver.calls) == 1
    assert Delivery.objects.get(webhook=hook[0]).answer == f"{status} a b"
    assert (Webhook.objects.get().stopped_at is not None) == (status == 410)


def test_a_mail_that_cannot_be_sent_holds_up_no_other(red: Team, settings: Any) -> None:
    """Its address is none, as one may be that came in by a command."""
    join(red, make_person("Ada", email="ada@ada@example.org"), Role.ADMIN)
    join(red, make_person("Ben"), Role.ADMIN)
    raised(budget(red))
    with MailServer() as server:
        settings.MAILERS = server.mailers
        send()
    assert sorted(to for to, _message in server.received) == ["alice@example.org", "ben@example.org"]
    waiting = Delivery.objects.get(state="waiting")
    assert (waiting.to, waiting.answer) == ("ada@ada@example.org", "ValueError")


def test_a_message_that_cannot_be_made_holds_up_no_other_and_stops_no_webhook(
    red: Team, hook: tuple[Webhook, str], receiver: Receiver
) -> None:
    broken, whole = raised(budget(red)), raised(budget(red, 100))
    Alert.objects.filter(pk=broken.pk).update(detail={})
    send()
    assert [call.json["data"]["id"] for call in receiver.calls] == [str(whole.pk)]
    assert set(Delivery.objects.filter(alert=broken).values_list("state", "answer")) == {("waiting", "not written")}
    assert set(Delivery.objects.filter(alert=whole, webhook=hook[0]).values_list("state", flat=True)) == {"sent"}
    assert Webhook.objects.get().failing_since is None


def test_very_many_alerts_at_once_are_one_mail_to_each_person(red: Team, alice: User) -> None:
    join(red, make_person("Ben"), Role.ADMIN)
    many = 2 * BATCH + 1
    for number in range(many):
        raised(replace(budget(red), occasion=str(number)))
    send()
    assert sorted(message.to[0] for message in mail.outbox) == ["alice@example.org", "ben@example.org"]
    assert {message.subject for message in mail.outbox} == {f"Red: {many} alerts"}


def test_a_name_with_a_line_break_makes_no_header(red: Team) -> None:
    Team.objects.filter(pk=red.pk).update(name="Red\r\nBcc: everybody@example.org")
    raised(budget(red))
    send()
    assert mail.outbox[0].subject.startswith("Red Bcc: everybody@example.org: 80%")


def test_every_link_leads_to_a_page_that_a_viewer_may_see_and_that_asks_what_the_alert_is_about(
    red: Team, client: Client, now: datetime
) -> None:
    vera = make_person("Vera")
    join(red, vera, Role.VIEWER)
    client.force_login(vera)
    key = make_key(red).key
    spike = Noticed(red.pk, Rule.SPIKE, f"key:{key.pk}", "x", Severity.NOTE, "", {"day": "2026-11-25"})
    unused = Noticed(red.pk, Rule.UNUSED_KEY, f"key:{key.pk}", "x", Severity.NOTE)
    for noticed, days, keys in (
        (budget(red), ("2026-11-01", "2026-11-30"), ()),
        (errors(red), ("2026-11-26", "2026-11-26"), ()),
        (spike, ("2026-11-25", "2026-11-25"), (key.pk,)),
        (unused, ("2026-08-28", "2026-11-26"), (key.pk,)),
    ):
        alert = raise_alert(noticed, now=now)
        assert alert is not None
        answer = client.get(path_of(alert))
        assert answer.status_code == 200
        question = answer.context["form"].question()
        assert (str(question.period.first), str(question.period.last)) == days
        assert question.filters.keys == keys


def test_every_rule_has_words_and_a_link_in_every_language(red: Team, now: datetime) -> None:
    details: dict[Rule, dict[str, Any]] = {
        Rule.BUDGET: dict(budget(red).detail),
        Rule.CREDIT: {"left": "1.5", "used_up": 0, "binding": 1},
        Rule.TEAM_CREDIT: {"left": "-1.5", "used_up": 1, "binding": 1, "slug": "red"},
        Rule.SPIKE: {"used": 400_000, "usual": 100_000, "hours": 3, "day": "2026-11-26"},
        Rule.ERRORS: dict(errors(red).detail),
        Rule.SLOW: {"p95": 3120, "limit": 2000, "requests": 30, "minutes": 30},
        Rule.UNUSED_KEY: {"masked": "sk-tert-abcd…wxyz", "since": "2026-08-01T00:00:00+00:00", "never": 1},
        Rule.EXPIRING_KEY: {"masked": "sk-tert-abcd…wxyz", "ends": "2026-12-01T00:00:00+00:00", "days": 3},
        Rule.WEBHOOK: {"answer": "503"},
        Rule.ENGINE: {"problem": "It cannot be reached."},
        Rule.DEAD_LETTERS: {"number": 2},
        Rule.SPOOL: {},
    }
    assert details.keys() == set(Rule)
    platform = {Rule.TEAM_CREDIT, Rule.ENGINE, Rule.DEAD_LETTERS, Rule.SPOOL}
    for rule, detail in details.items():
        subject = {Rule.ENGINE: "engine:1", Rule.SPOOL: "late", Rule.SPIKE: "key:7"}.get(rule, "team")
        team = None if rule in platform else red
        alert = Alert(
            id=uuid4(), team=team, rule=rule, subject=subject, severity="note", detail=detail, raised_at=now, name="x"
        )
        titles = set()
        for language in ("en", "es", "fr"):
            with override(language):
                titles.add(said(alert).title)
        assert len(titles) == 3, rule
        assert path_of(alert).startswith("/")
