"""What the spool costs a request, on the event loop: microseconds for each of its writes.

Against: one bare INSERT of a short row into SQLite in WAL mode, which the spool would else be made of, in turn with
them on the same disk. The files are switched as in service, by a second thread. python -m bench.spool [requests]
"""

import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from billing.ids import new_request
from billing.records import Counts, Final, Progress, Start, UnitPrices
from billing.spool.writer import Spool

PRICE = UnitPrices(Decimal("0.9"), Decimal("0.45"), Decimal("4.0"), Decimal("4.0"))
COUNTS = Counts(812, 240, "upstream", "upstream", None, 128)


def timed(into: list[float], write: Callable[[], object]) -> None:
    began = time.perf_counter()
    write()
    into.append((time.perf_counter() - began) * 1e6)


def bare(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = normal")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("CREATE TABLE row (id, number, words)")
    return connection


def main(requests: int) -> None:
    times: dict[str, list[float]] = {"bare INSERT": [], "start": [], "progress": [], "final": []}
    with tempfile.TemporaryDirectory() as name:
        spool, connection = Spool(Path(name) / "spool", rotate_seconds=0.5), bare(Path(name))
        over = threading.Event()

        def switch() -> None:
            while not over.wait(0.1):
                spool.rotate()
                for path in spool.closed_files():
                    path.unlink()

        thread = threading.Thread(target=switch)
        thread.start()
        for _ in range(requests):
            request = new_request()
            start = Start(
                request.id, request.at_ms, 1, "api", "chat.completions", True, 3, "nightly", 7, "Lucía Ferrer", "",
                "llama3.3:70b", "", 800, PRICE,
            )  # fmt: skip
            progress = Progress(request.id, "gpu", "vllm", "gpu-02", "chatcmpl-8f2c", COUNTS, 320)
            final = Final(request.id, "gpu", "vllm", "gpu-02", "chatcmpl-8f2c", COUNTS, "ok", 200, 320, 4100)
            row = (request.id.bytes, request.at_ms, "llama3.3:70b")
            timed(times["bare INSERT"], lambda row=row: connection.execute("INSERT INTO row VALUES (?, ?, ?)", row))  # type: ignore[misc]
            timed(times["start"], lambda start=start: spool.start(start))  # type: ignore[misc]
            timed(times["progress"], lambda progress=progress: spool.progress(progress))  # type: ignore[misc]
            timed(times["final"], lambda final=final: spool.final(final))  # type: ignore[misc]
        over.set()
        thread.join()
        spool.close()
        connection.close()
    print(f"{'µs':12}{'p50':>8}{'p99':>8}{'mean':>8}{'most':>8}")
    for what, values in times.items():
        values.sort()
        p50, p99 = values[len(values) // 2], values[len(values) * 99 // 100]
        print(f"{what:12}{p50:8.1f}{p99:8.1f}{sum(values) / len(values):8.1f}{values[-1]:8.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
