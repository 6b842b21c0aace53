"""What the pages of Cloud Temple's LLMaaS and of Saptiva's text API promise: their requests, sent as they are printed,
and the answers they show, put right where a page contradicts itself (Saptiva's sample answers Mexico to a question on
France, its `options` is a list with an object in it, and reasoning is part of the completion).
"""

import json
from typing import Any

import httpx
import pytest

from accounts.models import Team
from gateway.catalogue import add_engine
from gateway.models import Engine, ServedModel
from tests.factories import make_key
from tests.gateway.conftest import Api

WORDS = "".join(f"word{i} " for i in range(20))
CLOUD_TEMPLE = """{
    "model": "granite3.3:8b",
    "messages": [
      {
        "role": "user", 
        "content": "Salut ! Peux-tu te présenter en français ?"
      }
    ],
    "max_tokens": 200,
    "temperature": 0.7
  }"""  # noqa: W291  to the letter
SAPTIVA = """{
  "model": "Saptiva Turbo",
  "messages": [
    {
      "role": "system",
      "content": "Eres un agente servicial"
    },
    {
      "role": "user",
      "content": "¿Cuál es la capital de Francia?"
    }
  ],
  "max_tokens": 256,
  "temperature": 0.7,
  "top_p": 0.95
}"""


@pytest.fixture
def seeds(api: Api) -> Api:
    """The models of both pages, each under its public name."""
    engine = Engine.objects.get(name="fault")
    for name in ("granite3.3:8b", "Saptiva Turbo"):
        ServedModel.objects.create(engine=engine, public_id=name, engine_model="plain", context_length=60_000)
    api.reload()
    return api


def curl(api: Api, body: str, *, secret: str = "") -> httpx.Response:
    headers = {"content-type": "application/json", "authorization": f"Bearer {secret or api.secret}"}
    return httpx.post(f"{api.url}/v1/chat/completions", content=body.encode(), headers=headers, trust_env=False)


def speak(api: Api, red: Team, dialect: str) -> None:
    Team.objects.filter(pk=red.pk).update(dialect=dialect)
    api.reload()


def golden(model: str, *, prompt: int) -> dict[str, Any]:
    """The fields that both pages show, and OpenAI's place for the reasoning."""
    return {
        "id": "",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": WORDS}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": 20,
            "total_tokens": prompt + 20,
            "reasoning_tokens": 0,
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "backend": {"engine_type": "openai", "machine_name": "ma02"},
    }


@pytest.mark.spec("A1", "A2", "H4")
def test_cloud_temples_curl_gets_the_answer_of_its_page(seeds: Api) -> None:
    response = curl(seeds, CLOUD_TEMPLE)
    body = response.json()
    assert response.status_code == 200
    assert body | {"id": ""} == golden("granite3.3:8b", prompt=11)
    assert body["id"].startswith("chatcmpl-")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["id"] == str(seeds.row().id)
    assert response.headers["backend"] == "engine_type=openai; machine_name=ma02"


@pytest.mark.spec("H5", "C7", "C8")
def test_cloud_temples_request_reaches_the_engine_as_it_was_written(seeds: Api) -> None:
    curl(seeds, CLOUD_TEMPLE)
    assert seeds.engine.completions()[0].body == json.loads(CLOUD_TEMPLE) | {"model": "plain"}


@pytest.mark.spec("C7", "T1")
def test_every_parameter_of_cloud_temples_table_is_taken(seeds: Api) -> None:
    given = {"max_tokens": 200, "temperature": 2.0, "top_p": 0.5, "user": "end-user-7"}
    streamed = seeds.stream("granite3.3:8b", **given)
    assert streamed.done
    seen = seeds.engine.completions()[0].body
    assert {name: seen[name] for name in given} == given
    assert seen["stream"] is True
    assert seeds.row().end_user == "end-user-7"


@pytest.mark.spec("M1", "H6")
def test_cloud_temples_list_shows_its_card(seeds: Api) -> None:
    listed = httpx.get(f"{seeds.url}/v1/models", headers={"authorization": f"Bearer {seeds.secret}"}, trust_env=False)
    (card,) = [card for card in listed.json()["data"] if card["id"] == "granite3.3:8b"]
    created = card["created"]
    assert card == {
        "id": "granite3.3:8b",
        "object": "model",
        "created": created,
        "owned_by": "tertulia",
        "root": "granite3.3:8b",
        "aliases": ["granite3.3:8b"],
        "parent": None,
        "max_model_len": 60_000,
        "permission": [
            {
                "id": f"modelperm-granite3.3:8b-{created}",
                "object": "model_permission",
                "created": created,
                "allow_create_engine": False,
                "allow_sampling": True,
                "allow_logprobs": True,
                "allow_search_indices": False,
                "allow_view": True,
                "allow_fine_tuning": False,
                "organization": "*",
                "group": None,
                "is_blocking": False,
            }
        ],
    }


@pytest.mark.spec("A1", "C1", "H6")
def test_saptivas_curl_is_answered_also_where_its_dialect_is_not_spoken(seeds: Api) -> None:
    body = curl(seeds, SAPTIVA).json()
    assert body | {"id": ""} == golden("Saptiva Turbo", prompt=16)
    assert seeds.engine.completions()[0].body == json.loads(SAPTIVA) | {"model": "plain"}


@pytest.mark.spec("A3")
def test_saptivas_curl_gets_the_answer_of_its_page_in_its_dialect(seeds: Api, red: Team) -> None:
    speak(seeds, red, "saptiva")
    wanted = golden("Saptiva Turbo", prompt=16)
    wanted["choices"][0]["message"]["tool_calls"] = []
    assert curl(seeds, SAPTIVA).json() | {"id": ""} == wanted | {"error": False, "status": 200}


@pytest.mark.spec("C1")
def test_only_model_and_messages_are_obligatory(seeds: Api) -> None:
    body = {"model": "Saptiva Turbo", "messages": [{"role": "user", "content": "hola"}]}
    assert curl(seeds, json.dumps(body)).status_code == 200
    assert seeds.engine.completions()[0].body == body | {"model": "plain"}


@pytest.mark.spec("C5")
@pytest.mark.parametrize("stream", [True, False])
def test_num_ctx_reaches_ollama_natively(api: Api, stream: bool) -> None:
    engine = add_engine(name="ollama", type="ollama", url=api.engine.url, secret="sk-engine-canary-0123456789")
    ServedModel.objects.create(engine=engine, public_id="Saptiva Legacy", engine_model="plain", context_length=8192)
    api.reload()
    response = api.chat("Saptiva Legacy", options={"num_ctx": 4096}, stream=stream, temperature=0.5)
    seen = api.engine.completions()[0]
    assert response.status_code == 200
    assert (seen.path, seen.body["options"]) == ("/api/chat", {"num_ctx": 4096, "temperature": 0.5})
    assert "x-tertulia-ignored" not in response.headers
    assert response.headers["backend"].startswith("engine_type=ollama;")
    assert api.row().completion_tokens == 20


@pytest.mark.spec("C5", "H5")
@pytest.mark.parametrize("stream", [True, False])
def test_options_are_dropped_elsewhere_and_named(api: Api, stream: bool) -> None:
    response = api.chat(options={"num_ctx": 4096}, stream=stream)
    assert response.status_code == 200
    assert response.headers["x-tertulia-ignored"] == "options"
    assert "options" not in api.engine.completions()[0].body


@pytest.mark.spec("C5")
@pytest.mark.parametrize(("options", "param"), [([{"num_ctx": 1}], "options"), ({"num_ctx": "9"}, "options.num_ctx")])
def test_options_are_an_object_with_a_whole_number(api: Api, options: object, param: str) -> None:
    error = api.chat(options=options).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_value", param)


@pytest.mark.spec("A3", "C2")
@pytest.mark.parametrize("stream", [True, False])
def test_in_saptivas_dialect_a_bad_parameter_is_422_with_a_detail(seeds: Api, red: Team, stream: bool) -> None:
    speak(seeds, red, "saptiva")
    response = seeds.chat("Saptiva Turbo", temperature=1.01, stream=stream)
    told = response.json()
    assert response.status_code == 422
    assert told["detail"] == told["error"]["message"] == "'temperature' must be a number between 0 and 1."
    assert told["error"]["param"] == "temperature"
    assert seeds.chat("Saptiva Turbo", temperature=1, stream=stream).status_code == 200


@pytest.mark.spec("A3")
def test_in_saptivas_dialect_other_errors_keep_their_status_and_have_a_detail(seeds: Api, red: Team) -> None:
    speak(seeds, red, "saptiva")
    missing, broken = seeds.chat("Saptiva Turb"), seeds.chat("fault:status")
    late = seeds.stream("fault:error-late").events[-1]
    assert (missing.status_code, broken.status_code) == (404, 502)
    for told in (missing.json(), broken.json(), late):
        assert told["detail"] == told["error"]["message"]


@pytest.mark.spec("A3", "T2")
def test_in_saptivas_dialect_a_stream_is_openais(seeds: Api, red: Team) -> None:
    speak(seeds, red, "saptiva")
    streamed = seeds.stream("Saptiva Turbo")
    assert (streamed.text, streamed.done) == (WORDS, True)
    assert not any("error" in event or "status" in event for event in streamed.events)


@pytest.mark.spec("A3")
def test_an_engines_tool_calls_are_kept_in_saptivas_dialect(seeds: Api, red: Team) -> None:
    speak(seeds, red, "saptiva")
    message = seeds.chat("fault:tool").json()["choices"][0]["message"]
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["weather"]


@pytest.mark.spec("A3", "C1")
@pytest.mark.parametrize("absent", ["max_tokens", "temperature", "top_p"])
def test_strict_saptiva_needs_its_obligatory_parameters(seeds: Api, red: Team, absent: str) -> None:
    body = {name: value for name, value in json.loads(SAPTIVA).items() if name != absent}
    assert curl(seeds, json.dumps(body)).status_code == 200
    speak(seeds, red, "saptiva")
    assert curl(seeds, json.dumps(body)).status_code == 200
    speak(seeds, red, "saptiva-strict")
    refused = curl(seeds, json.dumps(body))
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, absent)
    assert curl(seeds, SAPTIVA).status_code == 200


@pytest.mark.spec("A3")
def test_a_keys_own_dialect_wins_over_its_teams(seeds: Api, red: Team) -> None:
    own = make_key(red, dialect="saptiva").secret
    assert curl(seeds, SAPTIVA, secret=own).json()["status"] == 200
    assert "status" not in curl(seeds, SAPTIVA).json()
    speak(seeds, red, "saptiva-strict")
    plain = make_key(red, dialect="openai").secret
    short = json.dumps({"model": "Saptiva Turbo", "messages": [{"role": "user", "content": "x"}], "temperature": 2})
    answered = curl(seeds, short, secret=plain)
    assert answered.status_code == 200
    assert answered.json().keys() == {"id", "object", "created", "model", "choices", "usage", "backend"}
    assert curl(seeds, short).status_code == 422


@pytest.mark.spec("H6", "C8")
def test_names_with_spaces_work_in_bodies_and_in_addresses(seeds: Api) -> None:
    card = seeds.client.get("/v1/models/Saptiva%20Turbo")
    assert (card.status_code, card.json()["id"]) == (200, "Saptiva Turbo")
    for asked in ("Saptiva Turbo", "saptiva turbo"):
        assert {event["model"] for event in seeds.stream(asked).events} == {asked}
    assert {row.model for row in seeds.rows(2)} == {"Saptiva Turbo"}
