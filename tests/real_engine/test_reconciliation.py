"""The accounts beside llama.cpp's own counters: equal to the token, and what stands between them when they are not."""

import csv
import io
import json
import time

import httpx
import pytest

from tests.browser.test_walk import server
from tests.real_engine.llamacpp import MODEL
from tests.real_engine.recorder import Recorder
from tests.real_engine.test_walk import WAYS, Row, call, exported
from tests.server import LiveServer

__all__ = ["server"]  # the fixture of the browser's walk

QUESTIONS = ["Once upon a time", "Once upon a time there was"]


@pytest.fixture
def secret(server: LiveServer, engine: Recorder) -> str:
    """A key of a team, with the engine connected and its counters read for the first time."""
    server.manage("add_engine", "--name", "llama", "--type", "llamacpp", "--url", engine.url)
    server.manage("reconcile")
    team = server.manage("create_team", "--name", "Counted", "--owner", "counted@example.org").stdout.strip()
    return server.manage("create_key", "--team", team, "--name", "counted").stdout.strip()


@pytest.mark.timeout(600)
def test_llama_cpps_counters_and_the_accounts_agree_to_the_token(
    server: LiveServer, engine: Recorder, secret: str
) -> None:
    before = len(engine.reported)
    for question in QUESTIONS:
        for how in WAYS:
            call(server, secret, question, **how)
    post(server, secret, "/v1/embeddings", {"model": MODEL, "input": ["Hola", "a longer text of some words"]})
    post(server, secret, "/v1/completions", {"model": MODEL, "prompt": "Roses are", "max_tokens": 5})
    exported_of(server, wanted=8)

    row = reconciled(server)

    reported = engine.reported[before:]
    assert len(reported) == 8
    assert (row["state"], row["gap_tokens"]) == ("equal", "0")
    assert int(row["engine_prompt_tokens"]) == sum(one.prompt_tokens for one in reported)
    assert int(row["engine_completion_tokens"]) == sum(one.completion_tokens for one in reported)
    assert (row["engine_requests"], row["gateway_requests"]) == ("", "8")

    usage = direct(engine, {"messages": [{"role": "user", "content": "Past the gateway"}], "max_tokens": 7})
    assert int(reconciled(server)["gap_tokens"]) == usage["total_tokens"]


@pytest.mark.timeout(600)
def test_what_llama_cpp_made_for_a_caller_who_left_is_in_its_counters(
    server: LiveServer, engine: Recorder, secret: str
) -> None:
    body = {"model": MODEL, "stream": True, "max_tokens": 400, "messages": [{"role": "user", "content": "Tell a tale"}]}
    headers = {"authorization": f"Bearer {secret}"}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=120) as answer:
        seen = sum(1 for _, line in zip(range(24), answer.iter_lines(), strict=False) if '"content":"' in line)
    (logged,) = exported_of(server, wanted=1)
    wait_until_idle(engine)

    row = reconciled(server)

    assert (logged["outcome"], logged["completion_source"]) == ("client_gone", "counted")
    assert logged["completion_tokens"] >= seen > 0
    made = int(row["engine_completion_tokens"])
    assert logged["completion_tokens"] <= made < 400  # cut off at the engine too, some tokens later
    guessed = logged["prompt_tokens"] + logged["completion_tokens"]
    assert int(row["guessed_tokens"]) == guessed
    assert int(row["gap_tokens"]) == int(row["engine_prompt_tokens"]) + made - guessed


def post(server: LiveServer, secret: str, path: str, body: Row) -> None:
    headers = {"authorization": f"Bearer {secret}"}
    httpx.post(server.url + path, json=body, headers=headers, timeout=120).raise_for_status()


def direct(engine: Recorder, body: Row) -> Row:
    answer = httpx.post(f"{engine.upstream}/v1/chat/completions", json={"model": MODEL, **body}, timeout=120)
    usage: Row = answer.raise_for_status().json()["usage"]
    return usage


def exported_of(server: LiveServer, *, wanted: int) -> list[Row]:
    rows = exported(server, wanted=wanted, team="counted")
    assert len(rows) == wanted
    return rows


def wait_until_idle(engine: Recorder) -> None:
    until = time.monotonic() + 60
    while any(slot["is_processing"] for slot in httpx.get(f"{engine.upstream}/slots", timeout=10).json()):
        assert time.monotonic() < until
        time.sleep(0.1)


def reconciled(server: LiveServer) -> Row:
    printed = server.manage("reconcile", "--days", "1", "--format", "csv").stdout
    (row,) = [row for row in csv.DictReader(io.StringIO(printed)) if row["engine"] == "llama"]
    assert json.loads(row["restarts"]) == 0
    return row
