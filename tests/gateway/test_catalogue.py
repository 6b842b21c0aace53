"""Engines and their models: the verbs, the command, the look round the machine, and the pages."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.access import chat_caller
from accounts.models import AuditEntry, Team, User
from accounts.revision import current
from accounts.secrets import encrypt
from gateway import catalogue
from gateway.catalogue import add_engine, import_models, models_for, remove_engine, set_enabled
from gateway.discovery import Place, find_engines
from gateway.engines.facts import FoundModel
from gateway.errors import CatalogueMistake, Unavailable
from gateway.jobs import probe_engines
from gateway.models import Engine
from gateway.snapshot import engine_facts, load_routes
from tests.engines.faultd import FaultEngine


def test_an_engine_is_added_with_its_key_encrypted_and_the_change_announced(db: None, alice: User) -> None:
    before = current()
    engine = add_engine(name="A", type="vllm", url="http://10.0.0.1:8000/v1/", secret="sk-hidden", by=alice)
    assert engine.url == "http://10.0.0.1:8000"
    assert "sk-hidden" not in engine.secret
    assert engine_facts(engine).secret == "sk-hidden"
    assert "sk-hidden" not in repr(engine_facts(engine))
    assert current() > before
    assert AuditEntry.objects.get(action="engine.added").actor == alice


@pytest.mark.parametrize(
    ("name", "kind", "url"),
    [
        ("", "vllm", "http://a"),
        ("B", "other", "http://a"),
        ("B", "vllm", "ftp://a"),
        ("B", "vllm", "http://user:pw@a"),
        ("B", "vllm", "a:8000"),
        ("B", "vllm", "http://a/\r\nhost: b"),
        ("B", "vllm", "http://a b"),
        ("B", "vllm", "http://a\0"),
        ("B", "vllm", "http://a:99999"),
        ("B", "vllm", "http://[::1"),
        ("B", "vllm", "http://a..b"),
        ("B", "vllm", f"http://{'a' * 64}.example"),
        ("taken", "vllm", "http://a"),
    ],
)
def test_a_wrong_engine_is_not_added(db: None, name: str, kind: str, url: str) -> None:
    add_engine(name="taken", type="demo", url="")
    with pytest.raises(CatalogueMistake):
        add_engine(name=name, type=kind, url=url)
    assert Engine.objects.count() == 1


@pytest.mark.parametrize("secret", ["clé", "a\nb", "a\x7fb", "日本"])
def test_a_key_that_no_header_can_hold_is_not_stored(db: None, secret: str) -> None:
    with pytest.raises(CatalogueMistake) as refused:
        add_engine(name="A", type="vllm", url="http://a", secret=secret)
    assert refused.value.param == "secret"
    assert not Engine.objects.exists()


@pytest.mark.parametrize("stored", [{"secret": "clé"}, {"url": "http://a..b"}])
def test_an_engine_stored_before_that_was_checked_cannot_be_reached(db: None, stored: dict[str, str]) -> None:
    engine = add_engine(name="A", type="vllm", url="http://127.0.0.1:9")
    engine.url, engine.secret = stored.get("url", engine.url), encrypt(stored.get("secret", "x"))
    engine.save()
    with pytest.raises(Unavailable, match="cannot be reached"):
        import_models(engine=engine)


def test_of_the_models_that_an_engine_lists_those_are_offered_that_can_be_stored(db: None) -> None:
    with FaultEngine(models=("x" * 301, "a\0b", "\ud800", "plain")) as fault:
        served = import_models(engine=add_engine(name="A", type="openai", url=fault.url))
    assert [row.public_id for row in served] == ["plain"]


@pytest.mark.parametrize(("told", "kept"), [(2**31, None), (-1, None), (0, None), (8192, 8192)])
def test_a_context_that_can_be_none_is_not_kept(told: int, kept: int | None) -> None:
    assert catalogue._storable(FoundModel("m", told)).context_length == kept


def test_a_key_stored_with_another_secret_is_a_problem_of_that_engine_alone(db: None, settings) -> None:  # type: ignore[no-untyped-def]
    engine = add_engine(name="A", type="vllm", url="http://a", secret="sk-hidden")
    settings.SECRET_KEY = "another secret that is long enough for this"
    assert engine_facts(engine).secret_lost
    with pytest.raises(Unavailable, match="key cannot be read"):
        import_models(engine=engine)


def test_the_demo_steps_aside_for_a_real_engine(db: None, alice: User, red: Team) -> None:
    demo = add_engine(name="Demo", type="demo", url="", fallback=True)
    import_models(engine=demo)
    caller = chat_caller(alice, red)
    assert list(load_routes()) == [model.public_id for model in models_for(caller)] == ["demo"]
    with FaultEngine(models=("real",)) as engine:
        real = add_engine(name="real", type="openai", url=engine.url)
        import_models(engine=real)
    assert list(load_routes()) == [model.public_id for model in models_for(caller)] == ["real"]
    set_enabled(engine=real, enabled=False, by=alice)
    assert list(load_routes()) == [model.public_id for model in models_for(caller)] == ["demo"]
    remove_engine(engine=demo, by=alice)
    assert models_for(caller) == []
    actions = list(AuditEntry.objects.filter(action__startswith="engine.").values_list("action", flat=True))
    assert actions[-2:] == ["engine.disabled", "engine.removed"]


def test_the_probe_notes_what_it_met_and_forgets_it_when_it_is_over(db: None) -> None:
    with FaultEngine() as engine:
        row = add_engine(name="A", type="openai", url=engine.url)
        probe_engines()
        row.refresh_from_db()
        assert row.seen_at
        assert row.problem == ""
    probe_engines()
    row.refresh_from_db()
    assert row.problem == "The engine cannot be reached."


def test_the_command_prints_the_public_ids_and_nothing_else(db: None, tmp_path: Path) -> None:
    out = StringIO()
    key = tmp_path / "key"
    key.write_text("sk-engine\n")
    with FaultEngine(models=("a", "b"), secret="sk-engine") as engine:
        call_command(
            "add_engine",
            name="A",
            type="vllm",
            url=engine.url,
            api_key_file=key,
            machine_name="ma02",
            weight=0,
            max_concurrent=8,
            stdout=out,
        )
    assert out.getvalue() == "a\nb\n"
    row = Engine.objects.get()
    assert (row.machine_name, row.weight, row.max_concurrent) == ("ma02", 0, 8)


def test_the_command_keeps_nothing_of_an_engine_that_cannot_be_asked(db: None) -> None:
    with pytest.raises(CommandError, match="cannot be reached"):
        call_command("add_engine", name="A", type="vllm", url="http://127.0.0.1:9")
    assert not Engine.objects.exists()


def test_the_command_offers_the_models_it_is_told(db: None) -> None:
    out = StringIO()
    with FaultEngine() as engine:
        call_command("add_engine", name="A", type="openai", url=engine.url, model=["plain", "fault:ok?n=7"], stdout=out)
    assert out.getvalue() == "plain\nfault:ok?n=7\n"


def test_the_look_round_finds_what_answers_and_nothing_else(db: None) -> None:
    with FaultEngine(models=("a",)) as engine, FaultEngine(secret="closed") as closed:
        ports = [int(url.rpartition(":")[2]) for url in (engine.url, closed.url)]
        places = [Place("Ollama", "ollama", ports[0]), Place("vLLM", "vllm", ports[0])]
        found = find_engines([*places, Place("vLLM", "vllm", ports[1]), Place("LM Studio", "openai", 9)])
    assert [(place.name, place.type, place.models) for place in found] == [
        ("Ollama", "ollama", ("a",)),
        ("vLLM", "openai", ("a",)),
    ]


def test_the_catalogue_shows_a_teams_models_to_its_members_alone(
    client: Client, alice: User, bob: User, charlie: User, red: Team, blue: Team
) -> None:
    import_models(engine=add_engine(name="Demo", type="demo", url="", fallback=True))
    for person, status in ((alice, 200), (bob, 200), (charlie, 404)):
        client.force_login(person)
        response = client.get(f"/t/{red.slug}/models/")
        assert response.status_code == status
        assert ("<code" in response.content.decode()) == (status == 200)
    Team.objects.filter(pk=red.pk).update(models=[])
    client.force_login(bob)
    assert "No models yet" in client.get(f"/t/{red.slug}/models/").content.decode()


def test_only_operators_see_and_change_engines(client: Client, alice: User, bob: User) -> None:
    engine = add_engine(name="Demo", type="demo", url="")
    client.force_login(bob)
    assert client.get("/operator/engines/").status_code == 404
    for path in ("add/", f"{engine.pk}/import/", f"{engine.pk}/enabled/", f"{engine.pk}/remove/"):
        assert client.post(f"/operator/engines/{path}").status_code == 404
    client.force_login(alice)
    assert client.get("/operator/engines/").status_code == 200
    assert client.get(f"/operator/engines/{engine.pk}/remove/").status_code == 200
    assert Engine.objects.count() == 1
    assert client.post(f"/operator/engines/{engine.pk}/remove/").status_code == 302
    assert not Engine.objects.exists()


def test_an_operator_connects_an_engine_by_the_form(client: Client, alice: User) -> None:
    client.force_login(alice)
    with FaultEngine(models=("a",)) as fault:
        given = {"name": "E", "type": "openai", "url": fault.url, "secret": "", "machine_name": "m"}
        assert client.post("/operator/engines/add/", given).status_code == 302
    engine = Engine.objects.get()
    assert [model.public_id for model in engine.models.all()] == ["a"]
    page = client.get("/operator/engines/").content.decode()
    assert "E serves 1 model." in page
    again = client.post("/operator/engines/add/", given)
    assert again.status_code == 422
    assert "already an engine" in again.content.decode()


def test_the_engine_list_asks_the_database_the_same_for_one_and_for_three(
    client: Client, alice: User, django_assert_num_queries
) -> None:  # type: ignore[no-untyped-def]
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client.force_login(alice)
    import_models(engine=add_engine(name="A", type="demo", url=""))
    client.get("/operator/engines/")
    with CaptureQueriesContext(connection) as one:
        client.get("/operator/engines/")
    for name in ("B", "C"):
        import_models(engine=add_engine(name=name, type="demo", url=""))
    with CaptureQueriesContext(connection) as three:
        client.get("/operator/engines/")
    assert len(one) == len(three)
