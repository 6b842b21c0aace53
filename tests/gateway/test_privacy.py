"""What was asked and answered is nowhere in the accounts: not on disk, not in PostgreSQL, not in the server's log."""

import json
import logging
from typing import Any

import pytest

from billing.models import DeadLetter, Refusal, UsageRecord
from billing.spool.shipper import Shipper
from tests.billing.test_refusals import summed
from tests.gateway.conftest import Api

CANARY = "canary-7481 ñandú"
MARKS = (b"canary-7481", "ñandú".encode(), b"\\u00f1and")
MESSAGES = [{"role": "system", "content": CANARY}, {"role": "user", "content": CANARY}]
SCENARIOS = (
    "plain", "fault:echo", "fault:nousage", "fault:usage-negative", "fault:usage-string", "fault:rst", "fault:cut",
    "fault:malformed?bad=30", "fault:error200", "fault:error-event", "fault:error-late", "fault:html", "fault:context",
    "fault:status?code=500", "fault:status?code=400", "fault:too-many", "fault:json",
)  # fmt: skip


def ask_everything(api: Api) -> int:
    """Every endpoint, streamed or not, through successes and failures; returns how many were told to go away."""
    api.serve(*SCENARIOS)
    for model in SCENARIOS:
        for stream in (False, True):
            api.client.post("/v1/chat/completions", json={"model": model, "messages": MESSAGES, "stream": stream})
            api.client.post("/v1/completions", json={"model": model, "prompt": CANARY, "stream": stream})
        api.client.post("/v1/embeddings", json={"model": model, "input": [CANARY]})
    chat = {"model": "plain", "messages": MESSAGES}
    tool = {"type": "function", "function": {"name": "f", "description": CANARY}}
    assert api.client.post("/v1/chat/completions", json={**chat, "tools": [tool], "stop": CANARY}).status_code == 200
    refused = [
        api.client.post("/v1/chat/completions", json={**chat, "model": "absent"}),
        api.client.post("/v1/chat/completions", json={**chat, "temperature": CANARY}),
        api.client.post("/v1/chat/completions", json={**chat, "tools": CANARY}),
        api.client.post("/v1/chat/completions", json={"model": "plain", "messages": [{"role": CANARY}]}),
        api.client.post("/v1/chat/completions", content=CANARY.encode(), headers={"content-type": "application/json"}),
        api.client.post("/v1/chat/completions", content=CANARY.encode(), headers={"content-type": "text/plain"}),
        api.client.post("/v1/embeddings", json={"model": "absent", "input": CANARY}),
    ]
    assert {answer.status_code for answer in refused} == {400, 404, 415}
    return len(refused)


def has_canary(data: bytes) -> list[bytes]:
    return [mark for mark in MARKS if mark in data]


def everything_in(model: Any) -> bytes:
    return json.dumps(list(model.objects.values()), default=str, ensure_ascii=False).encode()


@pytest.mark.spec("U1", "S14")
def test_no_text_reaches_the_spool_the_log_refusals_or_the_servers_log(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    refused = ask_everything(api)
    assert MARKS[0] in json.dumps([request.body for request in api.engine.requests]).encode()

    files = [path for path in api.spool.rglob("*") if path.is_file() and path.name != "ballast"]
    assert any(path.suffix == ".jsonl" for path in files)
    assert {path.name: has_canary(path.read_bytes()) for path in files} == {path.name: [] for path in files}

    api.rows(len(SCENARIOS))
    api.engine.wait_for(lambda: bool(api.rows()) and summed() >= refused)
    assert UsageRecord.objects.count() > len(SCENARIOS)
    for model in (UsageRecord, Refusal):
        assert has_canary(everything_in(model)) == [], model
    assert has_canary(caplog.text.encode()) == []


@pytest.mark.spec("F08", "S14")
def test_no_text_reaches_a_dead_letter(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing.ledger.rows.MOST_TOKENS", -1)  # so that the log takes nothing
    ask_everything(api)

    def set_aside() -> bool:
        Shipper(api.spool).ship_once()
        return DeadLetter.objects.count() > len(SCENARIOS)

    api.engine.wait_for(set_aside)
    assert UsageRecord.objects.count() == 0
    assert has_canary(everything_in(DeadLetter)) == []


@pytest.mark.spec("F08", "F14")
def test_odd_names_are_counted_and_block_nothing_behind_them(api: Api) -> None:

    def ask(**more: str) -> int:
        body = json.dumps({"messages": [{"role": "user", "content": "hi"}], **more})  # surrogates as escapes
        headers = {"content-type": "application/json"}
        return api.client.post("/v1/chat/completions", content=body, headers=headers).status_code

    for name in ("nul\0", "\ud800 alone", "\udfff", "x" * 5000, "\u202e", "' OR 1=1 --"):
        assert ask(model=name) in {400, 404}
    assert ask(model="plain", user="nul\0 and \ud800") in {200, 400}
    assert ask(model="plain") == 200
    api.rows(1)
    api.engine.wait_for(lambda: bool(api.rows()) and summed() >= 6)
    assert all("\0" not in row.model and len(row.model) <= 200 for row in Refusal.objects.all())
    assert DeadLetter.objects.count() == 0


@pytest.mark.spec("F08", "R08")
@pytest.mark.parametrize(
    ("scenario", "anomaly"),
    [("usage-negative", "usage_negative"), ("usage-huge", "usage_huge"), ("usage-string", "usage_type")],
)
def test_odd_usage_of_an_answer_in_one_piece_is_estimated_and_flagged(api: Api, scenario: str, anomaly: str) -> None:
    assert api.chat(f"fault:{scenario}").status_code == 200
    assert api.chat().status_code == 200
    first, second = api.rows(2)
    assert (first.prompt_source, first.completion_source, first.anomaly) == ("estimated", "estimated", anomaly)
    assert (first.prompt_tokens > 0, first.completion_tokens > 0, first.outcome) == (True, True, "ok")
    assert (second.completion_source, second.anomaly) == ("upstream", "")
    assert DeadLetter.objects.count() == 0
