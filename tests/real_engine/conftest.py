"""llama.cpp with a small model, as a child process."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.real_engine.recorder import Recorder
from tests.server import ROOT, free_port

FOLDER = ROOT / ".venv-engine"


@pytest.fixture(scope="session")
def engine() -> Iterator[Recorder]:
    """llama.cpp behind a relay that remembers what it reported."""
    port = free_port()
    program = [FOLDER / "bin" / "python", Path(__file__).with_name("llamacpp.py"), str(port), FOLDER]
    child = subprocess.Popen(program)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}/health")
        with Recorder(f"http://127.0.0.1:{port}") as recorder:
            yield recorder
    finally:
        child.terminate()
        child.wait(30)


def wait_until_healthy(url: str) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            with urlopen(url, timeout=5):  # noqa: S310 - our own child
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise AssertionError("llama.cpp did not become ready")
