"""What a request costs here, in LiteLLM's proxy and in a bare relay, before the same engine, one after the other.

    make .venv-litellm/.ready && python -m bench.litellm

LiteLLM is measured at its best: one worker, as here, with no key to check, no database and no log. The gateway checks
a key and keeps accounts. A stream is 100 chunks; memory and CPU time are those of the server's process, without the
gateway's PostgreSQL. The start is until the first answer.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.engine import MODEL
from bench.load import ROOT, Measured, Target, child, free_port, memory_mb
from bench.servers import H11, SERVERS, engine, gateway, installation, relay

PROGRAM = ROOT / ".venv-litellm" / "bin" / "litellm"
ENVIRONMENT = {
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # no key to check
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the network for prices
    "LITELLM_LOG": "ERROR",
}
REQUESTS, STREAMS = 15, 30  # times LiteLLM's in a second, at least


@contextmanager
def litellm(engine: str) -> Iterator[Target]:
    port = free_port()
    served = {"model": f"openai/{MODEL}", "api_base": f"{engine}/v1", "api_key": "none"}
    settings = {"model_list": [{"model_name": MODEL, "litellm_params": served}]}
    with tempfile.TemporaryDirectory(prefix="tertulia-bench-") as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(json.dumps(settings))  # JSON is YAML
        words = ("--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False")
        with child(*words, port=port, program=PROGRAM, **ENVIRONMENT) as server:
            yield server.target(port, "none", MODEL)


@dataclass(frozen=True)
class Found:
    requests: Measured
    streams: Measured

    @classmethod
    def of(cls, name: str, target: Target, requests: int, streams: int) -> "Found":
        found = cls(target.measure(requests, stream=False), target.measure(streams, stream=True))
        start, memory = target.start_seconds, memory_mb(target.pid)
        print(f"{name}: request {found.requests}; stream of 100 chunks {found.streams}; ", end="")
        print(f"{memory:.0f} MB, {start:.1f} s to start")
        return found


def main() -> None:
    with engine() as (url, _pid):
        with litellm(url) as target:
            theirs = Found.of("LiteLLM", target, 300, 60)
        for server in (*SERVERS, H11):
            with relay(server, url) as target:
                Found.of(f"bare relay on {server}", target, 3000, 800)
        with installation(url) as installed:
            for server in (*SERVERS, H11):
                with gateway(server, installed) as (target, _renamed):
                    tell(server, Found.of(f"gateway on {server}", target, 3000, 800), theirs)


def tell(server: str, ours: Found, theirs: Found) -> None:
    for what, here, there, least in (
        ("requests", ours.requests, theirs.requests, REQUESTS),
        ("streams", ours.streams, theirs.streams, STREAMS),
    ):
        speed, cpu = here.per_second / there.per_second, there.cpu_ms / here.cpu_ms
        print(f"  {what} a second on {server}: {speed:.0f} times LiteLLM's (bar {least}); CPU time of one: 1/{cpu:.0f}")


if __name__ == "__main__":
    main()
