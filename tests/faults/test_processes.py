"""Processes that are killed, restarted, drained and doubled, and what is taken away while they run."""

import contextlib
import os
import random
import signal
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.faults.callers import Way
from tests.faults.rig import KINDS, Rig, Stage, until
from tests.faults.test_database import lag_of

ROUNDS = int(os.environ.get("KILL_ROUNDS", "5"))
LONG = Way("fault:drip?n=400&gap=25")  # ten seconds: thirty files of the spool
SHORT = Way("fault:ok?n=5", stream=False)
REVOKED_WITHIN, CUT_WITHIN = 1.0, 5.0  # seconds
LATE = 1.0  # seconds more that a busy machine may take
DRAINED = {"daphne": 0, "uvicorn": -signal.SIGTERM}  # uvicorn ends as if the signal had ended it

DELETE_ALL = """
from accounts.keys import revoke_key
from accounts.models import ApiKey, Team, User
from accounts.people import deactivate_person
from accounts.teams import remove_member
from gateway.catalogue import remove_engine
from gateway.models import Engine
red, bob = Team.objects.get(slug="red"), User.objects.get(email="bob@example.org")
remove_member(team=red, user=bob, by=None)
deactivate_person(user=bob, by=None)
revoke_key(key=ApiKey.objects.get(name="red"), by=None)
for engine in Engine.objects.exclude(type="demo"):
    remove_engine(engine=engine, by=None)
"""
WIPE = """
from django.db import connection
with connection.cursor() as cursor:  # what no page offers: the rows themselves, by whoever has the database
    for table in ("gateway_servedmodel", "gateway_engine", "accounts_apikey", "accounts_membership"):
        cursor.execute(f"DELETE FROM {table}")
"""


@pytest.mark.timeout(90 + 20 * ROUNDS)
@pytest.mark.spec("F20", "F21", "R01", "R23")
def test_kill_9_under_load_loses_nothing_and_counts_nothing_twice(stage: Stage, kind: str) -> None:
    with stage.rig(kind, DRAIN_SECONDS="1") as rig:
        for _ in range(ROUNDS):
            with rig.load(*[LONG] * 4, *[SHORT] * 4, pause=0.05):
                time.sleep(random.uniform(1.0, 2.5))  # longer than several spool files
                rig.server.kill()
            rig.server.start()
        whole = [seen for seen in rig.seen if seen.whole]
        cut = [seen for seen in rig.seen if seen.cut and seen.deltas]
        assert len(whole) >= ROUNDS
        assert len(cut) >= ROUNDS
        rows = [rig.row(seen) for seen in cut]
        assert {(row["outcome"], row["completion_source"]) for row in rows} == {("interrupted", "counted")}
        assert [row for row in rows if not row["completion_tokens"]] == []


@pytest.mark.slow
@pytest.mark.spec("F22", "R11")
def test_a_drain_lets_twenty_streams_of_eight_seconds_come_to_their_end(stage: Stage, kind: str) -> None:
    with stage.rig(kind, DRAIN_SECONDS="30") as rig:
        running = [rig.begin(Way("fault:drip?n=160&gap=50")) for _ in range(20)]
        until(lambda: all(one.seen.deltas for one in running), "the streams never began")
        rig.server.signal(signal.SIGTERM)
        time.sleep(0.5)
        late = rig.call(SHORT)
        seen = [one.result() for one in running]
        assert rig.server.wait() == DRAINED[kind]
        assert [one.whole for one in seen] == [True] * 20
        if kind == "daphne":
            assert (late.status, late.error["code"], late.headers["connection"]) == (503, "draining", "close")
        else:
            assert (late.status, late.cut) == (0, True)
        assert {rig.row(one)["outcome"] for one in seen} == {"ok"}


@pytest.mark.slow
@pytest.mark.spec("F22")
def test_what_runs_when_the_drain_is_over_is_told_so_and_counted(stage: Stage, kind: str) -> None:
    with stage.rig(kind, DRAIN_SECONDS="1") as rig:
        running = [rig.begin(LONG) for _ in range(5)]
        until(lambda: all(one.seen.deltas for one in running), "the streams never began")
        rig.server.signal(signal.SIGTERM)
        seen = [one.result() for one in running]
        assert rig.server.wait() == DRAINED[kind]
        assert [one.whole for one in seen] == [False] * 5
        rows = [rig.row(one) for one in seen]
        assert {(row["outcome"], row["completion_source"]) for row in rows} == {("drained", "counted")}
        assert {one.error["code"] for one in seen} == {"service_unavailable"}


@pytest.mark.slow
@pytest.mark.spec("F30", "S03")
def test_a_revoked_key_is_refused_by_every_process_and_its_streams_are_cut(stage: Stage, kind: str) -> None:
    with stage.rig(kind, servers=2) as rig:
        both = [rig.begin(Way("fault:drip?n=2000&gap=20", server=place)) for place in (0, 1)]
        others = [rig.begin(Way("fault:drip?n=500&gap=20", key="blue", server=place)) for place in (0, 1)]
        until(lambda: all(one.seen.deltas for one in both), "the streams never began")
        with ThreadPoolExecutor(2) as threads:
            refused = [threads.submit(refused_at, rig, place) for place in (0, 1)]
            code = "import time; from accounts.keys import revoke_key; from accounts.models import ApiKey; "
            code += "revoke_key(key=ApiKey.objects.get(name='red'), by=None); print(time.time())"
            revoked = float(rig.shell(code))
            assert max(one.result() - revoked for one in refused) < REVOKED_WITHIN + LATE
        seen = [one.result() for one in both]
        ago = time.monotonic() - (time.time() - revoked)
        assert max(one.ended_at - ago for one in seen) < CUT_WITHIN
        assert {rig.row(one)["outcome"] for one in seen} == {"revoked"}
        assert {rig.row(one)["completion_source"] for one in seen} == {"counted"}
        assert [one.result().whole for one in others] == [True, True]


def refused_at(rig: Rig, server: int) -> float:
    """When this server first said 401, in seconds since the epoch."""
    with httpx.Client(base_url=rig.servers[server].url, headers=rig.bearer()) as client:
        while client.get("/v1/models").status_code != 401:
            time.sleep(0.02)
    return time.time()


@pytest.mark.slow
@pytest.mark.spec("F37")
def test_whatever_is_deleted_calls_end_by_the_rules_and_what_was_consumed_stays(stage: Stage, kind: str) -> None:
    with stage.rig(kind) as rig:
        rig.calls([SHORT] * 5)
        running = rig.begin(LONG)
        until(lambda: running.seen.deltas, "the stream never began")
        rig.shell(DELETE_ALL)
        assert rig.row(running.result())["outcome"] == "revoked"
        rig.judge()
        before = export(rig)
        rig.shell(WIPE)
        assert (export(rig), len(before.splitlines())) == (before, 7)
        with pytest.raises(Exception, match=r"violates foreign key|referenced through protected"):
            rig.query("DELETE FROM accounts_team")


def export(rig: Rig) -> str:
    """The team's log, as CSV."""
    return rig.manage("usage_export", "--team", "red", "--from", "2020-01-01", "--to", "2100-01-01")


@pytest.mark.slow
@pytest.mark.spec("F40")
def test_two_megabytes_of_nested_json_stall_no_event_loop(stage: Stage, kind: str) -> None:
    nested = b"[" * 50_000 + b"]" * 50_000
    lists = b'{"model": "plain", "messages": [' + b'{"role": "user", "content": [[[[[[[[]]]]]]]]},' * 45_000 + b"{}]}"
    with stage.rig(kind) as rig, lag_of(rig) as lag:
        headers = {**rig.bearer(), "content-type": "application/json"}

        def post(body: bytes) -> int:
            return httpx.post(f"{rig.server.url}/v1/chat/completions", content=body, headers=headers).status_code

        time.sleep(2)
        alone = statistics.quantiles(lag, n=10)[-1]  # on a busy machine that is something too
        lag.clear()
        assert set(map(post, [nested, lists] * 10)) == {400}
        assert statistics.quantiles(lag, n=10)[-1] < 0.2 + 2 * alone


@pytest.mark.slow
@pytest.mark.spec("R23")
def test_servers_of_both_kinds_share_one_installation(stage: Stage) -> None:
    """A rolling change from one server to the other, under load."""
    first, second = KINDS
    with stage.rig(first) as rig, contextlib.ExitStack() as loads:
        load = loads.enter_context(rig.load(*[SHORT] * 4))
        rig.kind = second
        rig.adopt(rig.open_server())
        other = loads.enter_context(rig.load(*[Way("fault:drip?n=20&gap=10", server=1)] * 4))
        load.wait_for_more(20)
        other.wait_for_more(20)
