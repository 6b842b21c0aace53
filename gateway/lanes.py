"""How many calls an engine has at once, and who waits for a place: briefly, and the teams by turns.

Counted in this process. A call that finds every engine of its model full waits for the first place at any of them.
"""

import asyncio
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.engines.clock import Clock
from gateway.engines.facts import Route
from gateway.errors import Unavailable

WAIT = 20.0  # seconds that a call may wait for a place
LEAST_QUEUE = 16  # calls that may wait for an engine, or four times its places if that is more


@dataclass(slots=True, eq=False)
class _Waiter:
    routes: Sequence[Route]
    place: asyncio.Future[Route]


_taken: Counter[int] = Counter()  # places by engine id
_queues: OrderedDict[int, deque[_Waiter]] = OrderedDict()  # by team id, whose turn it is first


def waiting() -> int:
    """Calls that wait for a place now."""
    return sum(map(len, _queues.values()))


def waiting_by_model() -> Counter[str]:
    return Counter(waiter.routes[0].public_id for queue in _queues.values() for waiter in queue)


def running(engine_id: int) -> int:
    return _taken[engine_id]


async def enter(routes: Sequence[Route], team_id: int, clock: Clock) -> Route:
    """The first of these ways whose engine has a place, which is then taken: give it back with `leave`.

    Raises Unavailable when the queue is full, or the wait too long.
    """
    for route in routes:
        if _has_place(route):
            _taken[route.engine.id] += 1
            return route
    waiter = _Waiter(routes, asyncio.get_running_loop().create_future())
    _queue(waiter, team_id)
    try:
        async with asyncio.timeout(WAIT):
            return await clock.wait(waiter.place)
    except TimeoutError as error:
        _give_back(waiter)
        raise _full() from error
    except BaseException:
        _give_back(waiter)
        raise
    finally:
        _leave_queue(waiter, team_id)


def leave(route: Route) -> None:
    """Gives the place back, to whoever's turn it is. To nobody while the engine has more calls than it may have now."""
    _taken[route.engine.id] -= 1
    for team_id, queue in _queues.items():
        for waiter in queue:
            found = next((way for way in waiter.routes if way.engine.id == route.engine.id), None)
            if found is not None and _has_place(found) and not waiter.place.done():
                _taken[route.engine.id] += 1
                waiter.place.set_result(found)
                _queues.move_to_end(team_id)
                return


def _has_place(route: Route) -> bool:
    most = route.engine.max_concurrent
    return most is None or _taken[route.engine.id] < most


def _queue(waiter: _Waiter, team_id: int) -> None:
    """No team may fill more than half of a queue, so that there is room for the others."""
    most = max(LEAST_QUEUE, *(4 * (route.engine.max_concurrent or 0) for route in waiter.routes))
    model = waiter.routes[0].public_id
    ahead = {team: sum(one.routes[0].public_id == model for one in queue) for team, queue in _queues.items()}
    if sum(ahead.values()) >= most or ahead.get(team_id, 0) >= most // 2:
        raise _full()
    _queues.setdefault(team_id, deque()).append(waiter)


def _leave_queue(waiter: _Waiter, team_id: int) -> None:
    queue = _queues.get(team_id)
    if queue is not None and waiter in queue:
        queue.remove(waiter)
        if not queue:
            del _queues[team_id]


def _give_back(waiter: _Waiter) -> None:
    """It was given a place at the very moment that it stopped waiting."""
    if waiter.place.done() and not waiter.place.cancelled():
        leave(waiter.place.result())


def _full() -> Unavailable:
    # Not all at the same moment again.
    seconds = random.randint(1, 5)  # noqa: S311  no secret
    return Unavailable("Every engine of this model is busy. Try again later.", code="overloaded", retry_after=seconds)
