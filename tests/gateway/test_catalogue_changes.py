"""What an operator changes: an engine's address and share, a model's names and defaults; and what must follow."""

from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.access import chat_caller
from accounts.models import ApiKey, AuditEntry, Team, User
from accounts.revision import current
from billing.models import Price
from gateway.catalogue import add_engine, change_engine, change_model, import_models, models_for
from gateway.errors import CatalogueMistake
from gateway.models import Engine, ServedModel
from gateway.snapshot import engine_facts, load
from tests.engines.faultd import FaultEngine
from tests.factories import make_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def engine() -> Engine:
    return add_engine(name="A", type="vllm", url="http://10.0.0.1:8000", secret="sk-hidden", machine_name="ma01")


@pytest.fixture
def llama(engine: Engine) -> ServedModel:
    return serve(engine, "llama3.3:70b")


def serve(engine: Engine, name: str, **fields: object) -> ServedModel:
    return ServedModel.objects.create(engine=engine, public_id=name, engine_model=name, **fields)


def as_it_is(engine: Engine) -> dict[str, object]:
    """What `change_engine` takes to change nothing."""
    names = ("name", "url", "machine_name", "weight", "max_concurrent", "allowed_fields")
    return {name: getattr(engine, name) for name in names}


def name_it(model: ServedModel, public_id: str, *aliases: str, keep_old: bool = False, by: User | None = None) -> None:
    change_model(model=model, public_id=public_id, aliases=aliases, enabled=True, defaults={}, keep_old=keep_old, by=by)
    model.refresh_from_db()


def test_a_change_of_an_engine_is_announced_and_says_what_it_was_before(engine: Engine, alice: User) -> None:
    before = current()
    change = {
        "name": "B",
        "url": "http://10.0.0.2/v1/",
        "weight": 0,
        "max_concurrent": 4,
        "allowed_fields": [" b", "a"],
    }
    changed = change_engine(engine=engine, **as_it_is(engine) | change, by=alice)  # type: ignore[arg-type]

    engine.refresh_from_db()
    assert changed == set(change)
    assert as_it_is(engine) == {
        "name": "B",
        "url": "http://10.0.0.2",
        "machine_name": "ma01",
        "weight": 0,
        "max_concurrent": 4,
        "allowed_fields": ["a", "b"],
    }
    assert current() > before
    entry = AuditEntry.objects.get(action="engine.changed")
    assert (entry.actor, entry.detail["weight"], entry.detail["name"]) == (alice, "1 → 0", "A → B")
    assert entry.detail["allowed_fields"] == "None → a, b"


def test_a_change_to_what_is_already_so_is_none(engine: Engine, alice: User) -> None:
    before = current()

    assert change_engine(engine=engine, **as_it_is(engine), by=alice) == set()  # type: ignore[arg-type]
    assert (current(), AuditEntry.objects.filter(action="engine.changed").count()) == (before, 0)


@pytest.mark.parametrize(("secret", "then", "told"), [(None, "sk-hidden", 0), ("", "", 1), ("sk-new", "sk-new", 1)])
def test_an_engines_key_stays_goes_or_is_replaced_and_is_never_told(
    engine: Engine, alice: User, secret: str | None, then: str, told: int
) -> None:
    change_engine(engine=engine, **as_it_is(engine), secret=secret, by=alice)  # type: ignore[arg-type]

    engine.refresh_from_db()
    assert engine_facts(engine).secret == then
    entries = AuditEntry.objects.filter(action="engine.changed")
    assert len(entries) == told
    assert not any("sk-" in str(entry.detail) for entry in entries)


def test_at_a_new_address_the_last_look_is_forgotten(engine: Engine, alice: User) -> None:
    Engine.objects.update(seen_at=timezone.now(), problem="The engine cannot be reached.")
    change_engine(engine=engine, **as_it_is(engine) | {"weight": 2}, by=alice)  # type: ignore[arg-type]
    engine.refresh_from_db()
    assert engine.problem
    change_engine(engine=engine, **as_it_is(engine) | {"url": "http://10.0.0.9"}, by=alice)  # type: ignore[arg-type]
    engine.refresh_from_db()
    assert (engine.seen_at, engine.problem) == (None, "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "),
        ("name", "taken"),
        ("url", "ftp://a"),
        ("weight", -1),
        ("weight", 10_001),
        ("max_concurrent", 0),
        ("allowed_fields", ["two words"]),
    ],
)
def test_a_wrong_change_is_refused_at_its_field_and_changes_nothing(engine: Engine, field: str, value: object) -> None:
    add_engine(name="taken", type="demo", url="")
    with pytest.raises(CatalogueMistake) as caught:
        change_engine(engine=engine, **as_it_is(engine) | {field: value}, by=None)  # type: ignore[arg-type]
    assert caught.value.param == field
    assert not AuditEntry.objects.filter(action="engine.changed").exists()


@pytest.mark.spec("C8", "H6")
@pytest.mark.parametrize("public_id", ["Saptiva Turbo", "granite3.3:8b", "nvidia/llama-3.3", "Größe"])
def test_a_model_gets_the_id_that_callers_use_and_the_engine_keeps_its_own(llama: ServedModel, public_id: str) -> None:
    name_it(llama, public_id, "Turbo", "turbo", "  ", public_id.upper())

    snapshot = load(1)
    (route,) = snapshot.routes[public_id]
    assert (list(snapshot.routes), route.engine_model) == ([public_id], "llama3.3:70b")
    assert llama.aliases == ["Turbo"]
    assert snapshot.aliases == {public_id.casefold(): public_id, "turbo": public_id}


@pytest.mark.spec("C8")
@pytest.mark.parametrize(
    ("public_id", "aliases", "field"),
    [
        ("QWEN3", [], "public_id"),
        ("Fast", [], "public_id"),
        ("x", ["Qwen3"], "aliases"),
        ("x", ["y", "FAST"], "aliases"),
        ("qwen3", [], "public_id"),  # the same engine's: two rows of one id
        ("", [], "public_id"),
        ("a\nb", [], "public_id"),
        ("x", ["y" * 201], "aliases"),
    ],
)
def test_two_models_never_share_a_name(
    engine: Engine, llama: ServedModel, public_id: str, aliases: list[str], field: str
) -> None:
    serve(engine, "qwen3", aliases=["fast"], enabled=False)
    with pytest.raises(CatalogueMistake) as caught:
        name_it(llama, public_id, *aliases)
    assert caught.value.param == field
    assert not AuditEntry.objects.filter(action="model.changed").exists()


def test_a_model_on_two_engines_is_one_model_with_the_same_names(engine: Engine, llama: ServedModel) -> None:
    twin = serve(add_engine(name="B", type="demo", url=""), llama.public_id, aliases=["big"])
    name_it(llama, llama.public_id, "big")

    assert llama.aliases == twin.aliases == ["big"]


@pytest.mark.spec("C3")
def test_defaults_are_kept_only_where_given(llama: ServedModel, alice: User) -> None:
    change_model(
        model=llama, public_id="x", aliases=[], enabled=True, defaults={"temperature": 0.7, "max_tokens": 600}, by=alice
    )

    llama.refresh_from_db()
    assert llama.defaults == {"temperature": 0.7, "max_tokens": 600}
    assert AuditEntry.objects.get(action="model.changed").detail["defaults"] == "– → max_tokens=600, temperature=0.7"


@pytest.mark.spec("C2", "C3")
@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 2.1), ("top_p", -0.1), ("max_tokens", 0), ("temperature", float("nan"))]
)
def test_a_default_that_no_request_may_have_is_refused(llama: ServedModel, name: str, value: float) -> None:
    with pytest.raises(CatalogueMistake) as caught:
        change_model(model=llama, public_id="x", aliases=[], enabled=True, defaults={name: value}, by=None)
    assert caught.value.param == name


@pytest.mark.spec("C8")
def test_who_was_limited_to_a_model_may_use_it_under_its_new_id(
    engine: Engine, llama: ServedModel, red: Team, blue: Team, alice: User
) -> None:
    serve(engine, "qwen3")
    old = llama.public_id
    Team.objects.filter(pk=red.pk).update(models=["qwen3", old])
    limited, open_, dead = (make_key(red, models=models).key for models in ([old, "Turbo"], None, [old]))
    ApiKey.objects.filter(pk=dead.pk).update(revoked_at=timezone.now())
    before = current()
    name_it(llama, "Turbo", by=alice)

    red.refresh_from_db()
    blue.refresh_from_db()
    assert (red.models, blue.models) == (["qwen3", "Turbo"], None)
    assert [ApiKey.objects.get(pk=key.pk).models for key in (limited, open_, dead)] == [["Turbo"], None, [old]]
    assert [model.public_id for model in models_for(chat_caller(alice, red))] == ["Turbo", "qwen3"]
    entries = AuditEntry.objects.filter(action__endswith=".model_renamed").order_by("pk")
    assert [(row.action, row.actor, row.team, row.detail) for row in entries] == [
        (action, alice, red, {"old": old, "new": "Turbo"}) for action in ("team.model_renamed", "key.model_renamed")
    ]
    assert current() > before


@pytest.mark.spec("C8")
def test_as_long_as_another_engine_serves_the_old_id_nobody_gets_a_right_to_the_new(
    llama: ServedModel, red: Team, alice: User
) -> None:
    old = llama.public_id
    twin = serve(add_engine(name="B", type="demo", url=""), old)
    key = make_key(red, models=[old]).key
    name_it(llama, "Turbo", keep_old=True)
    key.refresh_from_db()
    assert (key.models, llama.aliases) == ([old], [])  # the name is the other engine's

    name_it(twin, "Turbo", keep_old=True)
    key.refresh_from_db()
    assert (key.models, twin.aliases) == (["Turbo"], [old])
    assert load(1).aliases[old] == "Turbo"


def test_a_model_costs_under_its_new_id_what_it_cost(llama: ServedModel) -> None:
    moment = timezone.now()
    Price.objects.create(model=llama.public_id, effective_from=moment, input=Decimal("1.5"), output=Decimal(3))
    Price.objects.create(model="priced", effective_from=moment, input=Decimal(7), output=Decimal(7))
    name_it(llama, "Turbo")
    assert Price.objects.get(model="Turbo").input == Decimal("1.5")
    name_it(llama, "priced")
    assert Price.objects.get(model="priced").input == Decimal(7)


def test_importing_again_knows_a_renamed_model_and_brings_its_context_up_to_date(db: None) -> None:
    with FaultEngine(models=("a", "b")) as fault:
        engine = add_engine(name="E", type="openai", url=fault.url)
        import_models(engine=engine)
        name_it(engine.models.get(public_id="a"), "Turbo")
        ServedModel.objects.update(context_length=1)
        served = import_models(engine=engine)
    assert [(row.public_id, row.engine_model, row.context_length) for row in served] == [
        ("Turbo", "a", 8192),
        ("b", "b", 8192),
    ]
    assert engine.models.count() == 2


@pytest.mark.spec("C8")
def test_a_new_model_takes_no_name_that_leads_to_another(db: None) -> None:
    with FaultEngine(models=("a", "b")) as fault:
        engine = add_engine(name="E", type="openai", url=fault.url)
        import_models(engine=engine, only=["a"])
        name_it(engine.models.get(), "b", "A")  # this engine's b is another model
        import_models(engine=engine)
        other = add_engine(name="F", type="openai", url=fault.url)
        import_models(engine=other)
    assert [(row.public_id, row.engine_model) for row in engine.models.order_by("pk")] == [("b", "a"), ("b (E)", "b")]
    assert [(row.public_id, row.engine_model) for row in other.models.order_by("pk")] == [("a (F)", "a"), ("b", "b")]


def test_an_operator_changes_an_engine_on_its_page(client: Client, alice: User) -> None:
    client.force_login(alice)
    with FaultEngine(models=("a",), secret="sk-engine") as fault:
        engine = add_engine(name="E", type="openai", url="http://127.0.0.1:9")
        place = f"/operator/engines/{engine.pk}/"
        assert f'href="{place}"' in client.get("/operator/engines/").content.decode()
        page = client.get(place).content.decode()
        assert "remove_secret" not in page
        given = {
            "name": "E",
            "url": fault.url,
            "secret": "sk-engine",
            "machine_name": "",
            "weight": "0",
            "max_concurrent": "2",
            "fields_open": "closed",
            "allowed_fields": "guided_json\r\nmin_p\r\n",
        }
        answer = client.post(place, given, follow=True).content.decode()
    engine.refresh_from_db()
    assert "Saved. The engine answers." in answer
    assert "sk-engine" not in answer
    assert (engine.weight, engine.max_concurrent, engine.allowed_fields) == (0, 2, ["guided_json", "min_p"])
    assert engine_facts(engine).secret == "sk-engine"

    kept = given | {"secret": "", "fields_open": "open", "max_concurrent": ""}
    assert "Saved." in client.post(place, kept, follow=True).content.decode()
    engine.refresh_from_db()
    assert (engine.max_concurrent, engine.allowed_fields) == (None, None)
    assert engine_facts(engine).secret == "sk-engine"

    gone = client.post(place, kept | {"remove_secret": "on"}, follow=True).content.decode()
    assert "Saved. The engine cannot be reached." in gone
    engine.refresh_from_db()
    assert engine.secret == ""


def test_a_wrong_word_is_shown_at_its_field_and_what_was_typed_stays(
    client: Client, alice: User, engine: Engine
) -> None:
    client.force_login(alice)
    given = {"name": "A", "url": "nowhere", "weight": "1", "fields_open": "open", "machine_name": "typed"}
    answer = client.post(f"/operator/engines/{engine.pk}/", given)
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == ["url"]
    assert 'value="typed"' in answer.content.decode()


def test_the_demo_has_no_address_and_no_key_to_change(client: Client, alice: User) -> None:
    client.force_login(alice)
    demo = add_engine(name="Demo", type="demo", url="", fallback=True)
    place = f"/operator/engines/{demo.pk}/"
    assert not {"url", "secret", "allowed_fields"} & set(client.get(place).context["form"].fields)
    assert client.post(place, {"name": "Show", "weight": "1"}).status_code == 302
    demo.refresh_from_db()
    assert demo.name == "Show"


def test_the_buttons_on_an_engines_page_lead_back_to_it(client: Client, alice: User) -> None:
    client.force_login(alice)
    demo = add_engine(name="Demo", type="demo", url="")
    for button in ("import", "enabled"):
        answer = client.post(f"/operator/engines/{demo.pk}/{button}/", {"stay": "1", "on": "1"})
        assert answer.headers["location"] == f"/operator/engines/{demo.pk}/"


@pytest.mark.spec("C3", "C8")
def test_an_operator_names_a_model_on_its_page(client: Client, alice: User, llama: ServedModel) -> None:
    client.force_login(alice)
    place = f"/operator/models/{llama.pk}/"
    assert f'href="{place}"' in client.get(f"/operator/engines/{llama.engine_id}/").content.decode()
    assert "llama3.3:70b" in client.get(place).content.decode()
    given = {
        "public_id": "Saptiva Turbo",
        "keep_old": "on",
        "aliases": "turbo\r\n",
        "enabled": "on",
        "temperature": "0.7",
        "top_p": "",
        "max_tokens": "",
        "default_reserve": "900",
    }
    assert client.post(place, given).headers["location"] == f"/operator/engines/{llama.engine_id}/"
    llama.refresh_from_db()
    assert (llama.public_id, llama.aliases, llama.enabled, llama.defaults) == (
        "Saptiva Turbo",
        ["turbo", "llama3.3:70b"],
        True,
        {"temperature": 0.7},
    )
    assert llama.default_reserve == 900

    wrong = client.post(place, given | {"temperature": "3", "public_id": ""})
    assert (wrong.status_code, set(wrong.context["form"].errors)) == (422, {"temperature", "public_id"})
    assert client.post(place, {"public_id": "Saptiva Turbo"}).status_code == 302
    llama.refresh_from_db()
    assert (llama.enabled, llama.aliases, llama.defaults) == (False, [], {})


def test_a_name_that_is_taken_is_told_at_its_field(client: Client, alice: User, llama: ServedModel) -> None:
    serve(llama.engine, "qwen3")
    client.force_login(alice)
    answer = client.post(f"/operator/models/{llama.pk}/", {"public_id": "x", "aliases": "QWEN3"})
    assert answer.status_code == 422
    assert answer.context["form"].errors["aliases"] == [
        "“QWEN3” is a name of the model “qwen3” already; upper and lower case are the same."
    ]


def test_an_operator_is_told_that_limits_stay_with_an_id_that_lives_on(
    client: Client, alice: User, llama: ServedModel
) -> None:
    serve(add_engine(name="B", type="demo", url=""), llama.public_id)
    client.force_login(alice)
    page = client.post(f"/operator/models/{llama.pk}/", {"public_id": "x", "enabled": "on"}, follow=True)
    assert "Another engine still serves “llama3.3:70b”" in page.content.decode()


@pytest.mark.spec("C3")
@pytest.mark.parametrize(
    ("preset", "values"),
    [
        ("cloud-temple", {"temperature": 0.7, "top_p": 1.0, "max_tokens": 1024}),
        ("saptiva", {"temperature": 0.7, "top_p": 0.9, "max_tokens": 600}),
    ],
)
def test_a_preset_fills_the_form_keeps_what_was_typed_and_saves_nothing(
    client: Client, alice: User, llama: ServedModel, preset: str, values: dict[str, float]
) -> None:
    client.force_login(alice)
    typed = {"public_id": "typed", "aliases": "a\nb", "temperature": "0.1", "preset": preset}
    answer = client.post(f"/operator/models/{llama.pk}/", typed)

    shown = answer.context["form"].initial
    assert answer.status_code == 200
    assert {name: shown[name] for name in values} == values
    assert (shown["public_id"], shown["aliases"], shown["enabled"]) == ("typed", "a\nb", None)
    assert "not saved yet" in answer.content.decode()
    llama.refresh_from_db()
    assert (llama.public_id, llama.defaults) == ("llama3.3:70b", {})


@pytest.mark.spec("C3")
def test_members_see_other_names_context_and_defaults(
    client: Client, bob: User, red: Team, engine: Engine, llama: ServedModel
) -> None:
    ServedModel.objects.update(aliases=["big"], context_length=131072, defaults={"temperature": 0.7, "top_p": 1.0})
    serve(add_engine(name="B", type="demo", url=""), llama.public_id, defaults={"top_p": 1.0})
    client.force_login(bob)
    page = client.get(f"/t/{red.slug}/models/").content.decode()

    for said in ("llama3.3:70b", ">big<", "131,072", "temperature 0.7 / –", "top_p 1.0"):
        assert said in page
    assert "max_tokens" not in page


@pytest.mark.parametrize("place", ["/operator/engines/{engine}/", "/t/red/models/"])
def test_a_list_of_models_asks_the_database_the_same_for_one_and_for_three(
    client: Client, alice: User, red: Team, engine: Engine, llama: ServedModel, place: str
) -> None:
    client.force_login(alice)
    place = place.format(engine=engine.pk)
    client.get(place)
    with CaptureQueriesContext(connection) as one:
        client.get(place)
    for name in ("b", "c"):
        serve(engine, name, aliases=[f"{name}{name}"])
    with CaptureQueriesContext(connection) as three:
        client.get(place)
    assert len(one) == len(three)
