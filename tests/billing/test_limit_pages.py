"""Pages for limits: operators make tiers and give them, admins limit keys and members, members see how they stand."""

import re
from collections.abc import Iterator

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import ApiKey, Role, Team, User
from billing.limits.limiter import limiter
from billing.limits.tiers import (
    add_tier,
    bounds_of_key,
    give_tier,
    limit_key,
    limit_member,
    subject_of_key,
    subject_of_team,
)
from billing.limits.windows import Bounds
from billing.models import KeyLimit, MemberLimit, TeamTier, Tier
from tests.factories import join, make_key, make_person

pytestmark = [pytest.mark.django_db, pytest.mark.spec("U4")]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    limiter.counters.clear()
    yield
    limiter.counters.clear()


@pytest.fixture
def operator(client: Client, alice: User, red: Team) -> Client:
    client.force_login(alice)
    return client


def words(client: Client, address: str) -> str:
    html = client.get(address).content.decode()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.partition("<main")[2]))


def test_an_operator_makes_a_tier_and_gives_it_to_a_team(operator: Client, red: Team) -> None:
    assert "Nobody is limited" in words(operator, "/operator/tiers/")
    made = operator.post("/operator/tiers/", {"name": "Small", "requests_per_minute": "60", "tokens_per_day": "5000"})
    tier = Tier.objects.get()
    assert (made.status_code, made.headers["location"]) == (302, f"/operator/tiers/{tier.pk}/")
    assert tier.bounds == Bounds(requests_per_minute=60, tokens_per_day=5000)
    operator.post(f"/operator/tiers/{tier.pk}/teams/", {"team": red.pk})
    assert list(TeamTier.objects.values_list("team", "tier")) == [(red.pk, tier.pk)]
    assert re.search(r"Small 60 requests a minute 5,000 tokens a day 1 ", words(operator, "/operator/tiers/"))
    operator.post(f"/operator/tiers/{tier.pk}/teams/", {"take": red.slug})
    assert not TeamTier.objects.exists()
    operator.post(f"/operator/tiers/{tier.pk}/", {"name": "Smaller", "requests_per_day": "7", "is_default": "on"})
    tier.refresh_from_db()
    assert (tier.name, tier.is_default, tier.bounds) == ("Smaller", True, Bounds(requests_per_day=7))
    operator.post(f"/operator/tiers/{tier.pk}/remove/")
    assert not Tier.objects.exists()


def test_what_cannot_be_is_said_at_its_field(operator: Client) -> None:
    add_tier(name="Small", bounds=Bounds(), by=None)
    taken = operator.post("/operator/tiers/", {"name": "small"})
    assert (taken.status_code, "There is a tier of this name already." in taken.content.decode()) == (422, True)
    for wrong in ("0", "-3", "many", "1" * 30):
        refused = operator.post("/operator/tiers/", {"name": "Other", "requests_per_minute": wrong})
        assert refused.status_code == 422
    assert Tier.objects.count() == 1


def test_presets_are_added_from_the_page(operator: Client) -> None:
    for _ in range(2):
        operator.post("/operator/tiers/load/", {"preset": "cloud-temple"})
    operator.post("/operator/tiers/load/", {"preset": "nobody's"})
    assert Tier.objects.count() == 4


def test_the_teams_windows_are_shown_as_they_stand(operator: Client, red: Team) -> None:
    assert "The team is not limited." in words(operator, "/t/red/limits/")
    tier = add_tier(name="Small", bounds=Bounds(requests_per_minute=4, tokens_per_day=1000), by=None)
    give_tier(team=red, tier=tier, by=None)
    subject = subject_of_team(red, tier.bounds)
    for _ in range(3):
        limiter.counters.take([subject])
    limiter.counters.charge([subject], 250, 50)
    told = words(operator, "/t/red/limits/")
    assert "Requests a minute 3 4 " in told
    assert "Tokens a day 250 1,000 " in told
    part = operator.get("/t/red/limits/", headers={"HX-Request": "true"}).content.decode()
    assert part.lstrip().startswith('<div id="use"')
    assert '<rect class="fg " width="75" height="6"/>' in part


def test_an_admin_limits_a_key_and_a_member(operator: Client, red: Team, bob: User) -> None:
    key = make_key(red, name="website").key
    operator.post(f"/t/red/limits/keys/{key.pk}/", {"requests_per_minute": "6", "concurrent_requests": "2"})
    operator.post(f"/t/red/limits/members/{bob.pk}/", {"tokens_per_day": "9000"})
    assert KeyLimit.objects.get().bounds == Bounds(requests_per_minute=6, concurrent_requests=2)
    assert MemberLimit.objects.get().bounds == Bounds(tokens_per_day=9000)
    for _ in range(5):
        limiter.counters.take([subject_of_key(key, Bounds(requests_per_minute=6))])
    told = words(operator, "/t/red/limits/")
    assert f"website {key.masked} 6 requests a minute 2 requests at once Requests at once: 5 of 2 Change" in told
    assert "Bob 9,000 tokens a day Tokens a day: 0 of 9,000 Change" in told
    assert "at most 6 requests a minute, 2 requests at once" in operator.get(f"/usage/keys/{key.pk}/").content.decode()
    assert operator.post(f"/t/red/limits/keys/{key.pk}/", {"requests_per_minute": "none"}).status_code == 422
    operator.post(f"/t/red/limits/keys/{key.pk}/", {})
    assert bounds_of_key(key) == Bounds()


def test_a_key_or_a_person_of_another_team_is_not_found(operator: Client, blue: Team, charlie: User) -> None:
    key = make_key(blue).key
    for address in (f"/t/red/limits/keys/{key.pk}/", f"/t/red/limits/members/{charlie.pk}/"):
        assert operator.get(address).status_code == 404
        assert operator.post(address, {"requests_per_day": "1"}).status_code == 404
    assert not KeyLimit.objects.exists()


def test_a_member_sees_the_team_and_his_own_and_nothing_of_others(client: Client, red: Team, bob: User) -> None:
    join(red, make_person("Dora"), Role.MEMBER)
    limit_key(key=make_key(red, name="of the team").key, bounds=Bounds(requests_per_day=3), by=None)
    limit_key(key=make_key(red, name="of Bob", owner=bob).key, bounds=Bounds(requests_per_day=5), by=None)
    limit_member(team=red, user=bob, bounds=Bounds(requests_per_minute=7), by=None)
    client.force_login(bob)
    told = words(client, "/t/red/limits/")
    assert ("of Bob" in told, "of the team" in told, "Dora" in told, "Change" in told) == (True, False, False, False)
    assert "7 requests a minute" in told


def test_a_new_key_begins_with_its_limits(operator: Client, red: Team) -> None:
    form = {"name": "website", "owner": "team", "life": "90"}
    assert operator.post("/t/red/keys/new/", {**form, "requests_per_minute": "0"}).status_code == 422
    operator.post("/t/red/keys/new/", {**form, "requests_per_minute": "6", "tokens_per_day": "100"})
    assert bounds_of_key(ApiKey.objects.get()) == Bounds(requests_per_minute=6, tokens_per_day=100)


def test_many_keys_and_people_cost_as_many_questions_as_one(operator: Client, red: Team) -> None:
    operator.get("/t/red/limits/")  # the session is written once
    counts = []
    for number in range(3):
        limit_key(key=make_key(red, owner=None).key, bounds=Bounds(requests_per_day=3), by=None)
        person = make_person(f"P{number}")
        join(red, person)
        limit_member(team=red, user=person, bounds=Bounds(requests_per_day=3), by=None)
        with CaptureQueriesContext(connection) as asked:
            operator.get("/t/red/limits/")
        counts.append(len(asked))
    assert counts[0] == counts[2]
