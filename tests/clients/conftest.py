"""The gateway as a child process on the tests' database, with llama.cpp and the fault engine behind it.

Each client has a team of its own, so that the rows of its calls are the team's whole log. What tests write is
committed and stays, since the server must see it.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from accounts.models import Team
from gateway.models import Engine, ServedModel
from tests.engines.faultd import FaultEngine
from tests.factories import make_key, make_person, make_team
from tests.real_engine.conftest import engine
from tests.real_engine.llamacpp import MODEL
from tests.real_engine.recorder import Recorder
from tests.server import ROOT, LiveServer

__all__ = ["engine"]

HERE = Path(__file__).parent
CLIENTS = ROOT / ".venv-clients" / "bin"
OURS = Path(sys.executable)
EMBEDDING = "text-embedding-3-small"  # what llm asks for
# llama.cpp's model under its own id, and under ids that must be escaped in an address.
NAMES = (MODEL, "Saptiva Turbo", "granite3.3:8b", "nvidia/llama-nemotron-rerank-vl-1b-v2", EMBEDDING)
FAULTS = (
    "fault:status?code=503&retry=1",
    "fault:429?retry=1",
    "fault:error-late",
    "fault:reasoning",
    "fault:tool",
    "fault:drip?n=40&gap=75",  # goes on, whatever length was asked for
)
PATIENCE = 90  # seconds for a client's whole script

type Json = dict[str, Any]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def database(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="session")
def fault() -> Iterator[FaultEngine]:
    with FaultEngine() as running:
        yield running


@pytest.fixture(scope="session")
def server(database: None, engine: Recorder, fault: FaultEngine) -> Iterator[LiveServer]:
    llama = Engine.objects.create(name="llama", type="llamacpp", url=engine.url, machine_name="ma02")
    broken = Engine.objects.create(name="fault", type="openai", url=fault.url)
    for name in NAMES:
        ServedModel.objects.create(engine=llama, public_id=name, engine_model=MODEL)
    for name in FAULTS:
        ServedModel.objects.create(engine=broken, public_id=name, engine_model=name)
    with LiveServer(DRAIN_SECONDS="2") as running:
        yield running


@pytest.fixture
def db(database: None) -> None:
    """In place of pytest-django's, whose transaction the server would not see into."""


@dataclass
class Account:
    """A team with a key, and what its clients' calls come to."""

    team: Team
    secret: str
    server: LiveServer
    engine: Recorder
    home: Path
    before: int  # calls that the engine had answered when the team was made

    def run(self, *words: str | Path, **more: str) -> str:
        """What a program prints that knows no more of us than an address and a key."""
        done = subprocess.run(
            words,
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def said(self, *words: str | Path, **more: str) -> Json:
        found: Json = json.loads(self.run(*words, **more))
        return found

    @property
    def base_url(self) -> str:
        return f"{self.server.url}/v1"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "NO_PROXY": "*",
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_KEY": self.secret,
            "MODEL": MODEL,
        }

    def rows(self, wanted: int) -> list[Json]:
        """The team's log, oldest call first, once it has so many rows."""
        until = time.monotonic() + 30
        words = ("usage_export", "--team", self.team.slug, "--from", "2020-01-01", "--to", "2100-01-01")
        while True:
            rows: list[Json] = json.loads(self.server.manage(*words, "--format", "json").stdout)
            if len(rows) >= wanted or time.monotonic() > until:
                return rows
            time.sleep(0.2)

    def check(self, calls: Sequence[Json], *, failed: int = 0) -> None:
        """Every call is one row, with the counts that the engine reported and those that the client showed.

        `failed` is how many more rows there are, of calls that had no answer.
        """
        rows = self.rows(len(calls) + failed)
        assert len(rows) == len(calls) + failed
        rows = [row for row in rows if row["outcome"] == "ok"]
        assert {(row["prompt_source"], row["completion_source"]) for row in rows} == {("upstream", "upstream")}
        reported = self.engine.reported[self.before :]
        logged = [[row["prompt_tokens"], row["completion_tokens"]] for row in rows]
        assert logged == [[one.prompt_tokens, one.completion_tokens] for one in reported]
        assert [call.get("id") or one.answer_id for call, one in zip(calls, reported, strict=True)] == [
            one.answer_id for one in reported
        ]
        for call, row, counts in zip(calls, rows, logged, strict=True):
            assert call.get("usage") in (None, counts), call
            assert call.get("request_id") in (None, row["request_id"]), call


@pytest.fixture
def account(db: None, server: LiveServer, engine: Recorder, request: pytest.FixtureRequest, tmp_path: Path) -> Account:
    name = request.node.name.removeprefix("test_")
    team = make_team(name, owner=make_person(name, email=f"{next(_numbers)}@example.org"))
    return Account(team, make_key(team).secret, server, engine, tmp_path, len(engine.reported))
