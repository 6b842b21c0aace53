"""A model file served on this machine: llama.cpp through the extra `local`, as a child of `start`."""

import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from console.env import ROOT
from console.errors import BadSetting

NAME = "Local model"
CONTEXT = 8192  # tokens a slot
SLOTS = 2
LOADING_SECONDS = 300
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


@contextmanager
def serving(given: str, before: str = "") -> Iterator[str]:
    """Serve the GGUF file while the context lasts; yields its base URL, or an empty string when no file is given.

    `before` is the URL of the last time, which is used again if its port is free.
    """
    if not given:
        yield ""
        return
    path = Path(given).expanduser().absolute()
    if not path.is_file():
        raise BadSetting(f"LOCAL_MODEL names a file that is not there: {path}.")
    if find_spec("xllamacpp") is None:
        raise BadSetting("LOCAL_MODEL needs the extra `local`: install the package xllamacpp.")
    port = _free_port(urlsplit(before).port or 0)
    # A session of its own, so that Ctrl-C lets running answers end first. Started from the main thread: the child
    # dies with the thread that made it.
    command = [sys.executable, "-m", __name__, str(port), str(path)]
    child = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, child)
        yield url
    finally:
        child.terminate()
        child.wait()


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(url: str, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LOADING_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        try:
            with urlopen(f"{url}/health", timeout=2):  # noqa: S310 - our own child
                return
        except (URLError, TimeoutError, ConnectionError):
            time.sleep(0.1)
    raise BadSetting("LOCAL_MODEL cannot be served: llama.cpp ended or did not become ready. Its words are above.")


def _serve(port: int, path: Path) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {path.stem}
    params.n_ctx = CONTEXT * SLOTS  # llama.cpp divides it by the slots
    params.n_parallel = SLOTS
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.endpoint_metrics = True
    params.ui = False
    server = xllamacpp.Server(params)
    signal.pause()
    del server


if __name__ == "__main__":
    _serve(int(sys.argv[1]), Path(sys.argv[2]))
