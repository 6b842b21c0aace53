"""The newcomer's walk on a real engine: every count in the log is the one that llama.cpp reported, token for token."""

import json
import time
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import chromium, page, visitor
from tests.browser.steps import create_key
from tests.browser.test_walk import enter_by, link, server
from tests.real_engine.llamacpp import MODEL
from tests.real_engine.recorder import Recorder
from tests.server import LiveServer

__all__ = ["chromium", "link", "page", "server", "visitor"]  # fixtures of the browser's walk

QUESTIONS = ["Once upon a time", "The capital of France is", "Hola, ¿qué tal?", "def main():", "🇲🇽 México"]
ANSWERED = 120_000  # ms until an answer of the longest kind must be there
LIMIT = 24  # tokens of an answer by the API

type Row = dict[str, Any]


@pytest.mark.timeout(600)
def test_the_log_has_the_counts_of_llama_cpp_token_for_token(
    page: Page, link: str, server: LiveServer, engine: Recorder
) -> None:
    engine.reported.clear()  # what other tests asked it
    imported = server.manage("add_engine", "--name", "llama", "--type", "llamacpp", "--url", engine.url).stdout
    assert imported.split() == [MODEL]
    enter_by(link, page)
    for question in QUESTIONS:
        chat(page, question)
    page.goto("/t/main/keys/")
    secret = create_key(page, "newsletter")
    answers = [call(server, secret, question, **how) for question in QUESTIONS for how in WAYS]

    rows = exported(server, wanted=20)
    by_id = {row["request_id"]: row for row in rows}
    assert len(by_id) == len(rows) == 20
    assert {(row["prompt_source"], row["completion_source"], row["outcome"]) for row in rows} == {
        ("upstream", "upstream", "ok")
    }
    reported = {one.answer_id: (one.prompt_tokens, one.completion_tokens) for one in engine.reported}
    for request_id, answer_id, usage in answers:
        row = by_id[request_id]
        assert (row["prompt_tokens"], row["completion_tokens"]) == reported[answer_id]
        assert usage in (None, reported[answer_id])
    assert sorted((row["prompt_tokens"], row["completion_tokens"]) for row in rows) == sorted(reported.values())
    assert [row["origin"] for row in rows].count("chat") == len(QUESTIONS)
    assert server.manage("usage_audit").returncode == 0
    see_totals(page, *map(sum, zip(*reported.values(), strict=True)))


WAYS: list[Row] = [
    {"stream": False},
    {"stream": True},
    {"stream": True, "stream_options": {"include_usage": True}},
]


def chat(page: Page, question: str) -> None:
    page.goto("/chat/")
    page.get_by_label("Your question").fill(question)
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".answer .tally")).to_be_visible(timeout=ANSWERED)


def call(server: LiveServer, secret: str, question: str, **how: Any) -> tuple[str, str, tuple[int, int] | None]:
    """Request id, the id in the answer's body, and the usage that the caller was shown."""
    body = {"model": MODEL, "max_tokens": LIMIT, "messages": [{"role": "user", "content": question}], **how}
    answer = httpx.post(
        f"{server.url}/v1/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {secret}"},
        timeout=ANSWERED / 1000,
    )
    assert answer.status_code == 200, answer.text
    parts = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    if not how["stream"]:
        parts = [answer.json()]
    shown = [part["usage"] for part in parts if part.get("usage")]
    assert len(shown) == (0 if how == {"stream": True} else 1)
    usage = (shown[0]["prompt_tokens"], shown[0]["completion_tokens"]) if shown else None
    return answer.headers["x-request-id"], parts[0]["id"], usage


def exported(server: LiveServer, *, wanted: int, team: str = "main") -> list[Row]:
    until = time.monotonic() + 60
    while True:
        days = ("--from", "2020-01-01", "--to", "2100-01-01")
        rows: list[Row] = json.loads(server.manage("usage_export", "--team", team, *days, "--format", "json").stdout)
        if len(rows) >= wanted or time.monotonic() > until:
            return rows
        time.sleep(0.5)


def see_totals(page: Page, prompt: int, completion: int) -> None:
    page.goto("/t/main/usage/")
    for tokens in (prompt, completion):
        expect(page.locator("main tfoot")).to_contain_text(f"{tokens:,}")
