"""What must hold after every scenario, whatever it did.

The callers, the engine and the log are three witnesses of each call; `judge` compares them once everything has come to
rest. An inspection is a function that yields sentences about what is wrong: a new one goes into INSPECTIONS.
"""

import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from billing.spool.shipper import Waiting
from tests.engines.faultd import Exchange
from tests.faults.callers import Seen

if TYPE_CHECKING:
    from tests.faults.rig import Rig

PATIENCE = 30.0  # seconds until all must be in the log
PLAIN = frozenset({"ok", "drip", "slow", "echo"})  # scenarios whose counts are what the engine reports
MOST_SENTENCES = 10
LAST_DELTAS = 80  # an interrupted call may lack what came after its last progress: a second's, and a busy machine's
MOST_GROWTH = 64 << 20  # bytes of a server's resident memory, from its first moment to its last
# What is held for a call while it runs: a statement that counts what is still held, by the table that it needs.
HELD = {"billing_reservation": "SELECT count(*) AS n FROM billing_reservation"}


@dataclass(frozen=True)
class Evidence:
    """What the witnesses say, after all has come to rest or PATIENCE was over."""

    rig: "Rig"
    seen: list[Seen]
    exchanges: dict[str, Exchange]
    rows: dict[str, list[dict[str, Any]]]  # by the caller's label; chat's by ""
    pending: Waiting

    def of(self, seen: Seen) -> dict[str, Any] | None:
        """The one row of a call."""
        found = self.rows.get(seen.label, [])
        return found[0] if len(found) == 1 else None

    def admitted(self, seen: Seen) -> bool:
        """Whether it must stand in the log: an answer had begun, or the engine was asked."""
        return seen.status == 200 or seen.label in self.exchanges


def judge(rig: "Rig") -> None:
    evidence = _at_rest(rig)
    wrong = [sentence for inspect in INSPECTIONS for sentence in inspect(evidence)]
    assert wrong == [], "\n".join([f"{len(wrong)} things are wrong", *wrong[:MOST_SENTENCES]])


def _at_rest(rig: "Rig") -> Evidence:
    deadline = time.monotonic() + PATIENCE
    while True:
        evidence = _gather(rig)
        if _rests(evidence) or time.monotonic() > deadline:
            return evidence
        time.sleep(0.1)


def _gather(rig: "Rig") -> Evidence:
    pending = rig.pending()  # first: what is shipped meanwhile is then in the log
    rows: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rig.rows():
        rows[row["client_request_id"]].append(row)
    return Evidence(rig, list(rig.seen), rig.exchanges(), rows, pending)


def _rests(evidence: Evidence) -> bool:
    pending = evidence.pending
    return (
        not (pending.ended or pending.running)
        and all(evidence.rows.get(seen.label) for seen in evidence.seen if evidence.admitted(seen))
        and not any(_in_the_making(exchange) for exchange in evidence.exchanges.values())
    )


def one_row_each(evidence: Evidence) -> Iterator[str]:
    """Every call that was admitted stands in the log once, and nothing else does."""
    for seen in evidence.seen:
        rows = evidence.rows.get(seen.label, [])
        if len(rows) > 1 or (evidence.admitted(seen) and not rows):
            yield f"{len(rows)} rows for {_told(seen)}"
    known = {seen.label for seen in evidence.seen} | {""}
    yield from (f"a row of nobody's call: {rows}" for label, rows in evidence.rows.items() if label not in known)


def the_same_id(evidence: Evidence) -> Iterator[str]:
    for seen in evidence.seen:
        row = evidence.of(seen)
        if row and seen.request_id and UUID(seen.request_id) != row["id"]:
            yield f"{_told(seen)} was told another id than {row['id']}"


def whole_answers_are_ok(evidence: Evidence) -> Iterator[str]:
    for seen in evidence.seen:
        row = evidence.of(seen)
        if row and (seen.whole and not seen.error) != (row["outcome"] == "ok") and not _lost_at_the_end(seen, row):
            yield f"{_told(seen)} is {row['outcome']} in the log"


def the_engines_counts(evidence: Evidence) -> Iterator[str]:
    """Whole answers have the engine's own counts."""
    for seen in evidence.seen:
        row, exchange = evidence.of(seen), evidence.exchanges.get(seen.label)
        if row and exchange and seen.whole and exchange.scenario in PLAIN and exchange.reported:
            told = exchange.reported["prompt_tokens"], exchange.reported["completion_tokens"]
            if (row["prompt_tokens"], row["completion_tokens"]) != told or row["completion_source"] != "upstream":
                yield f"{_told(seen)}: the engine reported {told}, the log has {row}"


def broken_streams_are_counted(evidence: Evidence) -> Iterator[str]:
    """Not fewer tokens than the caller got, short of what a dead process could not write; never more than were sent."""
    for seen in evidence.seen:
        row, exchange = evidence.of(seen), evidence.exchanges.get(seen.label)
        if not (row and exchange and seen.way.stream) or seen.whole or row["completion_source"] == "upstream":
            continue
        least = seen.deltas - (LAST_DELTAS if row["outcome"] == "interrupted" else 0)
        if not least <= row["completion_tokens"] <= exchange.deltas:
            yield f"{_told(seen)}: {exchange.deltas} deltas sent, {seen.deltas} seen, the log has {row}"


def chat_answers(evidence: Evidence) -> Iterator[str]:
    """Each answer of the chat that an engine was asked for has one row, and each row is an answer's."""
    rows = Counter(row["id"] for row in evidence.rows.get("", []))
    made = {one["request_id"]: one for one in evidence.rig.query("SELECT * FROM chat_generation")}
    yield from (f"{n} rows for the answer {request_id}" for request_id, n in rows.items() if n > 1)
    yield from (f"a row of no answer: {request_id}" for request_id in rows.keys() - made.keys())
    yield from (
        f"an answer without a row: {one}" for one in made.values() if one["request_id"] not in rows and one["seq"]
    )


def nothing_runs(evidence: Evidence) -> Iterator[str]:
    pending = evidence.pending
    if pending.ended or pending.running:
        yield f"still in the spools: {pending.ended} ended, {pending.running} running"
    for label, exchange in evidence.exchanges.items():
        if _in_the_making(exchange):
            yield f"the engine still answers {label}"


def nothing_is_held(evidence: Evidence) -> Iterator[str]:
    for table, statement in HELD.items():
        if evidence.rig.query("SELECT to_regclass(%s) AS found", table)[0]["found"]:
            held = evidence.rig.query(statement)[0]["n"]
            if held:
                yield f"{held} rows are left in {table}"


def memory_is_back(evidence: Evidence) -> Iterator[str]:
    for server, before in zip(evidence.rig.servers, evidence.rig.weights, strict=True):
        if server.pid == before.pid and server.running and server.memory() - before.memory > evidence.rig.most_growth:
            yield f"a server has grown from {before.memory >> 20} to {server.memory() >> 20} MiB"


def the_audit_agrees(evidence: Evidence) -> Iterator[str]:
    done = evidence.rig.server.manage("usage_audit", check=False)
    if done.returncode:
        yield done.stdout + done.stderr


def no_errors_in_the_log(evidence: Evidence) -> Iterator[str]:
    expected = [re.compile(pattern) for pattern in evidence.rig.expected_errors]
    for server in evidence.rig.servers:
        for line in server.log().splitlines():
            if _is_error(line) and not any(pattern.search(line) for pattern in expected):
                yield f"the server says: {_shortened(line)}"


def _is_error(line: str) -> bool:
    """JSON lines by their level. Other lines come from what writes past our logs, and are trouble when they say so."""
    if line.startswith("{"):
        return json.loads(line).get("level") in {"error", "critical"}
    return line.startswith(("Traceback", "ERROR", "CRITICAL")) or "never awaited" in line or "never retrieved" in line


def _shortened(line: str) -> str:
    if not line.startswith("{"):
        return line[:500]
    found = json.loads(line)
    return f"{found.get('event')} {found.get('path', '')} ... {str(found.get('exception', ''))[-300:]}"


def _lost_at_the_end(seen: Seen, row: dict[str, Any]) -> bool:
    """The end was written, and did not reach a caller who had left or whose server died."""
    return row["outcome"] == "ok" and seen.cut and not seen.error


def _in_the_making(exchange: Exchange) -> bool:
    return exchange.ended_at is None and exchange.closed_at is None


def _told(seen: Seen) -> str:
    body = seen.body if len(seen.body) < 300 else b"..."
    return f"{seen.label} ({seen.way.says}, {seen.status}, {seen.deltas} deltas, whole {seen.whole}, {body!r})"


INSPECTIONS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    one_row_each,
    the_same_id,
    whole_answers_are_ok,
    the_engines_counts,
    broken_streams_are_counted,
    chat_answers,
    nothing_runs,
    nothing_is_held,
    memory_is_back,
    the_audit_agrees,
    no_errors_in_the_log,
)
