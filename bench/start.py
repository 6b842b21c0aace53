"""How long `manage.py start` takes until requests are answered: from nothing, and again.

    python -m bench.start

Calibrator: an interpreter that imports Django, daphne and psycopg, which no start can do without.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5
CALIBRATOR = "import django.core.handlers.asgi, daphne.server, psycopg"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tertulia-bench-") as folder:
        Path(folder).chmod(0o711)  # the database server's account passes through
        first = seconds_to_ready(folder)
        again = median(seconds_to_ready(folder) for _ in range(ROUNDS))
    bare = median(seconds_to_import() for _ in range(ROUNDS))
    print(f"first start {first:.2f} s, again {again:.2f} s; the imports alone {bare:.2f} s, ratio {again / bare:.1f}")


def seconds_to_ready(data: str) -> float:
    environment = {**os.environ, "TERTULIA_DATA": data, "PORT": str(free_port())}
    began = time.monotonic()
    server = subprocess.Popen(
        [sys.executable, "manage.py", "start"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout
        assert any("is ready" in line for line in server.stdout)
        return time.monotonic() - began
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def seconds_to_import() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", CALIBRATOR], check=True)
    return time.monotonic() - began


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
