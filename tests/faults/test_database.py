"""PostgreSQL that is not there yet, dies, restarts, crawls, takes no writes or has no room left."""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import httpx
import pytest

from accounts.keys import new_secret
from tests.faults.callers import Way
from tests.faults.rig import Rig, Stage, until
from tests.faults.toxic import Late

SHORT = Way("fault:ok?n=5", stream=False)
STREAM = Way("fault:drip?n=20&gap=20")
CALLERS = (SHORT, SHORT, STREAM, STREAM)
NAMES = ("one", "two", "three")
REVOKED_WITHIN = 1.0  # seconds, the product's promise; the median of three keys, as the machine is shared
POOL_CAP = 5.0  # seconds that a call waits for PostgreSQL
IN_THE_LOG_WITHIN = 10.0  # seconds after PostgreSQL is back
RESTARTS = 5
TABLESPACE_MB = 24
ISSUE = f"""
from accounts.keys import issue_key
from accounts.models import Team
for name in {NAMES}:
    print(issue_key(team=Team.objects.get(slug="red"), name=name, by=None).secret)
"""
REVOKE = f"""
import time
from accounts.keys import revoke_key
from accounts.models import ApiKey
for name in {NAMES}:
    revoke_key(key=ApiKey.objects.get(name=name), by=None)
    print(time.time(), flush=True)
    time.sleep(2)
"""


@pytest.mark.spec("F15", "R12")
def test_a_server_that_starts_before_postgresql_waits_and_needs_no_restart(stage: Stage, kind: str) -> None:
    with stage.rig(kind, servers=0) as rig:
        rig.cluster.die()
        early = rig.open_server(ready=False)
        early.wait_for(503)
        refused = httpx.post(f"{early.url}/v1/chat/completions", json={}, headers=rig.bearer())
        rig.cluster.revive()
        early.wait_for(200)
        rig.adopt(early)
        answered = rig.call(SHORT)
        assert (refused.status_code, "retry-after" in refused.headers, answered.status) == (503, True, 200)


@pytest.mark.slow
@pytest.mark.spec("F16", "F17", "R02", "S02", "S03")
def test_without_postgresql_known_keys_go_on_and_nothing_is_lost_and_then_revoking_bites(
    stage: Stage, kind: str
) -> None:
    with stage.rig(kind) as rig:
        secrets = dict(zip(NAMES, rig.shell(ISSUE).split(), strict=True))
        rig.keys |= {**secrets, "unseen": new_secret(), "malformed": "sk-tert-nothing"}
        assert [rig.call(Way(key=name)).status for name in NAMES] == [200] * 3
        with rig.load(*CALLERS) as load:
            load.wait_for_more(20)
            rig.cluster.die()
            rig.server.wait_for(503)
            load.wait_for_more(100)
            unseen, malformed = rig.call(Way(key="unseen")), rig.call(Way(key="malformed"))
            consumed = httpx.get(f"{rig.server.url}/v1/usage", headers=rig.bearer())
            rig.cluster.revive()
            back = time.monotonic()
            rig.server.wait_for(200)
            spooled = {seen.label for seen in list(load.seen) if seen.whole}
            until(lambda: spooled <= {row["client_request_id"] for row in rig.rows()}, "not all came into the log")
            shipped = time.monotonic() - back
            load.wait_for_more(20)
        assert (unseen.status, "retry-after" in unseen.headers, malformed.status) == (503, True, 401)
        assert (consumed.status_code, "retry-after" in consumed.headers) == (503, True)
        assert {(seen.status, seen.whole) for seen in load.seen} == {(200, True)}
        assert shipped < IN_THE_LOG_WITHIN
        refused = RefusedAt(rig)
        revoked = rig.shell(REVOKE).split()
        waits = [refused.wait_for(name) - float(at) for name, at in zip(NAMES, revoked, strict=True)]
        assert median(waits) <= REVOKED_WITHIN, waits


class RefusedAt:
    """Calls with each of NAMES until it is refused, and says when that was, in seconds since the epoch."""

    def __init__(self, rig: Rig) -> None:
        self._at: dict[str, float] = {}
        self._rig = rig
        self._threads = {name: threading.Thread(target=self._call_on, args=(name,)) for name in NAMES}
        for thread in self._threads.values():
            thread.start()

    def _call_on(self, name: str) -> None:
        while self._rig.call(Way("fault:ok?n=1", key=name, stream=False)).status == 200:
            time.sleep(0.02)
        self._at[name] = time.time()

    def wait_for(self, name: str) -> float:
        self._threads[name].join(60)
        return self._at[name]


@pytest.mark.slow
@pytest.mark.spec("F19")
def test_five_restarts_under_load_are_met_with_new_connections_and_lose_nothing(stage: Stage, kind: str) -> None:
    with (
        stage.rig(kind) as rig,
        httpx.Client(base_url=rig.server.url, cookies={"session": rig.sessions["alice"]}) as alice,
    ):
        with rig.load(*CALLERS) as load:
            for _ in range(RESTARTS):
                load.wait_for_more(20)
                rig.cluster.die()
                rig.cluster.revive()
                rig.server.wait_for(200)
                # No dead connection is used again: a page that asks PostgreSQL is there at the first try.
                assert alice.get("/t/red/models/").status_code == 200
        assert {(seen.status, seen.whole) for seen in load.seen} == {(200, True)}
        assert len(load.seen) > RESTARTS * 20


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.spec("F18", "R13")
def test_five_seconds_a_query_hold_up_no_stream_and_no_call_for_longer_than_the_pools_cap(
    stage: Stage, kind: str
) -> None:
    with stage.rig(kind) as rig:
        rig.keys["unseen"] = new_secret()
        rig.expected_errors += ["Service Unavailable", "couldn't get a connection"]
        rig.call(SHORT)
        with rig.load(*[Way("fault:drip?n=300&gap=50", key="blue")] * 5) as streams, lag_of(rig) as lag:
            time.sleep(1)
            rig.database.toxic = Late(5)
            repeated = [Way(stream=False, headers={"idempotency-key": str(number)}) for number in range(5)]
            seen = rig.calls([SHORT] * 10 + [Way(key="unseen", stream=False)] * 5 + repeated)
            rig.database.toxic = None
            rig.server.wait_for(200)
        assert [one.status for one in seen[:10]] == [200] * 10
        assert {one.status for one in seen[10:]} <= {200, 401, 503}
        assert max(one.seconds for one in seen) < POOL_CAP + 1
        assert max(one.longest_gap for one in streams.seen) < 1
        assert max(lag) < 1
        assert {one.whole for one in streams.seen} == {True}


@contextlib.contextmanager
def lag_of(rig: Rig) -> Iterator[list[float]]:
    """How long an answer took that needs nothing but the event loop, again and again, in seconds."""
    found: list[float] = []
    stopping = threading.Event()

    def look() -> None:
        with httpx.Client(base_url=rig.server.url) as client:
            while not stopping.wait(0.05):
                began = time.monotonic()
                client.get("/healthz")
                found.append(time.monotonic() - began)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        stopping.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.spec("F26", "F17")
def test_a_database_that_takes_no_writes_leaves_callers_alone_and_gets_everything_later(
    stage: Stage, kind: str
) -> None:
    with stage.rig(kind) as rig:
        rig.expected_errors += ["shipping failed and will be tried again"]
        rig.call(SHORT)
        rig.cluster.set_everywhere("default_transaction_read_only", "on")
        try:
            with rig.load(*CALLERS) as load:
                load.wait_for_more(60)
            until(lambda: "shipping failed" in rig.server.log(), "nobody was told")
            assert rig.pending().ended >= 40
        finally:
            rig.cluster.set_everywhere("default_transaction_read_only", None)
        assert {(seen.status, seen.whole) for seen in load.seen} == {(200, True)}


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
@pytest.mark.spec("F26", "F17")
def test_a_full_database_disk_leaves_callers_alone_and_gets_everything_once_there_is_room(
    stage: Stage, kind: str
) -> None:
    with small_disk(stage) as disk, stage.rig(kind, tablespace="small") as rig:
        rig.call(SHORT)
        until(lambda: rig.rows(), "the first call never came into the log")
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(8192))
                file.flush()
        with rig.load(*CALLERS) as load:
            until(lambda: "records wait in the spool" in rig.server.log(), "PostgreSQL found room")
            load.wait_for_more(60)
        assert rig.pending().ended >= 40
        filler.unlink()
        assert {(seen.status, seen.whole) for seen in load.seen} == {(200, True)}
        rig.judge()


@contextlib.contextmanager
def small_disk(stage: Stage) -> Iterator[Path]:
    """A disk of a few megabytes, and on it a place for a database."""
    disk = stage.folder / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TABLESPACE_MB}m,mode=711", "none", str(disk)], check=True)
    try:
        place = disk / "database"
        place.mkdir(mode=0o700)
        os.chown(place, stage.cluster.account.uid, stage.cluster.account.gid)
        stage.cluster.run(f"CREATE TABLESPACE small LOCATION '{place}'")
        yield disk
        stage.cluster.run("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
        disk.rmdir()


@pytest.mark.spec("F17")
def test_a_connection_to_postgresql_that_is_reset_is_made_anew(stage: Stage, kind: str) -> None:
    with stage.rig(kind) as rig:
        with rig.load(*CALLERS) as load:
            load.wait_for_more(10)
            rig.database.reset()
            load.wait_for_more(10)
        rig.server.wait_for(200)
        assert {(seen.status, seen.whole) for seen in load.seen} == {(200, True)}
