"""A loop that stands still is measured and said."""

import asyncio
import time

import pytest

from console import watchdog
from gateway.measures import Tally


@pytest.mark.anyio
@pytest.mark.spec("F40")
async def test_a_loop_that_stood_still_is_measured_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watchdog, "lag", lag := Tally(watchdog.BOUNDS))
    watching = asyncio.create_task(watchdog.watch())
    await asyncio.sleep(0)
    time.sleep(watchdog.EVERY + watchdog.LONG + 0.1)  # noqa: ASYNC251 - what must not happen
    await asyncio.sleep(watchdog.EVERY / 4)
    watching.cancel()
    assert lag.buckets()[-3:] == [("1.0", 0), ("5.0", 1), ("+Inf", 1)]
    assert lag.sum >= watchdog.LONG
    assert "The event loop stood still" in caplog.text


def test_a_tally_counts_up_to_each_bound_and_beyond() -> None:
    tally = Tally((1.0, 5.0))
    for value in (0.5, 1.0, 1.1, 7.0):
        tally.add(value)
    assert tally.buckets() == [("1.0", 2), ("5.0", 3), ("+Inf", 4)]
    assert tally.sum == pytest.approx(9.6)
