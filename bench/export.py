"""How fast a month of the log leaves the server as CSV and as NDJSON, and how much memory that takes.

    python -m bench.export [--rows 1000000]

Against: a bare COPY of the same rows out of the same table, in the same run. The server is `manage.py serve`, asked
over its socket with a session's cookie; its memory is the most that it held meanwhile, less what it held before. Last,
the first page of the log and one in its middle, each unfiltered and with a filter that fits one row in a thousand.
"""

import argparse
import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from urllib.parse import quote

from bench.load import child, free_port
from bench.scratch import scratch
from bench.servers import SECRET

BAR, BAR_MEMORY = 20_000, 50  # rows a second, MB
ROUNDS = 20
KEYS, RARE = 40, 1000
FILL = """
INSERT INTO billing_usage (id, team_id, at, booked_at, origin, endpoint, stream, key_id, key_name, member_name,
    end_user, model, engine, engine_type, machine, answer_id, client_request_id, prompt_tokens, completion_tokens,
    cached_tokens, prompt_source, completion_source, anomaly, outcome, status, ttft_ms, duration_ms, price_input,
    price_cached_input, price_output, price_reasoning, cost)
SELECT gen_random_uuid(), %(team)s, moment, moment, 'api', 'chat.completions', true, number %% %(keys)s,
    'key ' || number %% %(keys)s, '', 'someone', CASE WHEN number %% %(rare)s = 0 THEN 'rare' ELSE 'llama3.3:70b' END,
    'engine', 'vllm', 'gpu-1', 'chatcmpl-1', '', (random() * 2000)::int, (random() * 800)::int, 10, 'upstream',
    CASE WHEN number %% 9 = 0 THEN 'estimated' ELSE 'upstream' END, '', 'ok', 200, 300, 4000, 0.9, 0.45, 4, 4, 0.0031
FROM (
    SELECT number, date_trunc('milliseconds', %(begin)s::timestamptz
        + (%(end)s::timestamptz - %(begin)s::timestamptz) * number / %(rows)s) AS moment
    FROM generate_series(0, %(rows)s - 1) number
) made
"""


@dataclass(frozen=True)
class Taken:
    rows: int
    seconds: float
    megabytes: float  # of the server, beyond what it held before

    def __str__(self) -> str:
        good = self.rows / self.seconds >= BAR and self.megabytes <= BAR_MEMORY
        return (
            f"{self.rows / self.seconds:10,.0f} rows/s (bar {BAR:,}), {self.megabytes:.0f} MB more (bar {BAR_MEMORY})"
            f"{'' if good else '  MISSED'}"
        )


def main(rows: int) -> None:
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    from accounts.people import create_person
    from accounts.teams import create_team
    from billing.ledger import auditing
    from billing.ledger.partitions import ensure_partitions, months_before

    owner = create_person(email="bench@example.org", name="Bench", password="")
    team = create_team(name="Bench", owner=owner, time_zone="Europe/Paris")
    today = datetime.now(UTC).date()
    first = months_before(today, 1)
    last = today.replace(day=1) - timedelta(days=1)
    ensure_partitions([first, first - timedelta(days=1)])
    with connection.cursor() as cursor:
        cursor.execute(
            FILL,
            {
                "team": team.pk, "rows": rows, "keys": KEYS, "rare": RARE,
                "begin": f"{first} 00:00+02", "end": f"{last} 23:59:59+01",
            },
        )  # fmt: skip
    auditing.rebuild()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    bare = bare_copy(rows)
    print(f"bare COPY  {rows / bare:10,.0f} rows/s", flush=True)

    found = connection.settings_dict
    database = f"postgres://{found['USER']}@/{found['NAME']}?host={quote(str(found['HOST']), safe='')}"
    port = free_port()
    environment = {
        "SECRET_KEY": SECRET, "DATABASE_URL": database, "PORT": str(port), "TERTULIA_DATA": str(settings.DATA),
    }  # fmt: skip
    settings.SECRET_KEY = SECRET
    call_command("collectstatic", interactive=False, verbosity=0)
    cookie = signed_in(owner)
    with child("manage.py", "serve", port=port, **environment) as server:
        page(port, cookie, f"/t/{team.slug}/usage/")  # what a server that has been asked before holds anyway
        for form in ("csv", "ndjson"):
            address = f"/t/{team.slug}/usage/log.{form}?period=custom&first={first}&last={last}"
            print(f"{form:10} {taken(port, server.pid, cookie, address, rows, head=form == 'csv')}", flush=True)
    pages(team, first, last)


def bare_copy(rows: int) -> float:
    from django.db import connection

    began, length = time.perf_counter(), 0
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY (SELECT * FROM billing_usage) TO STDOUT (FORMAT csv)") as copy,
    ):
        for piece in copy:
            length += len(piece)
    assert length > rows
    return time.perf_counter() - began


def signed_in(owner: object) -> str:
    from django.test import Client

    client = Client()
    client.force_login(owner)  # type: ignore[arg-type]  # a User, which may be imported once Django is set up
    return f"session={client.cookies['session'].value}"


def page(port: int, cookie: str, address: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("GET", address, headers={"host": f"localhost:{port}", "cookie": cookie})
    answer = connection.getresponse()
    assert answer.status == 200, answer.status
    body = answer.read()
    connection.close()
    return body


def taken(port: int, pid: int, cookie: str, address: str, rows: int, *, head: bool) -> Taken:
    before = memory(pid)
    most = before
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            most = max(most, memory(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    began = time.perf_counter()
    connection.request("GET", address, headers={"host": f"localhost:{port}", "cookie": cookie})
    answer = connection.getresponse()
    assert answer.status == 200, answer.status
    found = 0
    while piece := answer.read(1 << 20):
        found += piece.count(b"\n")
    took = time.perf_counter() - began
    over.set()
    watcher.join()
    connection.close()
    assert found == rows + head, found
    return Taken(rows, took, (most - before) / 1e6)


def memory(pid: int) -> int:
    """Resident bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def pages(team: object, first: date, last: date) -> None:
    from zoneinfo import ZoneInfo

    from billing.log.rows import Window, read_page
    from billing.usage.periods import Period
    from billing.usage.questions import Filters, Question, Scope

    period = Period(first, last, ZoneInfo("Europe/Paris"))
    for name, filters in (("unfiltered", Filters()), ("one in a thousand", Filters(models=("rare",)))):
        question = Question(Scope(team), period, filters=filters)  # type: ignore[arg-type]  # as above
        window = Window()
        for where in ("first page", "a later page"):
            took = timed(lambda window=window, question=question: read_page(question, window))  # type: ignore[misc]
            print(f"log, {name}, {where}: {took * 1000:.1f} ms (p50 of {ROUNDS})", flush=True)
            for _ in range(5):
                window = Window(read_page(question, window).older)


def timed(work: Callable[[], object]) -> float:
    def once() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return median(once() for _ in range(ROUNDS))


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=1_000_000)
    given = options.parse_args()
    with scratch():
        main(given.rows)
