"""Models on their way out: marked on a page, told wherever somebody chooses, and still answering."""

from datetime import date

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEntry, Team, User
from gateway.catalogue import change_model
from gateway.errors import CatalogueMistake
from gateway.lifecycle import set_lifecycle
from gateway.models import Engine, ServedModel, Spell
from tests.gateway.conftest import Api

LAST = date(2027, 3, 1)


@pytest.fixture
def models(db: None) -> list[ServedModel]:
    rows = []
    for engine in ("one", "two"):
        row = Engine.objects.create(name=engine, type="openai", url="http://127.0.0.1:1")
        rows.append(ServedModel.objects.create(engine=row, public_id="old", engine_model="old"))
    rows.append(ServedModel.objects.create(engine=row, public_id="new", engine_model="new"))
    return rows


def states() -> list[tuple[str, date | None, str, bool]]:
    rows = ServedModel.objects.order_by("pk")
    return list(rows.values_list("public_id", "retires_on", "successor", "on_status_page"))


def test_all_engines_of_a_model_share_its_lifecycle(models: list[ServedModel], alice: User) -> None:
    set_lifecycle(model=models[0], retires_on=LAST, successor="new", on_status_page=False, by=alice)
    assert states() == [("old", LAST, "new", False), ("old", LAST, "new", False), ("new", None, "", True)]
    entry = AuditEntry.objects.get(action="model.lifecycle")
    assert (entry.actor, entry.subject_name) == (alice, "old")
    assert entry.detail == {"retires_on": "– → 2027-03-01", "successor": "– → new", "on_status_page": "True → –"}
    models[0].refresh_from_db()
    set_lifecycle(model=models[0], retires_on=LAST, successor="new", on_status_page=False, by=alice)
    assert AuditEntry.objects.filter(action="model.lifecycle").count() == 1


def test_a_model_that_stays_has_no_successor(models: list[ServedModel]) -> None:
    set_lifecycle(model=models[0], retires_on=None, successor="new", on_status_page=True, by=None)
    assert states()[0] == ("old", None, "", True)


@pytest.mark.parametrize("successor", ["old", "unknown"])
def test_a_successor_is_another_model_that_is_served(models: list[ServedModel], successor: str) -> None:
    with pytest.raises(CatalogueMistake) as refused:
        set_lifecycle(model=models[0], retires_on=LAST, successor=successor, on_status_page=True, by=None)
    assert refused.value.param == "successor"
    assert states()[0] == ("old", None, "", True)


def test_an_operator_marks_a_model_on_its_page(client: Client, alice: User, models: list[ServedModel]) -> None:
    client.force_login(alice)
    place = reverse("gateway:model", args=[models[0].pk])
    assert "What to use in its stead" in client.get(place).content.decode()
    given = {"retires_on": "2027-03-01", "successor": "new", "on_status_page": "on"}
    answer = client.post(reverse("gateway:model-lifecycle", args=[models[0].pk]), given)
    assert (answer.status_code, answer.headers["location"]) == (302, place)
    assert states()[:2] == [("old", LAST, "new", True)] * 2
    wrong = client.post(reverse("gateway:model-lifecycle", args=[models[0].pk]), {"retires_on": "soon"})
    assert wrong.status_code == 422
    assert states()[0] == ("old", LAST, "new", True)


def test_a_renamed_model_keeps_its_past_and_stays_a_successor(models: list[ServedModel]) -> None:
    old, _other, new = models
    set_lifecycle(model=old, retires_on=LAST, successor="new", on_status_page=True, by=None)
    Spell.objects.create(model="new", state="works", begins_at=timezone.now(), ends_at=timezone.now())
    change_model(model=new, public_id="newer", aliases=[], enabled=True, defaults={}, by=None)
    assert states()[:2] == [("old", LAST, "newer", True)] * 2
    assert list(Spell.objects.values_list("model", flat=True)) == ["newer"]


def test_a_team_reads_it_in_its_catalogue(client: Client, alice: User, red: Team, models: list[ServedModel]) -> None:
    set_lifecycle(model=models[0], retires_on=LAST, successor="new", on_status_page=True, by=None)
    client.force_login(alice)
    page = client.get(reverse("gateway:models", args=[red.slug])).content.decode()
    assert "Deprecated: offered until March 1, 2027; use new in its stead." in page


def test_the_chat_offers_it_last_and_says_so(client: Client, alice: User, red: Team, models: list[ServedModel]) -> None:
    client.force_login(alice)

    def offered() -> list[str]:
        return [model.public_id for model in client.get(reverse("chat:home")).context["models"]]

    set_lifecycle(model=models[2], retires_on=LAST, successor="old", on_status_page=True, by=None)
    assert offered() == ["old", "new"]
    assert "Deprecated: offered until March 1, 2027." in client.get(reverse("chat:home")).content.decode()
    set_lifecycle(model=models[2], retires_on=None, successor="", on_status_page=True, by=None)
    assert offered() == ["new", "old"]


def test_a_deprecated_model_answers_and_is_left_out_of_the_list(api: Api) -> None:
    api.serve("successor")
    model = ServedModel.objects.get(public_id="plain")
    before = api.client.get("/v1/models/plain").json()
    assert "deprecation" not in before
    set_lifecycle(model=model, retires_on=LAST, successor="successor", on_status_page=True, by=None)
    api.reload()
    listed = [card["id"] for card in api.client.get("/v1/models").json()["data"]]
    assert "plain" not in listed
    assert "successor" in listed
    card = api.client.get("/v1/models/plain").json()
    said = {"deprecation": "2027-03-01T00:00:00Z", "deprecation_replacement_model": "successor"}
    assert card == {**before, **said}
    assert api.chat("plain").status_code == 200
