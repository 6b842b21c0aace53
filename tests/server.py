"""Our own server as a child process: what tests talk to over a real socket."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import urlopen

from django.conf import settings
from django.db import connections

ROOT = Path(__file__).resolve().parent.parent
SECRET = "tests only: 0a9b8c7d6e5f4a3b a secret for children"
PATIENCE = 60.0  # seconds until a child must be ready or gone


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def url_of_test_database() -> str:
    database = connections["default"].settings_dict
    return f"postgres://{database['USER']}@/{database['NAME']}?{urlencode({'host': database['HOST']}, quote_via=quote)}"


class LiveServer:
    """`manage.py serve` on the tests' database, or `manage.py start` with a data folder and PostgreSQL of its own.

    with LiveServer(DRAIN_SECONDS="5") as server:
        server.url, server.log()

    The command "uvicorn" runs the same application as "serve", as docs/deploy.md has it.
    """

    def __init__(self, command: str = "serve", *, data: Path | None = None, ready: bool = True, **env: str) -> None:
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self._command = command
        self._ready = ready
        self.data = self._data = data or Path(settings.DATA)
        self._env = self._environment(env)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = Path(tempfile.mkstemp(prefix=f"{command}-", suffix=".log", dir=settings.DATA)[1])

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ}
        ours = {"SECRET_KEY": SECRET, "TERTULIA_DATA": str(self._data), "HOST": "127.0.0.1", "PORT": str(self.port)}
        if self._command != "start":
            ours["DATABASE_URL"] = url_of_test_database()
        return {**kept, **ours, "PYTHONUNBUFFERED": "1", **more}

    def __enter__(self) -> Self:
        if self._command != "start" and not (self._data / "static" / "staticfiles.json").exists():
            self.manage("collectstatic", "--noinput", "--verbosity=0")
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process and self._process.poll() is None:
            self.terminate()
        self._log.unlink(missing_ok=True)

    def start(self) -> None:
        """Starts the child, again if it has ended, and waits until it is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._words(),
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_for(200 if self._ready else 0)

    def _words(self) -> list[str]:
        if self._command != "uvicorn":
            return [sys.executable, "manage.py", self._command]
        place = ["--host", self._env["HOST"], "--port", self._env["PORT"]]
        small = ["--ws-per-message-deflate", "false", "--no-access-log", "--no-proxy-headers"]
        drain = ["--timeout-graceful-shutdown", str(int(self._env.get("DRAIN_SECONDS", "60")) + 10)]
        return [sys.executable, "-m", "uvicorn", "console.asgi:application", *place, *drain, *small]

    def wait_for(self, status: int) -> None:
        """Waits until /readyz answers with this status; 0: with any."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self._process
            if self._process.poll() is not None:
                raise AssertionError(f"The server ended with {self._process.returncode}:\n{self.log()}")
            found = self._readyz()
            if found == status or (found and not status):
                return
            time.sleep(0.05)
        raise AssertionError(f"/readyz never said {status}:\n{self.log()}")

    def _readyz(self) -> int:
        try:
            with urlopen(f"{self.url}/readyz", timeout=5) as answer:  # noqa: S310 - our own child
                return int(answer.status)
        except HTTPError as refusal:
            refusal.close()
            return refusal.code
        except (URLError, ConnectionError, TimeoutError):
            return 0

    def kill(self) -> None:
        """SIGKILL, and nothing else."""
        self.signal(signal.SIGKILL)
        self.wait()

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def wait(self) -> int:
        assert self._process
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"The server did not end:\n{self.log()}") from None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def manage(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A management command in the server's environment."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=self._env, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done
