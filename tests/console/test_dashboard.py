"""The Grafana dashboard and the alert rules of `deploy/`: they ask only for what /metrics tells."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # comes with schemathesis
from prometheus_client.parser import text_string_to_metric_families

from accounts.models import Team
from billing.limits.tiers import limit_key
from billing.limits.windows import Bounds
from gateway.models import Engine, EngineType, ServedModel
from tests.console.test_metrics import TOKEN
from tests.factories import make_key
from tests.server import ROOT, LiveServer

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "tertulia.json").read_text())
RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "tertulia.rules.yml").read_text())
SCRAPE = yaml.safe_load((ROOT / "deploy" / "prometheus" / "tertulia.yml").read_text())
NAME = re.compile(r"\b(?:tertulia|gen_ai|process)_[a-z_]+\b(?!\s*=)")  # but for labels
LABEL = re.compile(r"\b(\w+)\s*=~?\s*\"|by \(([\w, ]+)\)")
OURS = {"model", "engine", "status", "gen_ai_token_type", "code", "outcome", "limit", "le"}
FROM_PROMETHEUS = {"job", "instance"}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[str]:
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]
    for group in RULES["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


def names(query: str) -> set[str]:
    bare = re.sub(r"by \([^)]*\)|\{[^}]*\}", "", query)
    return set(NAME.findall(bare))


@pytest.fixture
def told(transactional_db: None, red: Team) -> dict[str, set[str]]:
    """Every sample name that /metrics has, with its labels, after calls that ended well, badly and not at all."""
    engine = Engine.objects.create(name="Demo", type=EngineType.DEMO, max_concurrent=4)
    away = Engine.objects.create(name="Away", type=EngineType.OPENAI, url="http://127.0.0.1:1")
    for row in (engine, away):
        ServedModel.objects.create(engine=row, public_id=row.name, engine_model="demo")
    key, tight = make_key(red), make_key(red)
    limit_key(key=tight.key, bounds=Bounds(requests_per_minute=1), by=None)
    with LiveServer(METRICS_TOKEN=TOKEN) as server:

        def call(secret: str, model: str) -> int:
            body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Say something"}]}
            headers = {"authorization": f"Bearer {secret}"}
            return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=30).status_code

        answers = [call(key.secret, "Demo"), call(key.secret, "Away"), call(tight.secret, "Demo")]
        assert [*answers, call(tight.secret, "Demo")] == [200, 503, 200, 429]
        text = httpx.get(f"{server.url}/metrics", headers={"authorization": f"Bearer {TOKEN}"}).text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        if family.type == "histogram":
            for end in ("_bucket", "_sum", "_count"):
                found[family.name + end] = set()
        else:
            found[family.name + ("_total" if family.type == "counter" else "")] = set()
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.spec("F40")
def test_every_metric_that_is_asked_for_is_told(told: dict[str, set[str]]) -> None:
    asked = {name for query in queries() for name in names(query)}
    assert len(asked) > 15
    assert asked - told.keys() == set()
    spoken_of = {label for labels in told.values() for label in labels}
    assert not spoken_of & {"team", "key", "member", "user"}
    assert told["gen_ai_server_time_per_output_token_seconds_bucket"] == {"model", "engine", "status", "le"}
    assert told["tertulia_failures_total"] == {"model", "engine", "outcome"}
    assert told["tertulia_limited_total"] == {"limit"}


def test_queries_use_labels_that_there_are() -> None:
    for query in queries():
        for one, several in LABEL.findall(query):
            for label in filter(None, [one, *re.split(r",\s*", several)]):
                assert label in OURS | FROM_PROMETHEUS, query


def test_the_dashboard_is_one() -> None:
    """Grafana's classic model: what an import needs, panels that do not overlap, and every reference resolved."""
    assert DASHBOARD["id"] is None, "an import gives it a number"
    assert DASHBOARD["schemaVersion"] >= 39
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= variables, panel["title"]


def test_the_alert_rules_are_such() -> None:
    (group,) = RULES["groups"]
    alerts = [rule["alert"] for rule in group["rules"]]
    assert len(set(alerts)) == len(alerts)
    for rule in group["rules"]:
        assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
    (job,) = SCRAPE["scrape_configs"]
    assert (job["job_name"], job["metrics_path"], job["authorization"]["type"]) == ("tertulia", "/metrics", "Bearer")
    assert [(Path("deploy/prometheus") / name).name for name in SCRAPE["rule_files"]] == ["tertulia.rules.yml"]
