"""Callers who leave, who do not read, who never finish asking, and who come again."""

import contextlib
import json
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.callers import Seen, Way
from tests.faults.rig import Rig, Stage, until

CLOSED_WITHIN = 1.0  # seconds from the caller's leaving to the engine's connection
HALVES = 500
HALF_SECONDS = 15.0
UNREAD_MB = 50


def leaving(rig: Rig, way: Way) -> tuple[Seen, float]:
    """A caller who leaves, and how long the engine still worked for him, in seconds."""
    seen = rig.call(way)

    def closed() -> float | None:
        exchange = rig.exchange(seen)
        return exchange.closed_at if exchange else None

    at = until(closed, "the engine was never told")
    assert at is not None
    return seen, at - seen.ended_at


@pytest.mark.spec("F01", "R03", "T7")
@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
def test_who_leaves_midway_frees_the_engine_at_once_and_pays_for_what_came(
    stage: Stage, kind: str, reset: bool
) -> None:
    with stage.rig(kind) as rig:
        seen, worked_on = leaving(rig, Way("fault:drip?n=400&gap=60", leave_after=5, reset=reset))
        row = rig.row(seen)
        assert worked_on < CLOSED_WITHIN
        assert (row["outcome"], row["completion_source"]) == ("client_gone", "counted")
        assert 5 <= row["completion_tokens"] <= 6 + CLOSED_WITHIN / 0.06
        assert row["prompt_source"] == "estimated"


@pytest.mark.spec("F02")
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_who_leaves_before_the_first_byte_pays_nothing(stage: Stage, kind: str, stream: bool) -> None:
    with stage.rig(kind) as rig:
        seen, worked_on = leaving(rig, Way("fault:slow?first=20000", leave_at=0.5, stream=stream))
        row = rig.row(seen)
        assert worked_on < CLOSED_WITHIN
        assert (row["outcome"], row["prompt_tokens"], row["completion_tokens"]) == ("client_gone", 0, 0)
        assert (row["prompt_source"], row["completion_source"]) == ("none", "none")


@pytest.mark.slow
@pytest.mark.spec("F28", "R20")
def test_who_does_not_read_holds_the_engine_back_and_not_our_memory(stage: Stage, kind: str) -> None:
    with stage.rig(kind) as rig, socket.create_connection(("127.0.0.1", rig.server.port)) as lazy:
        before = rig.server.memory()
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        n = UNREAD_MB * 5_000  # 200 bytes an event
        seen = rig.expect(Way(f"fault:ok?n={n}"))
        lazy.sendall(request(rig, seen))
        until(lambda: rig.pending().running == 1, "the call never began")
        time.sleep(3)
        grown = rig.server.memory() - before
        lazy.close()
        until(lambda: rig.pending().running == 0, "the call never ended")
        row = rig.row(seen)
        assert grown < 64 << 20
        assert (row["outcome"], row["completion_tokens"] < n) == ("client_gone", True)


@pytest.mark.slow
@pytest.mark.spec("F28", "R20")
def test_who_takes_nothing_for_half_a_minute_is_cut(stage: Stage) -> None:
    """On daphne, whose deadline is ours; behind uvicorn it is the proxy's (docs/deploy.md)."""
    with stage.rig("daphne") as rig, socket.create_connection(("127.0.0.1", rig.server.port)) as lazy:
        seen = rig.expect(Way("fault:ok?n=250000"))
        lazy.sendall(request(rig, seen))
        assert rig.row(seen)["outcome"] == "client_gone"


def request(rig: Rig, seen: Seen) -> bytes:
    prompt = {"role": "user", "content": f"{seen.way.says} {seen.label}"}
    body = json.dumps({"model": seen.way.model, "stream": seen.way.stream, "messages": [prompt]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {rig.keys['red']}\r\n"
    return f"{head}x-request-id: {seen.label}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.slow
@pytest.mark.spec("F28", "R21")
def test_five_hundred_half_sent_heads_slow_nobody_down_and_are_closed(stage: Stage) -> None:
    """On daphne, whose deadline is ours; behind uvicorn it is the proxy's (docs/deploy.md)."""
    with stage.rig("daphne") as rig, contextlib.ExitStack() as held:
        rig.call()
        alone = typical(rig)
        halves = [held.enter_context(socket.create_connection(("127.0.0.1", rig.server.port))) for _ in range(HALVES)]
        for half in halves:
            half.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-slow")
        sent = time.monotonic()
        assert typical(rig) < 2 * alone + 0.05
        with ThreadPoolExecutor(HALVES) as threads:
            closed = list(threads.map(was_closed, halves))
        assert (all(closed), time.monotonic() - sent < HALF_SECONDS) == (True, True)


def typical(rig: Rig) -> float:
    """The 95th percentile of forty calls, seconds."""
    return statistics.quantiles([rig.call(stream=False).seconds for _ in range(40)], n=20)[-1]


def was_closed(half: socket.socket) -> bool:
    half.settimeout(HALF_SECONDS + 5)
    with contextlib.suppress(ConnectionResetError):
        return half.recv(1) == b""
    return True


@pytest.mark.spec("F33", "R16")
def test_a_call_that_is_sent_again_and_again_is_carried_out_once(stage: Stage, kind: str) -> None:
    with stage.rig(kind) as rig:
        again = {"idempotency-key": "the same"}
        first = rig.begin(Way("fault:slow?first=800&n=3", stream=False, headers=again))
        until(lambda: rig.exchange(first.seen), "the first call never came to the engine")
        # The prompt carries each caller's own label: for equal bodies it must be the same one.
        body = {"messages": [{"role": "user", "content": f"{first.seen.way.says} {first.seen.label}"}]}
        others = rig.calls([Way(stream=False, headers=again, more=body)] * 10)
        answered = first.result()
        later = rig.call(Way(stream=False, headers=again, more=body))
        changed = rig.call(Way(stream=False, headers=again))
        assert (answered.status, changed.status) == (200, 422)
        assert {one.status for one in [*others, later]} == {409}
        assert {answered.request_id in one.error["message"] for one in [*others, later]} == {True}
        assert len(rig.exchanges()) == 1
        assert len(rig.rows()) in {0, 1}  # and the oracle waits for the one
