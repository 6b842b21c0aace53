"""The clients people use work unchanged: only the address and the key are ours. Every call is a row with its counts."""

import json
import shutil
from pathlib import Path

import pytest

from tests.clients.conftest import CLIENTS, EMBEDDING, FAULTS, HERE, NAMES, OURS, Account, Json
from tests.real_engine.llamacpp import MODEL

PYTHON = CLIENTS / "python"
# The first is what openai's users have today, the second what LiteLLM still asks for.
OPENAI = pytest.mark.parametrize("python", [OURS, PYTHON], ids=["newest openai", "older openai"])


def error(kind: str, status: int, code: str, *, param: str | None = None, attempts: int = 1) -> Json:
    return {"class": kind, "status": status, "code": code, "param": param, "named": True, "attempts": attempts}


# What both clients of openai's make of each refusal.
FAILURES = {
    "wrong key": error("AuthenticationError", 401, "invalid_api_key"),
    "unknown model": error("NotFoundError", 404, "model_not_found", param="model"),
    "bad parameter": error("BadRequestError", 400, "invalid_value", param="temperature"),
    "engine away": error("InternalServerError", 503, "service_unavailable", attempts=3),
    "engine busy": error("RateLimitError", 429, "engine_busy", attempts=3),
    # Clients try again after a 409, but not after one that says that it is no use.
    "repeated": error("ConflictError", 409, "idempotency_conflict"),
    "repeated otherwise": error("UnprocessableEntityError", 422, "idempotency_mismatch"),
}
LENGTH = 640  # of llama.cpp's vectors

pytestmark = pytest.mark.timeout(300)


@OPENAI
@pytest.mark.spec("H2", "H4", "H6", "A1", "T2", "T3", "T4", "P1", "M1")
def test_openai_for_python(account: Account, python: Path) -> None:
    said = account.said(python, HERE / "with_openai.py")
    assert all(call["text"] and call["request_id"] for call in said["calls"])
    assert [call["usage"] is None for call in said["calls"]] == [number == 3 for number in range(9)]
    assert said["models"] == said["retrieved"] == sorted([*NAMES, *FAULTS])
    check_vectors(said["embeddings"][:3])
    assert [len(answer["vectors"]) for answer in said["embeddings"][3:]] == [1, 2]
    account.check([*said["calls"], *said["embeddings"]])


@pytest.mark.spec("H2", "H4", "C2", "T5", "R16")
def test_openai_for_python_retries_what_may_pass_and_nothing_else(account: Account) -> None:
    said = account.said(OURS, HERE / "with_openai_failing.py")
    broken = said.pop("broken off")
    assert (broken["text"], broken["class"]) == ("word0 word1 word2 word3 word4 ", "APIError")
    assert "engine" in broken["message"]
    assert said == FAILURES
    rows = account.rows(8)
    assert [row["status"] for row in rows] == [503] * 3 + [429] * 3 + [502, 200]
    assert {row["outcome"] for row in rows[:7]} == {"upstream_error"}


@pytest.mark.spec("H4", "H6", "A1", "T2", "T3", "T4", "P1", "M1")
def test_openai_for_node(account: Account) -> None:
    said = account.said(node(), HERE / "with_openai.mjs")
    assert all(call["text"] for call in said["calls"])
    assert [call["usage"] is None for call in said["calls"]] == [False, True, False, False, False]
    helped = said["calls"][3]
    assert (helped["role"], helped["finished"]) == ("assistant", True)
    assert said["models"] == said["retrieved"] == sorted([*NAMES, *FAULTS])
    check_vectors(said["embeddings"])
    account.check([*said["calls"], *said["embeddings"]])


@pytest.mark.spec("H2", "H4", "C2", "T2", "T5", "R16")
def test_openai_for_node_retries_what_may_pass_and_nothing_else(account: Account) -> None:
    said = account.said(node(), HERE / "with_openai.mjs", "failing")
    broken = said.pop("broken off")
    assert (broken["text"], broken["class"]) == ("word0 word1 word2 word3 word4 ", "APIError")
    assert said.pop("tool") == ['{"city": "Lugo"}']
    assert said == FAILURES
    assert [row["status"] for row in account.rows(9)] == [503] * 3 + [429] * 3 + [502, 200, 200]


@pytest.mark.spec("T2", "T3", "T4", "C4")
def test_langchain(account: Account) -> None:
    said = account.said(PYTHON, HERE / "with_langchain.py", TIKTOKEN_CACHE_DIR=tokenizers())
    assert all(call["text"] and call["finished"] for call in said["calls"])
    assert [call["usage"] is not None for call in said["calls"][:4]] == [True, True, True, False]
    check_vectors(said["embeddings"][:2])
    text, _, ids = said["embeddings"]
    assert lengths(ids) == [LENGTH, LENGTH]
    assert ids["vectors"][0] != pytest.approx(text["vectors"][0], abs=0.001)  # OpenAI's token ids are other words here
    account.check([*said["calls"], *said["embeddings"]])


@pytest.mark.spec("T3", "A1")
def test_litellm(account: Account) -> None:
    said = account.said(PYTHON, HERE / "with_litellm.py", LITELLM_LOCAL_MODEL_COST_MAP="True")
    assert all(call["text"] for call in said["calls"])
    assert said["errors"] == {
        "wrong key": "AuthenticationError",
        "unknown model": "NotFoundError",
        "bad parameter": "BadRequestError",
        "engine away": "ServiceUnavailableError",
        "engine busy": "RateLimitError",
    }
    check_vectors(said["embeddings"])
    account.check([*said["calls"], *said["embeddings"]], failed=2)


@pytest.mark.spec("T3", "P1")
def test_llm_on_the_command_line(account: Account, tmp_path: Path) -> None:
    offered = {"model_name": MODEL, "api_base": account.base_url, "api_key_name": "console"}
    models = [{"model_id": "ours", **offered}, {"model_id": "ours-completing", "completion": True, **offered}]
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps(models))  # JSON is YAML
    (tmp_path / "keys.json").write_text(json.dumps({"console": account.secret}))

    def llm(*words: str) -> str:
        return account.run(CLIENTS / "llm", *words, LLM_USER_PATH=str(tmp_path))

    ask = ("-o", "max_tokens", "4", "The capital of France is")
    printed = [llm("-m", "ours", *ask), llm("-m", "ours", "--no-stream", *ask), llm("-m", "ours-completing", *ask)]
    logged = json.loads(llm("logs", "list", "--json", "-n", "0"))
    assert [text.strip() for text in printed] == [entry["response"].strip() for entry in logged]
    assert all(text.strip() for text in printed)
    usages = [entry["input_tokens"] and [entry["input_tokens"], entry["output_tokens"]] for entry in logged]
    assert [usage is not None for usage in usages] == [True, True, False]  # of a text completion it keeps none
    vector = json.loads(llm("embed", "-m", EMBEDDING, "-c", "The capital of France"))
    assert len(vector) == LENGTH
    calls = [{"id": entry["response_json"]["id"], "usage": usage} for entry, usage in zip(logged, usages, strict=True)]
    account.check([*calls, {}])


@pytest.mark.spec("H5", "H6", "T1", "T3", "M1")
def test_open_webui(account: Account) -> None:
    said = account.said(OURS, HERE / "with_open_webui.py")
    assert said["models"] == sorted([*NAMES, *FAULTS])
    assert all(call["text"] and call["status"] == 200 for call in said["calls"])
    assert [call["streamed"] for call in said["calls"]] == [True, False]
    assert (said["error"]["status"], said["error"]["error"]["code"]) == (404, "model_not_found")
    account.check(said["calls"])


@pytest.mark.spec("H2", "U3")
def test_plain_http(account: Account) -> None:
    said = account.said(OURS, HERE / "with_plain_http.py")
    account.check(said["calls"])
    (call,) = said["calls"]
    assert call["length"] == LENGTH
    for period in ("today", "month"):
        assert said["before"][period]["requests"] == 0
        used = said["after"][period]
        assert [used["requests"], used["prompt_tokens"], used["completion_tokens"]] == [1, *call["usage"]]
        assert [model["model"] for model in used["models"]] == [MODEL]
    assert said["described"]["servers"] == [{"url": account.server.url}]
    assert "/v1/usage" in said["described"]["paths"]


def check_vectors(answers: list[Json]) -> None:
    """The same two texts, in one encoding and the other: the same two vectors."""
    for answer in answers:
        assert lengths(answer) == [LENGTH, LENGTH]
        for vector, first in zip(answer["vectors"], answers[0]["vectors"], strict=True):
            assert vector == pytest.approx(first, abs=0.001)
    one, other = answers[0]["vectors"]
    assert one != pytest.approx(other, abs=0.001)


def lengths(answer: Json) -> list[int]:
    return [len(vector) for vector in answer["vectors"]]


def tokenizers() -> str:
    """The folder of LiteLLM's where tiktoken's tables lie, so that nothing is fetched."""
    (found,) = CLIENTS.parent.glob("lib/python*/site-packages/litellm/litellm_core_utils/tokenizers")
    return str(found)


def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed, so openai for Node was not tried.")
    return found
