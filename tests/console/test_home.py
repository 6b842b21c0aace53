"""Home: what to do next, for whom."""

import re
from uuid import uuid4

import pytest
from django.test import Client

from accounts.models import Role, Team, User
from chat.conversations import Question, start
from gateway.models import Engine, EngineType, ServedModel
from tests.factories import join, make_key, make_person

pytestmark = pytest.mark.django_db


@pytest.fixture
def engine() -> Engine:
    engine = Engine.objects.create(name="demo", type=EngineType.DEMO)
    ServedModel.objects.create(engine=engine, public_id="demo", engine_model="demo")
    return engine


def home(client: Client, person: User) -> str:
    client.force_login(person)
    return client.get("/t/red/").content.decode()


def test_a_member_watches_an_own_key_and_never_another_persons(
    client: Client, red: Team, alice: User, bob: User, engine: Engine
) -> None:
    start(user=bob, team=red, question=Question(text="How are you?", model="demo", client_id=uuid4()))
    own = make_key(red, owner=bob).key
    others = make_key(red, owner=alice).key

    page = home(client, bob)
    assert f"/keys/{own.pk}/first-use/" in page
    assert f"/keys/{others.pk}/first-use/" not in page


def test_somebody_who_only_reads_reports_is_shown_no_way_to_pages_that_are_closed(client: Client, red: Team) -> None:
    vera = make_person("Vera")
    join(red, vera, Role.VIEWER)

    page = home(client, vera)
    assert '"/t/red/usage/"' in page
    assert '"/t/red/models/use/"' in page
    for closed in ("/chat/", "/t/red/keys/", '"/t/red/models/"', "/quickstart/", "/operator/"):
        assert closed not in page


def test_the_navigation_of_an_operator_is_open_where_one_is(client: Client, red: Team, alice: User) -> None:
    client.force_login(alice)
    assert parts(client, "/t/red/usage/") == [("open", "Red"), ("", "Platform")]
    assert parts(client, "/operator/alerts/") == [("", "Red"), ("open", "Platform")]


def test_nobody_else_has_anything_to_open_in_the_navigation(client: Client, red: Team, bob: User) -> None:
    client.force_login(bob)
    assert parts(client, "/t/red/usage/") == []


def parts(client: Client, address: str) -> list[tuple[str, str]]:
    """What of the navigation can be folded: whether it is open, and its name."""
    navigation = client.get(address).content.decode().partition('<nav class="side"')[2].partition("</nav>")[0]
    found = re.findall(r'<details class="part"( open)?>\s*<summary><span>([^<]+)<', navigation)
    return [(is_open.strip(), name) for is_open, name in found]
