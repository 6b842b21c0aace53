"""How the engines do, as this process sees it: by what their answers came to, and by asking them now and then.

An engine that failed rests: it is asked after the others. One that several times in a row could not be reached, or
did not begin to answer, is out: it is not asked at all for a while, so that callers hear it at once and do not queue
up before it. A look that finds it well lets it in again early, unless it took calls and said nothing, which a look
does not see. Where no other engine is left, one call a second may find out that an unreachable one is back. A failure
of another kind only makes it rest, and so does silence while it answers others: a caller whose question makes an
engine fall over, or keeps it longer than we wait, must not take it from everybody else.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from gateway.engines import CLIENTS
from gateway.engines.clock import Clock, Deadlines
from gateway.engines.facts import EngineFacts
from gateway.errors import EngineTimeout, GatewayError, TooMany, Unavailable

logger = logging.getLogger(__name__)

REST = 5.0  # seconds that an engine which failed is asked last
OUT_AFTER = 3  # failures to reach it, in a row
LONGEST_OUT = 60.0  # seconds; the first time REST, and double with each failure after it
MOST_DOUBLED = 10  # times: by then it is the longest for long, and a power of hours of failures fits no float
LOOK_EVERY = 10.0  # seconds between looks at an engine that is well
LOOK_AGAIN = 1.0  # at one that is not
LOOK = Deadlines(connect=2, first=5, between=5, total=5)


@dataclass(slots=True)
class State:
    """`silent`: the last trouble was a call without an answer, which a look would not have found."""

    failures: int = 0
    silent: bool = False
    answered_at: float = float("-inf")  # a call, that is; a look says nothing of those
    rests_until: float = 0
    out_until: float = 0
    called_at: float = 0  # when a call last failed there, or was let in to find out
    looked_at: float = float("-inf")


_states: dict[int, State] = {}  # by engine id


def state(engine: EngineFacts) -> State:
    return _states.setdefault(engine.id, State())


def forget() -> None:
    _states.clear()


def rests(engine: EngineFacts) -> bool:
    found = _states.get(engine.id)
    return found is not None and found.rests_until > monotonic()


def is_out(engine: EngineFacts) -> bool:
    found = _states.get(engine.id)
    return found is not None and found.out_until > monotonic()


def may_find_out(engine: EngineFacts) -> bool:
    """Whether a call that has no other engine left may try one that is out, which is then not tried for a second."""
    found, now = state(engine), monotonic()
    if found.silent or now < found.called_at + LOOK_AGAIN:
        return False
    found.called_at = now
    return True


def failed(engine: EngineFacts, error: GatewayError, *, asked_at: float = float("inf")) -> None:
    """A call came back with an error that another engine might not have given. `asked_at` is of `monotonic`."""
    found = state(engine)
    if isinstance(error, TooMany):  # it is well, and has enough to do
        found.rests_until = monotonic() + (error.retry_after or REST)
        return
    found.called_at = monotonic()
    found.rests_until = found.called_at + REST
    if isinstance(error, EngineTimeout) and found.answered_at > asked_at:
        return
    if isinstance(error, Unavailable | EngineTimeout):
        _missed(engine, found, silent=isinstance(error, EngineTimeout))


def answered(engine: EngineFacts) -> None:
    """A call has been answered, or has begun to be."""
    found = state(engine)
    found.answered_at = monotonic()
    _well(engine, found)


async def watch(engines: Callable[[], Iterable[EngineFacts]]) -> None:
    """Looks at each engine now and then, until cancelled."""
    while True:
        due = [engine for engine in engines() if monotonic() >= state(engine).looked_at + _patience(engine)]
        # What no look should meet must not end the looks at all the others.
        for engine, trouble in zip(due, await asyncio.gather(*map(look, due), return_exceptions=True), strict=True):
            if trouble is not None:
                logger.error("The look at engine %s failed", engine.name, exc_info=trouble)
        await asyncio.sleep(LOOK_AGAIN)


async def look(engine: EngineFacts) -> None:
    found = state(engine)
    found.looked_at = monotonic()
    try:
        await CLIENTS[engine.type].probe(engine, Clock(LOOK))
    except GatewayError as error:
        if isinstance(error, Unavailable | EngineTimeout):
            found.rests_until = monotonic() + REST
            _missed(engine, found, silent=False)
        return
    if not found.silent:
        _well(engine, found)


def _patience(engine: EngineFacts) -> float:
    return LOOK_AGAIN if state(engine).failures else LOOK_EVERY


def _well(engine: EngineFacts, found: State) -> None:
    if found.failures or found.rests_until:
        if found.failures >= OUT_AFTER:
            logger.info("Engine %s answers again", engine.name)
        _states[engine.id] = State(answered_at=found.answered_at, looked_at=found.looked_at)


def _missed(engine: EngineFacts, found: State, *, silent: bool) -> None:
    found.failures += 1
    found.silent = silent
    if found.failures >= OUT_AFTER:
        doubled = min(found.failures - OUT_AFTER, MOST_DOUBLED)
        found.out_until = monotonic() + min(REST * 2.0**doubled, LONGEST_OUT)
    if found.failures == OUT_AFTER:
        logger.warning("Engine %s is not asked any more until it answers again", engine.name)
