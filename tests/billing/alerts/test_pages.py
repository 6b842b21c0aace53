"""The alerts pages, the banner, and the link in a mail that ends it."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import AuditEntry, Role, Team, User
from billing.alerts import show
from billing.alerts.letters import stop_url
from billing.alerts.noticed import Noticed
from billing.alerts.raising import raise_alert, resolve
from billing.alerts.show import heads
from billing.alerts.webhooks import MOST, add_webhook
from billing.alerts.wishes import hearers, watch, watching_of
from billing.models import Alert, Delivery, Dismissal, Rule, Severity, Watching, Webhook
from tests.billing.alerts.conftest import words
from tests.billing.alerts.test_raising import budget, errors
from tests.factories import join, make_key, make_person

pytestmark = pytest.mark.django_db

PAGE = "/t/red/alerts/"
WATCHED = {
    "budgets": "on", "keys": "on", "spikes": "on", "spike_times": "4", "spike_floor": "100000", "error_percent": "20",
    "first_token_ms": "", "window_minutes": "30", "least_requests": "20", "monthly_report": "on",
}  # fmt: skip


@pytest.fixture
def owner(client: Client, alice: User, red: Team) -> Client:
    client.force_login(alice)
    return client


@pytest.fixture
def vera(red: Team) -> Client:
    client = Client()
    person = make_person("Vera")
    join(red, person, Role.VIEWER)
    client.force_login(person)
    return client


def seen(client: Client, address: str = PAGE) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return words(response.content.decode().partition("<main")[2])


def raised(noticed: Noticed) -> Alert:
    alert = raise_alert(noticed, now=timezone.now())
    assert alert is not None
    return alert


# The page


def test_the_page_shows_what_holds_now_the_most_urgent_first_and_what_is_over(owner: Client, red: Team) -> None:
    resolve(raised(budget(red, 50)), now=timezone.now())
    raised(budget(red, 80))
    raised(errors(red))
    text = seen(owner)
    assert "2 alerts now" in text
    assert text.index("50% of the requests failed") < text.index("80% of the budget is used")
    now, past = text.split("Past alerts", 1)
    assert "50% of the budget" not in now
    assert "50% of the budget" in past
    assert "Urgent · Errors · since" in text


def test_where_nothing_is_wrong_the_page_says_so(owner: Client) -> None:
    text = seen(owner)
    assert "Nothing needs attention" in text
    assert "Alice" in text


def test_another_teams_alerts_people_and_webhooks_are_not_on_it(owner: Client, red: Team, blue: Team) -> None:
    raised(errors(blue))
    raised(Noticed(None, Rule.SPOOL, "full", "", Severity.URGENT))
    add_webhook(team=blue, url="https://theirs.example.org/", by=None)
    text = seen(owner)
    assert "Nothing needs attention" in text
    assert "theirs.example.org" not in text
    assert "Charlie" not in text


def test_admins_change_what_is_watched_and_it_is_audited(owner: Client, red: Team, alice: User) -> None:
    changed = WATCHED | {"error_percent": "5", "first_token_ms": "2500", "spikes": ""}
    assert owner.post(f"{PAGE}watch/", {name: value for name, value in changed.items() if value}).status_code == 302
    found = watching_of(red)
    assert (found.error_percent, found.first_token_ms, found.spikes, found.budgets) == (5, 2500, False, True)
    entry = AuditEntry.objects.get(action="alerts.watching_changed")
    assert (entry.actor, entry.team) == (alice, red)
    assert entry.detail == {
        "spikes": False, "spikes_before": True, "error_percent": 5, "error_percent_before": 20,
        "first_token_ms": 2500, "first_token_ms_before": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "fields", [{"error_percent": "0"}, {"error_percent": "101"}, {"window_minutes": "7"}, {"least_requests": ""}]
)
def test_what_is_no_threshold_is_said_and_nothing_changes(owner: Client, fields: dict[str, str]) -> None:
    assert owner.post(f"{PAGE}watch/", WATCHED | fields).status_code == 422
    assert not Watching.objects.exists()


def test_the_form_as_it_is_sent_back_changes_nothing(owner: Client, red: Team) -> None:
    assert owner.post(f"{PAGE}watch/", {name: value for name, value in WATCHED.items() if value}).status_code == 302
    assert not AuditEntry.objects.filter(action="alerts.watching_changed").exists()


def test_viewers_read_all_of_it_and_see_no_form_for_others(vera: Client, red: Team) -> None:
    add_webhook(team=red, url="https://hooks.example.org/services/T0000/B0000/secret-of-the-room", by=None)
    html = vera.get(PAGE).content.decode()
    assert "https://hooks.example.org/…room" in html
    assert "secret-of-the" not in html
    assert "From 4 times the usual" in words(html)
    assert "Alice" in html
    assert "alice@example.org" not in html
    assert set(re.findall(r'action="(/t/red/[^"]*)"', html)) == set()


def test_admins_choose_who_is_told(owner: Client, red: Team, alice: User, bob: User) -> None:
    owner.post(f"{PAGE}people/", {"alerts": [bob.pk], "reports": [alice.pk, bob.pk]})
    assert [(one.user, one.alerts, one.reports) for one in hearers(red)] == [(alice, False, True), (bob, True, True)]
    assert AuditEntry.objects.filter(action="alerts.hearer_changed").count() == 2


def test_a_person_of_another_team_cannot_be_chosen(owner: Client, red: Team, charlie: User, alice: User) -> None:
    owner.post(f"{PAGE}people/", {"alerts": [charlie.pk, alice.pk]})
    assert [one.user for one in hearers(red) if one.alerts] == [alice]


def test_people_decline_for_themselves_and_take_it_back(owner: Client, red: Team, alice: User) -> None:
    owner.post(f"{PAGE}mine/", {"reports": "1"})
    (me,) = hearers(red)
    assert (me.hears_alerts, me.hears_reports) == (False, True)
    assert "Send me alerts again" in seen(owner)
    owner.post(f"{PAGE}mine/", {"reports": "1", "alerts": "1"})
    assert hearers(red)[0].hears_alerts


# Webhooks


def test_a_webhooks_secret_is_shown_once(owner: Client, red: Team) -> None:
    answer = owner.post(f"{PAGE}webhooks/", {"url": "https://hooks.example.org/a"})
    secret = answer.context["secret"]
    assert answer.status_code == 200
    assert secret.startswith("whsec_")
    assert secret in answer.content.decode()
    assert "no-store" in answer.headers["cache-control"]
    assert secret not in owner.get(PAGE).content.decode()
    again = owner.post(f"{PAGE}webhooks/", {"url": "https://hooks.example.org/a"})  # the answer loaded again
    assert again.status_code == 422
    assert "This address is there already." in words(again.content.decode())
    assert Webhook.objects.count() == 1


@pytest.mark.spec("S08")
@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://hooks.example.org/", "The address must begin with https://."),
        ("https://10.0.0.1/", "The address leads into a private network."),
        ("https://hooks.example.org:5432/", "Only ports 443 and 8443 may be called."),
        ("hello", "This is no address."),
    ],
)
def test_an_address_that_may_not_be_called_is_refused_with_its_reason(owner: Client, url: str, problem: str) -> None:
    answer = owner.post(f"{PAGE}webhooks/", {"url": url})
    assert answer.status_code == 422
    assert problem in words(answer.content.decode())
    assert not Webhook.objects.exists()


def test_a_team_has_so_many_webhooks_and_no_more(owner: Client, red: Team) -> None:
    for number in range(MOST):
        add_webhook(team=red, url=f"https://hooks.example.org/{number}", by=None)
    answer = owner.post(f"{PAGE}webhooks/", {"url": "https://hooks.example.org/more"})
    assert f"There are {MOST} already" in words(answer.content.decode())


def test_a_webhook_is_tried_renewed_started_and_removed_from_the_page(owner: Client, red: Team) -> None:
    hook, secret = add_webhook(team=red, url="https://hooks.example.org/a", by=None)
    place = f"{PAGE}webhooks/{hook.pk}/"
    owner.post(place, {"do": "try"})
    assert (Delivery.objects.get().kind, Delivery.objects.get().state) == ("test", "waiting")
    assert 'hx-trigger="every 2s"' in owner.get(f"{PAGE}sent/").content.decode()
    assert owner.post(place, {"do": "renew"}).context["secret"] != secret
    Webhook.objects.update(stopped_at=timezone.now())
    assert "stopped on" in seen(owner)
    owner.post(place, {"do": "start"})
    assert Webhook.objects.get().stopped_at is None
    owner.post(place, {"do": "remove"})
    assert not Webhook.objects.exists()
    actions = AuditEntry.objects.filter(subject_type="webhook").order_by("pk").values_list("action", flat=True)
    assert list(actions) == [
        "webhook.added", "webhook.tried", "webhook.secret_renewed", "webhook.started", "webhook.removed",
    ]  # fmt: skip


def test_another_teams_webhook_cannot_be_touched(owner: Client, blue: Team) -> None:
    theirs, _secret = add_webhook(team=blue, url="https://hooks.example.org/b", by=None)
    for do in ("try", "renew", "start", "remove"):
        assert owner.post(f"{PAGE}webhooks/{theirs.pk}/", {"do": do}).status_code == 404
    assert owner.post(f"/operator/alerts/webhooks/{theirs.pk}/", {"do": "remove"}).status_code == 404
    assert Webhook.objects.get() == theirs


def test_what_went_out_is_listed_with_how_it_ended(owner: Client, red: Team) -> None:
    hook, _secret = add_webhook(team=red, url="https://hooks.example.org/a?key=in-the-address", by=None)
    raised(budget(red))
    Delivery.objects.filter(webhook=hook).update(state="failed", answer="no answer in time")
    Delivery.objects.filter(webhook=None).update(state="sent")
    text = words(owner.get(f"{PAGE}sent/").content.decode())
    assert "Alice 80% of the budget is used: the whole team" in text
    assert "given up no answer in time" in text
    assert "in-the-address" not in text


# Operators


def test_the_operators_page_has_the_platforms_alerts_and_webhooks(owner: Client, settings: Any) -> None:
    raised(Noticed(None, Rule.SPOOL, "full", "", Severity.URGENT))
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, webhook_hosts=("pager.internal",))
    assert owner.post("/operator/alerts/webhooks/", {"url": "http://pager.internal:8080/"}).status_code == 200
    text = seen(owner, "/operator/alerts/")
    assert "The spool cannot be written" in text
    assert "http://pager.internal:8080/" in text
    assert "What is watched" not in text
    owner.post("/operator/alerts/mine/", {})
    assert not hearers(None)[0].hears_alerts


# The banner


def test_a_banner_stands_above_the_teams_pages_until_it_is_put_away_by_each_person(
    owner: Client, vera: Client, red: Team
) -> None:
    alert = raised(errors(red))
    for client in (owner, vera):
        assert "Urgent: 50% of the requests failed" in seen(client, "/t/red/budget/")
    html = owner.get("/t/red/budget/").content.decode()
    assert 'class="banners" role="status"' in html
    answer = owner.post(f"{PAGE}{alert.pk}/away/", {"next": "/t/red/budget/?x=1"})
    assert answer.headers["location"] == "/t/red/budget/?x=1"
    assert "requests failed" not in seen(owner, "/t/red/budget/")
    assert "requests failed" in seen(vera, "/t/red/budget/")
    assert "requests failed" in seen(owner)  # on its own page it stands


def test_putting_it_away_twice_is_once_and_leads_nowhere_else(owner: Client, red: Team) -> None:
    alert = raised(errors(red))
    for _ in range(2):
        answer = owner.post(f"{PAGE}{alert.pk}/away/", {"next": "https://evil.example.org/"})
        assert answer.headers["location"] == PAGE
    assert owner.post(f"{PAGE}{alert.pk}/away/", headers={"hx-request": "true"}).content == b""
    assert Dismissal.objects.count() == 1


def test_what_is_over_has_no_banner(owner: Client, red: Team) -> None:
    resolve(raised(errors(red)), now=timezone.now())
    assert "requests failed" not in seen(owner, "/t/red/budget/")


def test_another_teams_banner_and_the_platforms_are_not_on_a_teams_page(owner: Client, red: Team, blue: Team) -> None:
    raised(errors(blue))
    raised(Noticed(None, Rule.SPOOL, "full", "", Severity.URGENT))
    text = seen(owner, "/t/red/budget/")
    assert "requests failed" not in text
    assert "spool" not in text
    assert "The spool cannot be written" in seen(owner, "/operator/tiers/")


def test_members_see_the_teams_alerts_and_their_own(red: Team, alice: User, bob: User) -> None:
    own, other = make_key(red, owner=bob).key, make_key(red).key
    subjects = ["team", f"member:{bob.pk}", f"member:{alice.pk}", f"key:{own.pk}", f"key:{other.pk}"]
    for subject in subjects:
        detail = dict(budget(red).detail)
        raised(Noticed(red.pk, Rule.BUDGET, subject, subject, Severity.WARNING, "x", detail))
    his = heads(red, bob, "member")
    assert (len(his.alerts), his.more) == (3, 0)
    assert (len(heads(red, alice, "owner").alerts), heads(red, alice, "owner").more) == (3, 2)


def test_of_very_many_alerts_the_most_urgent_are_read_and_the_others_counted(
    owner: Client, red: Team, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show, "NOW", 4)
    for number in range(5):
        raised(replace(budget(red), occasion=str(number), severity=Severity.NOTE))
    raised(replace(budget(red, 100), severity=Severity.URGENT))
    with CaptureQueriesContext(connection) as queries:
        above = heads(red, alice, "owner")
    assert (len(above.alerts), above.more, above.alerts[0].severity) == (3, 3, "urgent")
    assert sum("LIMIT 3" in query["sql"] for query in queries) == 1
    text = seen(owner)
    assert "6 alerts now" in text
    assert "2 more alerts" in text


@pytest.mark.parametrize("number", [1, 3])
def test_pages_ask_no_more_for_three_alerts_than_for_one(
    owner: Client, red: Team, number: int, django_assert_num_queries: Any
) -> None:
    for part in (50, 80, 100)[:number]:
        raised(budget(red, part))
        resolve(raised(Noticed(red.pk, Rule.SPOOL, "late", str(part), Severity.NOTE)), now=timezone.now())
    owner.get(PAGE)
    with django_assert_num_queries(12):
        owner.get(PAGE)
    with django_assert_num_queries(11):
        owner.get("/t/red/budget/")


# The link in a mail


def path(url: str) -> str:
    return url.partition("//")[2].partition("/")[2].join(["/", ""])


@pytest.mark.parametrize(("what", "left"), [("alerts", (False, True)), ("reports", (True, False))])
def test_the_link_asks_first_and_a_press_ends_those_mails_alone(
    client: Client, red: Team, alice: User, what: str, left: tuple[bool, bool]
) -> None:
    """Without a sign-in and without a token of a form, as mail programs press it (RFC 8058)."""
    mailer = Client(enforce_csrf_checks=True)
    place = path(stop_url(alice, red, what))
    assert "You then get no more" in words(mailer.get(place).content.decode())
    assert hearers(red)[0].hears_alerts
    answer = mailer.post(place, {"List-Unsubscribe": "One-Click"})
    assert "You get no more of these" in words(answer.content.decode())
    (me,) = hearers(red)
    assert (me.hears_alerts, me.hears_reports) == left
    assert AuditEntry.objects.get(action="alerts.declined").actor == alice


def test_a_link_that_is_not_ours_or_of_somebody_gone_is_not_known(client: Client, red: Team, alice: User) -> None:
    place = path(stop_url(alice, red, "alerts"))
    assert client.post(place[:-3] + "xx/").status_code == 404
    assert client.post("/mail/stop/made-up/").status_code == 404
    User.objects.update(is_active=False)
    assert client.post(place).status_code == 404


def test_times_on_the_page_are_the_teams(owner: Client, red: Team, alice: User, now: datetime) -> None:
    Team.objects.update(time_zone="Asia/Kathmandu")
    raise_alert(budget(red), now=now)
    assert "since 11/26/2026, 20:05" in seen(owner)
    assert "All times are Kathmandu time (UTC+05:45)." in seen(owner)


def test_a_watch_of_defaults_is_what_a_team_without_a_row_has(red: Team, alice: User) -> None:
    before = watching_of(red)
    watch(team=red, by=alice, spike_times=5)
    after = Watching.objects.get()
    differing = [
        field.name for field in Watching._meta.fields if getattr(before, field.name) != getattr(after, field.name)
    ]
    assert differing == ["spike_times"]
    assert timedelta(minutes=after.window_minutes) == timedelta(minutes=30)
