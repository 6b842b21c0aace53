"""The API written down: /v1/openapi.json, the page that is drawn from it, and calls that are tried out there."""

import dataclasses
import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import translation
from jsonschema_rs import Draft202012Validator
from pytest_django import DjangoAssertNumQueries

from accounts import revision
from accounts.keys import new_secret
from accounts.models import Role, Team, User
from accounts.secrets import encrypt
from billing.ledger.partitions import ensure_partitions
from billing.models import UsageRecord
from billing.spool.shipper import Shipper
from billing.spool.writer import open_spool
from gateway import errors, health, schemas, trial
from gateway.api import ASKS, MODELS, OPENAPI, USAGE
from gateway.dialects import DIALECTS
from gateway.errors import GatewayError
from gateway.forms import TRIED
from gateway.models import Engine, EngineType, ServedModel
from gateway.openapi import _in_english, document, in_english, this_installation
from gateway.openapi.paths import EVENTS
from gateway.samples import SHOWN, coloured, laid_out
from gateway.snapshot import holder, load
from tests.console.test_languages import catalogues as compiled_catalogues
from tests.engines.faultd import FaultEngine
from tests.factories import join, make_person
from tests.gateway.conftest import SECRET, Api

catalogues = compiled_catalogues
ADDRESS = "/reference/"
TRY = "/reference/try/"


# The document


def schemas_of(described: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = described["components"]["schemas"]
    return found


def references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from references(inner)


def test_every_reference_of_the_document_resolves_and_every_component_is_used_or_an_error() -> None:
    described = in_english()
    used = set(references(described))
    parts = {
        f"#/components/{kind}/{name}"
        for kind, named in described["components"].items()
        if kind != "securitySchemes"
        for name in named
    }
    assert used - parts == set()
    assert parts - used == {"#/components/responses/Error405"}  # of no operation: another method than it has


def test_operations_have_ids_of_their_own_and_their_path_s_parameters() -> None:
    operations = [(path, op) for path, ops in in_english()["paths"].items() for op in ops.values()]
    names = [op["operationId"] for _, op in operations]
    assert len(set(names)) == len(names)
    for path, op in operations:
        in_path = [given["name"] for given in op.get("parameters", []) if given["in"] == "path"]
        assert in_path == re.findall(r"{(\w+)}", path)


def test_bounds_are_those_that_requests_are_checked_by() -> None:
    fields = schemas_of(in_english())
    requests = [fields[name]["properties"] for name in ("ChatRequest", "CompletionRequest", "EmbeddingRequest")]
    chat = requests[0]
    for name, (least, most) in {**schemas.RANGES, **schemas.WHOLE}.items():
        bounds = [(field[name]["minimum"], field[name]["maximum"]) for field in requests if name in field]
        assert set(bounds) == {(least, most)}, name
    assert {name for field in requests for name in field} >= schemas.DOCUMENTED
    assert fields["Message"]["properties"]["role"]["enum"] == list(schemas.ROLES)
    assert chat["messages"]["maxItems"] == schemas.MAX_MESSAGES
    assert {name for name, field in chat.items() if field.get("type") == ["object", "null"]} == set(schemas.OBJECTS)


def test_every_dialect_is_described_by_what_its_table_changes() -> None:
    told = {row["name"]: " ".join(row["differences"]) for row in in_english()["x-tertulia-dialects"]}
    assert told.keys() == DIALECTS.keys()
    assert told["openai"] == ""
    assert told["saptiva-strict"].startswith(told["saptiva"])
    for words in ('`"error": false`', "`message.tool_calls`", "`detail`", "422", "`temperature` is between 0 and 1."):
        assert words in told["saptiva"]
    assert "`max_tokens`, `temperature`, `top_p`" in told["saptiva-strict"]


def test_where_engines_may_fetch_images_the_document_says_so(settings: Any) -> None:
    before = json.dumps(in_english())
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, image_hosts=("images.example.org",))
    assert "https address" not in before
    assert "at an https address of an allowed host" in json.dumps(in_english())


def test_statuses_types_and_codes_are_those_of_our_errors() -> None:
    rows = {
        (int(name.removeprefix("Error")), row["type"], row["code"])
        for name, response in in_english()["components"]["responses"].items()
        for row in response["x-tertulia-codes"]
    }
    ours = {
        (kind.status, kind.type, kind.code)
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, GatewayError) and kind.code
    }
    assert ours - rows == {(400, "invalid_request_error", "catalogue_mistake")}  # of the console alone


def test_examples_are_what_their_schemas_say() -> None:
    described = in_english()
    for ops in described["paths"].values():
        for op in ops.values():
            bodies = [op["requestBody"]] if "requestBody" in op else []
            for content in (body["content"] for body in [*bodies, op["responses"]["200"]]):
                for example in content["application/json"].get("examples", {}).values():
                    schema = {**content["application/json"]["schema"], "components": described["components"]}
                    Draft202012Validator(schema).validate(example["value"])


def test_the_events_of_example_streams_are_what_the_document_says() -> None:
    described = in_english()
    streams = 0
    for ops in described["paths"].values():
        for content in (op["responses"]["200"]["content"].get(EVENTS) for op in ops.values()):
            for example in content["examples"].values() if content else ():
                events = [event for event in example["value"].split("\n\n") if event.startswith("data: {")]
                schema = {**content["schema"]["x-tertulia-event"], "components": described["components"]}
                for event in events:
                    Draft202012Validator(schema).validate(json.loads(event.removeprefix("data: ")))
                streams += bool(events)
    assert streams == 4


@pytest.mark.spec("H1", "H4")
@pytest.mark.parametrize("path", ["/v1/openapi.json", "/v1/openapi.json/"])
def test_the_document_needs_no_key_and_is_english(api: Api, path: str) -> None:
    answer = api.client.get(path, headers={"authorization": ""})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == answer.headers["id"]
    assert answer.json() == in_english()
    assert answer.json()["servers"] == [{"url": settings.BASE_URL}]
    assert answer.json()["paths"]["/v1/models"]["get"]["summary"] == "Models"


def test_the_document_is_only_read(api: Api) -> None:
    answer = api.client.post("/v1/openapi.json", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


def test_what_is_described_is_served_and_what_is_served_is_described(api: Api) -> None:
    described = in_english()["paths"]
    for path, operations in described.items():
        (method,) = operations
        answer = api.client.request(method, path.replace("{model}", "plain"), headers={"authorization": ""})
        wanted = 200 if operations[method].get("security") == [] else 401
        assert answer.status_code == wanted, path
        other = api.client.delete(path.replace("{model}", "plain"))
        assert (other.json()["error"]["code"], other.headers["allow"]) == ("method_not_allowed", method.upper()), path
    assert {*ASKS, MODELS, USAGE, OPENAPI} <= described.keys()


# The page


@pytest.fixture
def reader(client: Client, alice: User, red: Team) -> Client:
    client.force_login(alice)
    return client


def offer(*names: str) -> None:
    engine, _ = Engine.objects.get_or_create(name="GPU", defaults={"type": EngineType.VLLM})
    for name in names:
        ServedModel.objects.create(engine=engine, public_id=name, engine_model=name)


def read(client: Client, url: str = ADDRESS) -> str:
    return unescape(client.get(url).content.decode())


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", "", html).split())


def test_the_page_shows_every_endpoint_field_error_and_header_of_the_document(reader: Client) -> None:
    html = read(reader)
    described = in_english()
    for path, operations in described["paths"].items():
        assert f"<b>{next(iter(operations)).upper()}</b> {path}</code>" in html
    for name in ("ChatRequest", "CompletionRequest", "EmbeddingRequest"):
        for field in schemas_of(described)[name]["properties"]:
            assert f"<code>{field}</code>" in html, field
    for name, response in described["components"]["responses"].items():
        assert f'id="error-{name.removeprefix("Error")}"' in html
        assert all(f"<code>{row['code']}</code>" in html for row in response["x-tertulia-codes"])
    assert all(f"<code>{name}</code>" in html for name in described["components"]["headers"])
    assert 'href="/v1/openapi.json"' in html


def test_every_link_within_the_page_leads_somewhere(reader: Client) -> None:
    offer("llama")
    html = read(reader)
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'href="#([^"]+)"', html)) - set(ids) == set()


@pytest.mark.parametrize(
    ("language", "heading", "told"),
    [
        ("en", "API reference", ["The key is missing", "1 – 10,000,000"]),
        ("es", "Referencia de la API", ["La clave falta", "1 – 10.000.000"]),
        ("fr", "Référence de l’API", ["La clé manque", "1 – 10\u202f000\u202f000"]),
    ],
)
def test_the_page_speaks_the_reader_s_language_and_the_document_english(
    reader: Client, alice: User, language: str, heading: str, told: list[str]
) -> None:
    alice.language = language
    alice.save(update_fields=["language"])
    html = read(reader)
    assert f"<h1>{heading}</h1>" in html
    assert all(words in html for words in told)
    _in_english.cache_clear()
    with translation.override(language):
        assert in_english()["paths"]["/v1/models/{model}"]["get"]["summary"] == "One model"


def test_commands_hold_the_reader_s_own_model_and_no_key(reader: Client) -> None:
    offer("Saptiva Turbo", "it's/a:8b")
    html = read(reader)
    assert '"model": "Saptiva Turbo"' in words(html)
    assert f"{settings.BASE_URL}/v1/models/Saptiva%20Turbo" in html
    assert "$TERTULIA_API_KEY" in html
    assert re.search(r"sk-tert-[0-9A-Za-z]{36}\b", html) is None


def test_a_command_is_one_word_to_the_shell_whatever_the_model_is_called(reader: Client) -> None:
    offer("it's")
    assert "it'\\''s" in read(reader)


def test_scanners_find_our_keys_by_the_pattern_that_the_page_gives(reader: Client) -> None:
    pattern = document(this_installation())["components"]["securitySchemes"]["key"]["x-tertulia-pattern"]
    assert pattern in read(reader)
    assert re.search(pattern, f"KEY={new_secret()}\n")
    assert re.fullmatch(pattern, "sk-tert-short") is None


@pytest.mark.parametrize("role", [Role.VIEWER, None])
def test_who_may_call_no_model_reads_the_page_without_the_form(client: Client, red: Team, role: Role | None) -> None:
    offer("llama")
    vera = make_person("Vera")
    if role:
        join(red, vera, role)
    client.force_login(vera)
    html = read(client)
    assert "/v1/chat/completions" in html
    assert '<form class="form' not in html
    assert client.post(TRY, {"text": "Hello"}).status_code == 403


def test_the_form_offers_the_models_of_the_team_alone(reader: Client, red: Team) -> None:
    offer("llama", "qwen")
    red.models = ["qwen"]
    red.save(update_fields=["models"])
    assert re.findall(r'<option value="([^"]+)">', read(reader)) == [
        "chat/completions", "completions", "embeddings", "qwen",
    ]  # fmt: skip


@pytest.mark.parametrize("models", [1, 3])
def test_the_page_asks_the_database_as_often_for_one_model_as_for_three(
    reader: Client, models: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    offer(*(f"model-{number}" for number in range(models)))
    reader.get(ADDRESS)  # the activity of the session is noted once
    with django_assert_num_queries(7):
        reader.get(ADDRESS)


# Trying it


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Path]:
    running = open_spool(tmp_path, rotate_seconds=0.05)
    yield tmp_path
    running.close()


@pytest.fixture
def tester(reader: Client, fault: FaultEngine, spool: Path) -> Client:
    """Alice, with the fault engine behind every model, and the snapshot that a web process has."""
    ensure_partitions()
    engine = Engine.objects.create(
        name="fault", type="openai", url=fault.url, secret=encrypt(SECRET), machine_name="ma02"
    )
    for name in ("plain", "fault:refuse", "fault:unicode", "fault:drip?n=4000&gap=0"):
        ServedModel.objects.create(engine=engine, public_id=name, engine_model=name)
    health.forget()
    holder._snapshot, holder._reached, holder.fresh = load(revision.current()), time.monotonic(), True
    return reader


def attempt(client: Client, *, htmx: bool = True, **fields: object) -> str:
    """What the page says of the call, without its markup."""
    asked = {"endpoint": "chat/completions", "model": "plain", "text": "Hola", **fields}
    answer = client.post(TRY, asked, headers={"HX-Request": "true"} if htmx else None)
    assert answer.status_code == 200
    return words(unescape(answer.content.decode()))


def the_row(root: Path) -> UsageRecord:
    time.sleep(0.06)  # until the spool's file may be closed
    Shipper(root).ship_once()
    Shipper(root).ship_once()
    return UsageRecord.objects.get()


@pytest.mark.spec("H4", "U1")
def test_a_call_that_is_tried_is_answered_and_stands_in_the_log_under_the_person_s_name(
    tester: Client, spool: Path, red: Team, alice: User
) -> None:
    told = attempt(tester, temperature="0.5", max_tokens="16")
    assert told.startswith("200 OK")
    assert "backend: engine_type=openai; machine_name=ma02" in told
    assert '"content": "word0 ' in told
    assert '"temperature": 0.5, "max_tokens": 16' in told  # the command
    row = the_row(spool)
    assert f"x-request-id: {row.id}" in told
    assert (row.team_id, row.member_name, row.origin, row.endpoint) == (red.pk, "Alice", "chat", "chat.completions")
    assert (row.outcome, row.status, row.prompt_tokens > 0) == ("ok", 200, True)


def test_a_stream_is_shown_event_by_event_as_it_came(tester: Client, spool: Path) -> None:
    told = attempt(tester, stream="on")
    assert told.count("data: {") > 2
    assert "data: [DONE]" in told
    assert '"stream": true' in told
    assert the_row(spool).stream is True


def test_a_text_completion_is_tried_by_its_prompt(tester: Client, fault: FaultEngine) -> None:
    assert attempt(tester, endpoint="completions").startswith("200 OK")
    assert fault.completions()[-1].body["prompt"] == "Hola"


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"temperature": "9"}, "400 Bad Request", "invalid_value"),
        ({"temperature": "warm"}, "400 Bad Request", "invalid_value"),
        ({"max_tokens": "1.5"}, "400 Bad Request", "invalid_value"),
        ({"text": ""}, "400 Bad Request", "missing_required_parameter"),
        ({"model": ""}, "400 Bad Request", "missing_required_parameter"),
        ({"model": "another team's"}, "404 Not Found", "model_not_found"),
        ({"model": "fault:refuse"}, "502 Bad Gateway", "bad_gateway"),
    ],
)
def test_what_is_wrong_is_said_in_the_api_s_own_error(
    tester: Client, fields: dict[str, str], status: str, code: str
) -> None:
    told = attempt(tester, **fields)
    assert told.startswith(status)
    assert f'"code": "{code}"' in told


def test_without_script_the_whole_page_comes_back_with_the_form_as_it_was_sent(tester: Client) -> None:
    told = attempt(tester, htmx=False, text="¿Qué tal?", max_tokens="7")
    assert "API reference" in told
    assert "200 OK" in told
    html = unescape(tester.post(TRY, {"text": "¿Qué tal?", "max_tokens": "7", "stream": "on"}).content.decode())
    assert "¿Qué tal?</textarea>" in html
    assert re.search(r'name="max_tokens" value="7"', html)
    assert re.search(r'name="stream"[^>]* checked', html)


def test_of_a_long_answer_only_the_beginning_is_shown(tester: Client, spool: Path) -> None:
    told = attempt(tester, model="fault:drip?n=4000&gap=0", stream="on")
    assert "The answer is longer than is shown here." in told
    assert len(told) < 2 * SHOWN
    assert the_row(spool).completion_tokens < 4000


def test_any_text_of_an_engine_can_be_shown(tester: Client) -> None:
    assert attempt(tester, model="fault:unicode").startswith("200 OK")
    assert attempt(tester, model="fault:unicode", stream="on").startswith("200 OK")
    half_a_pair = r'{"content": "\ud83d"}'
    assert laid_out(half_a_pair).split() == half_a_pair.replace("{", "{ ").replace("}", " }").split()


def test_the_numbers_of_a_vector_stand_on_one_line() -> None:
    shown = laid_out('{"embedding":[0.5,-1e-05,3],"empty":[]}')
    assert shown == '{\n  "embedding": [0.5, -1e-05, 3],\n  "empty": []\n}'


def test_the_form_tries_what_takes_a_body() -> None:
    assert {f"/v1/{path}" for path in TRIED} == ASKS.keys()


def test_a_call_is_tried_in_the_team_s_dialect(tester: Client, red: Team) -> None:
    red.dialect = "saptiva"
    red.save(update_fields=["dialect"])
    assert '"error": false, "status": 200' in attempt(tester)
    told = attempt(tester, temperature="1.5")
    assert told.startswith("422 Unprocessable")
    assert '"detail": "\'temperature\' must be a number between 0 and 1."' in told


def test_a_session_is_no_key_to_the_api(api: Api, client: Client, alice: User) -> None:
    client.force_login(alice)
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    answer = api.client.get("/v1/models", headers={"authorization": "", "cookie": cookie})
    assert answer.status_code == 401


@pytest.mark.timeout(30)  # the square of such a text would take minutes
def test_an_answer_that_is_cut_within_a_text_is_coloured_at_once() -> None:
    cut = '{"content": "' + '\\"' * 100_000
    assert [coloured(text).count("<span") for text in (cut, cut + "\\")] == [2, 2]
    assert coloured('{"a": "b\\"c", "d": 1.5, "e": null}').count("<span") == 6


def test_few_calls_are_tried_at_once_so_that_pages_keep_their_threads(tester: Client) -> None:
    with ExitStack() as stack:
        for _ in range(trial.MOST_AT_ONCE):
            trial._places.acquire()
            stack.callback(trial._places.release)
        told = attempt(tester)
        assert told.startswith("503 Service Unavailable")
        assert '"code": "overloaded"' in told
    assert attempt(tester).startswith("200 OK")
