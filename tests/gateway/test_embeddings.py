"""/v1/embeddings: what goes in, vectors in the encoding that was asked for, and what they cost."""

import base64
import json
import struct
from typing import Any

import httpx
import openai
import pytest

from accounts.models import Team
from billing.models import UsageRecord
from gateway.embeddings import read
from gateway.errors import UnreadableAnswer
from tests.engines.faultd import CANARY, packed, vector
from tests.gateway.conftest import Api

ONE, TWO = vector("one text"), vector("two")


def embed(api: Api, given: object = "one text", model: str = "fault:embed", **more: Any) -> httpx.Response:
    if model.startswith("fault:"):
        api.serve(model)
    return api.client.post("/v1/embeddings", json={"model": model, "input": given, **more})


def vectors(response: httpx.Response) -> list[Any]:
    assert response.status_code == 200, response.text
    return [one["embedding"] for one in response.json()["data"]]


def counted(row: UsageRecord) -> tuple[str, int, int, str]:
    return row.endpoint, row.prompt_tokens, row.completion_tokens, row.prompt_source


@pytest.mark.spec("A1", "H1", "H4")
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/embeddings/"])
def test_a_text_is_answered_in_openais_form(api: Api, path: str) -> None:
    response = api.client.post(path, json={"model": "plain", "input": "one text"})
    assert response.status_code == 200
    assert response.json() == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": ONE}],
        "model": "plain",
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
        "backend": {"engine_type": "openai", "machine_name": "ma02"},
    }
    assert api.engine.completions()[0].path == "/v1/embeddings"
    assert response.headers["id"] == str(api.row().id)
    assert response.headers["backend"] == "engine_type=openai; machine_name=ma02"


@pytest.mark.spec("U1")
@pytest.mark.parametrize(
    ("given", "wanted", "tokens"),
    [
        ("one text", ["one text"], 2),
        (["one text", "two"], ["one text", "two"], 3),
        ([5, 6, 7], [[5, 6, 7]], 3),
        ([[5, 6], [7]], [[5, 6], [7]], 3),
    ],
)
@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_texts_and_token_ids_alone_and_in_lists(
    api: Api, given: object, wanted: list[Any], tokens: int, encoding: str | None
) -> None:
    found = vectors(embed(api, given, encoding_format=encoding))
    assert found == [packed(vector(one)) if encoding == "base64" else vector(one) for one in wanted]
    assert api.engine.completions()[0].body["input"] == given
    assert counted(api.row()) == ("embeddings", tokens, 0, "upstream")


@pytest.mark.parametrize(("wanted", "used"), [("float", "base64"), ("base64", "float")])
def test_vectors_come_as_asked_for_although_the_engine_has_its_own_mind(api: Api, wanted: str, used: str) -> None:
    found = vectors(embed(api, ["one text", "two"], f"fault:embed?encoding={used}", encoding_format=wanted))
    assert found == ([packed(ONE), packed(TWO)] if wanted == "base64" else [ONE, TWO])


def test_vectors_as_asked_for_keep_every_byte(api: Api) -> None:
    """The engine writes its JSON with an indent, which nobody else here does."""
    response = embed(api, ["one text", "two"])
    data = [{"object": "embedding", "index": place, "embedding": one} for place, one in enumerate([ONE, TWO])]
    raw = json.dumps({"data": data}, indent=1)
    assert raw[raw.index("[") : -2].encode() in response.content


def test_what_an_engine_adds_to_a_vector_stays_here(api: Api) -> None:
    response = embed(api, ["one text", "two"], "fault:embed?odd=extra")
    assert vectors(response) == [ONE, TWO]
    assert CANARY not in response.text


@pytest.mark.parametrize("used", ["float", "base64"])
def test_vectors_out_of_order_keep_their_places(api: Api, used: str) -> None:
    data = embed(api, ["one text", "two"], f"fault:embed?odd=order&encoding={used}").json()["data"]
    assert {one["index"]: one["embedding"] for one in data} == {0: ONE, 1: TWO}


@pytest.mark.spec("T4", "F07")
def test_an_engine_that_does_not_count_is_estimated_for(api: Api) -> None:
    response = embed(api, "a" * 35, "fault:embed?usage=0")
    assert response.json()["usage"] == {"prompt_tokens": 10, "total_tokens": 10}
    assert counted(api.row()) == ("embeddings", 10, 0, "estimated")


@pytest.mark.spec("T4", "F07")
def test_token_ids_that_nobody_counted_are_counted_here(api: Api) -> None:
    embed(api, [[5, 6], [7]], "fault:embed?usage=0")
    assert counted(api.row()) == ("embeddings", 3, 0, "estimated")


@pytest.mark.spec("C1", "C2")
@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a", 5]}, "input"),
        ({"input": [5, "a"]}, "input"),
        ({"input": [[5], "a"]}, "input"),
        ({"input": [[5], []]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": [1.5]}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"encoding_format": ["float"]}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 10**6}, "dimensions"),
        ({"stream": True}, "stream"),
        ({"user": 5}, "user"),
        ({"model": None}, "model"),
    ],
)
def test_bad_input_is_named_and_goes_nowhere(api: Api, change: dict[str, Any], param: str) -> None:
    response = api.client.post("/v1/embeddings", json={"model": "plain", "input": "one text", **change})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert api.engine.completions() == []


def test_2048_texts_at_once_are_taken(api: Api) -> None:
    assert len(vectors(embed(api, ["one text"] * 2048))) == 2048


@pytest.mark.spec("F06", "F09", "H3")
@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("fault:embed?odd=nan", "float"),
        ("fault:embed?odd=nan", "base64"),
        ("fault:embed?odd=nan64", "float"),
        ("fault:embed?odd=word", "float"),
        ("fault:embed?odd=short", "float"),
        ("fault:embed?odd=text", "float"),
        ("fault:embed?odd=object", "float"),
        ("fault:embed?odd=null", "base64"),
        ("fault:embed?encoding=float&odd=big", "base64"),
        ("fault:html", "float"),
        ("fault:error200", "float"),
        ("fault:status", "base64"),
        ("fault:json", "float"),
    ],
)
def test_what_is_no_vector_is_a_502_and_costs_nothing(api: Api, model: str, encoding: str) -> None:
    response = embed(api, "one text", model, encoding_format=encoding)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "bad_gateway"
    row = api.row()
    assert (row.prompt_tokens, row.status) == (0, 502)


def test_an_answer_in_another_alphabet_than_utf8_is_no_answer() -> None:
    answer = json.dumps({"data": [{"object": "embedding", "index": 0, "embedding": ONE}]})
    assert read(answer.encode())["data"][0]["embedding"] == ONE
    for encoded in (answer.encode("utf-16"), b"\xff" + answer.encode()):
        with pytest.raises(UnreadableAnswer):
            read(encoded)


@pytest.mark.spec("F09")
def test_an_engine_without_embeddings_says_so_in_its_words(api: Api) -> None:
    api.serve("fault:refuses")
    refusal = {"error": {"message": "This model does not support embeddings", "type": "BadRequestError", "code": 400}}
    error = embed(api, model="fault:refuses", refusal=refusal).json()["error"]
    assert (error["message"], error["code"]) == ("This model does not support embeddings", "invalid_value")


def test_openais_client_makes_embeddings_by_default_and_as_numbers(api: Api) -> None:
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key=api.secret, max_retries=0) as client:
        default = client.embeddings.create(model="plain", input=["one text", "two"])
        numbers = client.embeddings.create(model="plain", input="one text", encoding_format="float")
        small = client.embeddings.create(model="plain", input="one text", dimensions=2)
    assert api.engine.completions()[0].body["encoding_format"] == "base64"
    assert [one.embedding for one in default.data] == [ONE, TWO]
    assert numbers.data[0].embedding == ONE
    assert small.data[0].embedding == vector("one text", 2)
    assert (default.usage.prompt_tokens, default.usage.total_tokens) == (3, 3)
    assert [row.prompt_tokens for row in api.rows(3)] == [3, 2, 2]


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_ollama_makes_embeddings_natively(api: Api, encoding: str) -> None:
    api.offer("ollama", type="ollama", defaults={"temperature": 1})
    response = embed(api, ["one text", "two"], "shared", encoding_format=encoding, options={"num_ctx": 512})
    assert vectors(response) == ([packed(ONE), packed(TWO)] if encoding == "base64" else [ONE, TWO])
    seen = api.engine.completions()[0]
    assert (seen.path, seen.body) == (
        "/api/embed",
        {"model": "plain", "input": ["one text", "two"], "options": {"num_ctx": 512}},
    )
    assert counted(api.row()) == ("embeddings", 3, 0, "upstream")


def test_ollama_makes_them_as_long_as_asked_for(api: Api) -> None:
    api.offer("ollama", type="ollama")
    assert vectors(embed(api, "one text", "shared", dimensions=2)) == [vector("one text", 2)]


def test_ollama_takes_no_token_ids(api: Api) -> None:
    api.offer("ollama", type="ollama")
    error = embed(api, [[5, 6]], "shared").json()["error"]
    assert (error["message"], error["param"]) == ("This model takes text, not token ids.", "input")
    assert api.row().status == 400


def test_the_demo_makes_none(api: Api) -> None:
    api.offer("demo", type="demo", url="", public="demo", model="demo")
    response = api.client.post("/v1/embeddings", json={"model": "demo", "input": "x"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "model")
    assert counted(api.row()) == ("embeddings", 0, 0, "none")


@pytest.mark.spec("A3")
def test_in_saptivas_dialect_embeddings_have_a_status_too(api: Api, red: Team) -> None:
    Team.objects.filter(pk=red.pk).update(dialect="saptiva")
    api.reload()
    told = api.client.post("/v1/embeddings", json={"model": "plain", "input": "one text"}).json()
    assert (told["error"], told["status"]) == (False, 200)


def test_base64_is_of_little_endian_floats() -> None:
    assert struct.unpack("<4f", base64.b64decode(packed(ONE))) == tuple(ONE)


def test_a_number_of_choices_is_no_matter_to_embeddings(api: Api) -> None:
    api.offer("llama", type="llamacpp", model="fault:embed")
    response = api.client.post("/v1/embeddings", json={"model": "shared", "input": "Hola", "n": 3})
    assert response.status_code == 200, response.text
