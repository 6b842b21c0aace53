"""Clocks that step and clocks that differ. libfaketime stands between the server and the machine's clock."""

import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.faults.callers import Way
from tests.faults.rig import Rig, Stage, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the library is preloaded as Linux does it"),
]

HOUR = 3600  # seconds
STREAM = Way("fault:drip?n=60&gap=50")  # three seconds
ISSUE = """
from datetime import timedelta
from django.utils import timezone
from accounts.keys import issue_key
from accounts.models import Team
until = timezone.now() + timedelta(seconds={seconds})
print(issue_key(team=Team.objects.get(slug="red"), name="short {seconds}", by=None, expires_at=until).secret)
"""


class Clock:
    """A server's clock, which may be set while it runs. Its monotonic clock stays the machine's."""

    def __init__(self, rig: Rig, ahead: float = 0) -> None:
        self._file = rig.data / f"clock{len(rig.servers)}"
        self.set(ahead)
        self.env = {
            "LD_PRELOAD": str(_library()),
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
        }

    def set(self, ahead: float) -> None:
        """So many seconds ahead of the machine's. Replaced in one step, as the server reads it all the time."""
        half = self._file.with_suffix(".half")
        half.write_text(f"{ahead:+}")
        half.replace(self._file)


def _library() -> Path:
    spec = find_spec("libfaketime")
    assert spec is not None
    assert spec.origin is not None
    return next((Path(spec.origin).parent / "vendor").rglob("libfaketime.so*"))


@pytest.mark.spec("F23")
def test_a_clock_that_steps_by_an_hour_changes_no_duration_and_counts_each_call_once(stage: Stage, kind: str) -> None:
    with stage.rig(kind, servers=0) as rig:
        clock = Clock(rig)
        rig.adopt(rig.open_server(**clock.env))
        begun = []
        for ahead in (HOUR, -HOUR, 0):
            running = [rig.begin(STREAM) for _ in range(3)]
            until(lambda some=running: all(one.seen.deltas > 5 for one in some), "the streams never began")
            clock.set(ahead)
            begun += [(one.result(), time.time()) for one in running]
            assert rig.call(Way("fault:ok?n=5")).whole
            rig.server.wait_for(200)
        assert {seen.whole for seen, _ in begun} == {True}
        rows = [rig.row(seen) for seen, _ in begun]
        assert [row for row in rows if not 2_500 <= row["duration_ms"] <= 60_000] == []
        assert [row for row in rows if not 0 <= row["ttft_ms"] <= row["duration_ms"]] == []
        # Taken once, when the call began: the first three before the step, the next ones an hour ahead, then behind.
        hours = [round((row["at"].timestamp() - seen_at) / HOUR) for row, (_, seen_at) in zip(rows, begun, strict=True)]
        assert hours == [0] * 3 + [1] * 3 + [-1] * 3


@pytest.mark.spec("F23")
def test_nodes_whose_clocks_differ_agree_about_a_keys_life_within_a_minute(stage: Stage, kind: str) -> None:
    with stage.rig(kind, servers=0) as rig:
        for ahead in (0, 50, HOUR, -HOUR):
            server = rig.open_server(**Clock(rig, ahead).env)
            rig.adopt(server)
        rig.keys |= {"ends": rig.shell(ISSUE.format(seconds=1)), "lives": rig.shell(ISSUE.format(seconds=600))}
        time.sleep(2)

        def statuses(key: str) -> list[int]:
            return [rig.call(Way("fault:ok?n=2", key=key, server=place)).status for place in range(4)]

        assert statuses("ends") == [200, 200, 401, 200]
        assert statuses("lives") == [200, 200, 401, 200]
        assert statuses("red") == [200] * 4
