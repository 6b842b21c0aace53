"""The clients people use meet limits and budgets: they wait where that helps, stop where it does not, and say why."""

import json
import subprocess
import time
from decimal import Decimal
from pathlib import Path

import pytest

from billing.budgets.monthly import set_budget
from billing.limits.tiers import limit_key
from billing.limits.windows import Bounds
from billing.models import Unit
from tests.clients.conftest import CLIENTS, HERE, Account, Json
from tests.clients.test_clients import OPENAI, PYTHON, node
from tests.factories import make_key
from tests.real_engine.llamacpp import MODEL

IN_FORCE = 1.5  # seconds until the server is sure to know a limit

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def keys(account: Account) -> dict[str, str]:
    """One that may have one request at once, one with two a minute, one with a hundred tokens a month."""
    one, minute, budget = (make_key(account.team) for _ in range(3))
    limit_key(key=one.key, bounds=Bounds(concurrent_requests=1), by=None)
    limit_key(key=minute.key, bounds=Bounds(requests_per_minute=2), by=None)
    set_budget(team=account.team, unit=Unit.TOKENS, amount=Decimal(100), hard=True, by=None, key=budget.key)
    time.sleep(IN_FORCE)
    return {"ONE_KEY": one.secret, "MINUTE_KEY": minute.secret, "BUDGET_KEY": budget.secret}


@OPENAI
@pytest.mark.spec("F31", "R15", "T5")
def test_openai_for_python_waits_as_it_is_told_and_stops_where_waiting_is_no_use(
    account: Account, keys: dict[str, str], python: Path
) -> None:
    check(account.said(python, HERE / "with_openai_bounded.py", **keys), account)


@pytest.mark.spec("F31", "R15", "T5")
def test_openai_for_node_waits_as_it_is_told_and_stops_where_waiting_is_no_use(
    account: Account, keys: dict[str, str]
) -> None:
    check(account.said(node(), HERE / "with_openai_bounded.mjs", **keys), account)


def check(said: Json, account: Account) -> None:
    one, minute, budget = said["one"], said["minute"], said["budget"]
    # 429 and Retry-After: the client waits so long, and then gets its answer.
    assert one["text"]
    *refused, last = one["tries"]
    assert refused
    assert {one["status"] for one in refused} == {429}
    assert last == {"status": 200, "advice": None}
    assert all(one["advice"] >= 1 and one["waited"] >= one["advice"] * 0.75 for one in refused)  # Node's has a jitter
    # What is left stands in the headers of each answer.
    for told, left in zip(minute["told"], ("1", "0"), strict=True):
        assert told["x-ratelimit-limit-requests"] == "2"
        assert told["x-ratelimit-remaining-requests"] == left
        assert told["x-ratelimit-window"] == "requests-per-minute;of=key"
        assert int(told["x-ratelimit-reset-requests"]) > time.time() - 60
    third = minute["third"]
    assert (third["class"], third["status"], third["code"]) == ("RateLimitError", 429, "rate_limit_exceeded")
    assert "this API key may have 2 requests a minute" in third["message"]
    assert 1 <= int(third["headers"]["retry-after"]) <= 120
    # 402: no second try, and the message says which budget it was.
    assert [one["status"] for one in budget["tries"]] == [402, 200]  # the second is the stream
    refused = budget["refused"]
    assert (refused["status"], refused["code"]) == (402, "insufficient_quota")
    assert refused["headers"]["x-should-retry"] == "false"
    assert "The key's monthly budget of 100 tokens does not cover this request" in refused["message"]
    # An answer that goes beyond what was held ends with an error, after what came.
    stopped = budget["stopped"]
    assert (stopped["class"], stopped["code"]) == ("APIError", "insufficient_quota")
    assert stopped["text"].startswith("word0 word1 ")
    rows = account.rows(5)
    assert sorted(row["outcome"] for row in rows) == ["budget_stop", "ok", "ok", "ok", "ok"]


@pytest.mark.spec("T4")
def test_langchain_shows_which_budget_is_used_up(account: Account, keys: dict[str, str]) -> None:
    said = account.said(PYTHON, HERE / "with_langchain_bounded.py", **keys)
    assert sorted(said) == ["streamed", "whole"]
    for message in said.values():
        assert "The key's monthly budget of 100 tokens does not cover this request" in message


@pytest.mark.spec("T3")
def test_llm_shows_which_budget_is_used_up(account: Account, keys: dict[str, str], tmp_path: Path) -> None:
    offered = {"model_id": "ours", "model_name": MODEL, "api_base": account.base_url, "api_key_name": "console"}
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([offered]))  # JSON is YAML
    (tmp_path / "keys.json").write_text(json.dumps({"console": keys["BUDGET_KEY"]}))
    done = subprocess.run(
        [CLIENTS / "llm", "-m", "ours", "-o", "max_tokens", "200", "Hello"],
        env={**account.environment, "LLM_USER_PATH": str(tmp_path)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "The key's monthly budget of 100 tokens does not cover this request" in done.stderr
