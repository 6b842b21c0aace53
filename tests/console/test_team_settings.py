"""The page of a team's settings: its time zone and its dialect."""

from datetime import UTC, date, datetime

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Team, User
from billing.ledger import log as ledger
from billing.ledger.months import close_month
from billing.ledger.partitions import ensure_partitions
from billing.models import UsageDay
from console.zones import offset, zones
from tests.billing.traffic import ended, milliseconds

pytestmark = pytest.mark.django_db
NIGHT = datetime(2026, 10, 31, 23, 30, tzinfo=UTC)


@pytest.fixture
def place(red: Team, client: Client, alice: User) -> str:
    ensure_partitions([NIGHT.date()])
    ledger.write([ended(red.pk, at_ms=milliseconds(NIGHT))])
    client.force_login(alice)
    return reverse("console:team-settings", args=[red.slug])


def test_an_owner_moves_the_team_and_its_days_follow(client: Client, red: Team, place: str) -> None:
    answer = client.post(place, {"time_zone": "Europe/Madrid"})
    assert (answer.status_code, answer.headers["location"]) == (302, place)
    red.refresh_from_db()
    assert (red.time_zone, red.dialect) == ("Europe/Madrid", "openai")
    assert [one.day for one in UsageDay.objects.filter(team=red)] == [date(2026, 11, 1)]
    page = client.get(place).content.decode()
    assert 'value="Europe/Madrid"' in page
    assert "Saved." in page


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("europe/madrid", "Europe/Madrid"),
        ("Mexico City", "America/Mexico_City"),
        ("America/Argentina/Buenos Aires", "America/Argentina/Buenos_Aires"),
        ("utc", "UTC"),
    ],
)
def test_a_zone_is_found_by_its_city(client: Client, red: Team, place: str, said: str, meant: str) -> None:
    assert client.post(place, {"time_zone": said}).status_code == 302
    red.refresh_from_db()
    assert red.time_zone == meant


@pytest.mark.parametrize("said", ["", "Atlantis", "Etc/GMT+5", "posixrules", "../UTC", "UTC'; --"])
def test_what_is_no_zone_of_the_list_is_refused_and_nothing_moves(
    client: Client, red: Team, place: str, said: str
) -> None:
    answer = client.post(place, {"time_zone": said})
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.content.decode()
    red.refresh_from_db()
    assert red.time_zone == "UTC"


def test_with_a_closed_month_the_page_says_why_not(client: Client, red: Team, alice: User, place: str) -> None:
    close_month(team=red, month=NIGHT.date(), by=alice)
    answer = client.post(place, {"time_zone": "Europe/Madrid"})
    assert answer.status_code == 422
    assert "Months of this team are closed" in answer.content.decode()


def test_the_dialect_is_saved_by_its_own_form(client: Client, red: Team, place: str) -> None:
    assert client.post(place, {"dialect": "saptiva"}).status_code == 302
    red.refresh_from_db()
    assert (red.dialect, red.time_zone) == ("saptiva", "UTC")


def test_zones_are_offered_with_their_offset_of_the_moment() -> None:
    summer, winter = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    offered = {zone.name: zone.offset for zone in zones(now=summer)}
    assert offered["Europe/Madrid"] == "UTC+02:00"
    assert offered["UTC"] == "UTC+00:00"
    assert offset("Europe/Madrid", now=winter) == "UTC+01:00"
    assert offset("Asia/Kathmandu", now=winter) == "UTC+05:45"
    assert offset("America/St_Johns", now=winter) == "UTC-03:30"
    assert "Etc/GMT+5" not in offered
