"""/metrics: for whom, and what it tells."""

import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from accounts.models import Team
from billing.models import DeadLetter
from gateway.models import Engine, EngineType, ServedModel
from tests.factories import make_key
from tests.server import LiveServer

TOKEN = "a token for the one who watches"
pytestmark = pytest.mark.django_db(transaction=True)

type Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def told(server: LiveServer) -> Samples:
    answer = httpx.get(f"{server.url}/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@pytest.fixture
def demo(red: Team) -> str:
    """The secret of a key that may call the demo."""
    engine = Engine.objects.create(name="Demo", type=EngineType.DEMO)
    ServedModel.objects.create(engine=engine, public_id="demo", engine_model="demo")
    return make_key(red).secret


def call(server: LiveServer, secret: str, **more: object) -> int:
    body = {"model": "demo", "messages": [{"role": "user", "content": "Say something"}], **more}
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=30).status_code


def test_without_a_token_there_is_no_such_page_and_with_one_it_must_be_shown(red: Team) -> None:
    with LiveServer() as server:
        assert httpx.get(f"{server.url}/metrics", headers={"authorization": "Bearer x"}).status_code == 404
    with LiveServer(METRICS_TOKEN=TOKEN) as server:
        for headers in ({}, {"authorization": "Bearer x"}, {"authorization": f"Bearer {TOKEN}x"}):
            answer = httpx.get(f"{server.url}/metrics", headers=headers)
            assert (answer.status_code, answer.content) == (401, b"")
            assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.spec("F40")
def test_calls_are_told_by_model_engine_and_status_and_nobody_is_named(demo: str, red: Team) -> None:
    with LiveServer(METRICS_TOKEN=TOKEN) as server:
        assert [call(server, demo), call(server, demo, stream=True)] == [200, 200]
        assert [call(server, demo, model="nothing"), call(server, "sk-tert-x")] == [404, 401]
        labels = {"model": "demo", "engine": "Demo", "status": "2xx"}
        samples = told(server)
        assert of(samples, "tertulia_requests_total", **labels) == 2
        assert of(samples, "gen_ai_server_request_duration_seconds_count", **labels) == 2
        assert of(samples, "gen_ai_server_time_to_first_token_seconds_count", **labels) == 1
        assert of(samples, "gen_ai_server_time_per_output_token_seconds_count", **labels) == 1
        tokens = of(samples, "gen_ai_client_token_usage_sum", **labels, gen_ai_token_type="output")
        assert tokens > 0
        assert of(samples, "gen_ai_client_token_usage_bucket", **labels, gen_ai_token_type="output", le="+Inf") == 2
        assert of(samples, "tertulia_refused_total", code="model_not_found") == 1
        assert of(samples, "tertulia_refused_total", code="invalid_api_key") == 1
        for name, expected in {
            "tertulia_calls_running": 0, "tertulia_calls_queued": 0, "tertulia_database_up": 1,
            "tertulia_dead_letters": 0, "tertulia_spool_put_aside": 0, "tertulia_spool_writable": 1,
        }.items():  # fmt: skip
            assert of(samples, name) == expected
        assert of(samples, "tertulia_engine_up", engine="Demo") == 1
        assert of(samples, "tertulia_event_loop_lag_seconds_count") > 0
        assert of(samples, "process_resident_memory_bytes") > 0
        spoken_of = {name for name, found in samples for name, _ in found}
        assert spoken_of <= {
            "model", "engine", "status", "gen_ai_token_type", "le", "code", "implementation", "major", "minor",
            "patchlevel", "version",
        }  # fmt: skip


@pytest.mark.spec("F17")
def test_what_waits_in_the_spool_is_told_until_it_is_in_the_log(demo: str, red: Team) -> None:
    with LiveServer(METRICS_TOKEN=TOKEN, SPOOL_ROTATE="3600") as server:
        assert call(server, demo) == 200
        samples = told(server)
        assert (of(samples, "tertulia_spool_records"), of(samples, "tertulia_log_rows_total")) == (1, 0)
        assert of(samples, "tertulia_spool_bytes") > 0
    with LiveServer(METRICS_TOKEN=TOKEN, SPOOL_ROTATE="0.2") as server:
        assert call(server, demo) == 200
        deadline = time.monotonic() + 30
        while (of(samples := told(server), "tertulia_log_rows_total"), of(samples, "tertulia_spool_records")) != (1, 0):
            assert time.monotonic() < deadline, samples  # a file goes a moment after its rows are in the log
            time.sleep(0.05)


def test_dead_letters_and_files_put_aside_are_told(red: Team) -> None:
    DeadLetter.objects.create(id="01890000-0000-7000-8000-000000000000", payload={}, error="odd")
    with LiveServer(METRICS_TOKEN=TOKEN) as server:
        folder = next(path for path in Path(server.data / "spool").iterdir() if path.is_dir())
        (folder / "000009.corrupt").write_bytes(b"odd")
        samples = told(server)
        assert (of(samples, "tertulia_dead_letters"), of(samples, "tertulia_spool_put_aside")) == (1, 1)
        (folder / "000009.corrupt").unlink()
