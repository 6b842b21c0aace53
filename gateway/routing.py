"""Which model a caller means, and which engine a call goes to."""

import math
import random
from collections.abc import Sequence

from accounts.callers import Caller
from gateway import health
from gateway.engines.facts import Route
from gateway.errors import ModelForbidden, NotFound, Unavailable
from gateway.snapshot import Snapshot


def public_id(snapshot: Snapshot, caller: Caller, asked: str) -> str:
    """The model's canonical id. Raises NotFound for what does not exist for the team, ModelForbidden for the key."""
    found = asked if asked in snapshot.routes else snapshot.aliases.get(asked.casefold())
    if found is None or not caller.sees(found):
        raise NotFound(f"The model {asked[:200]!r} does not exist.", param="model")
    if not caller.may_use(found):
        raise ModelForbidden(f"This key may not use the model {asked[:200]!r}.", param="model")
    return found


def in_order(routes: Sequence[Route]) -> list[Route]:
    """The ways to a model that may be tried, best first: by chance as their weights say, those that rest last.

    Raises Unavailable when none may be tried.
    """
    found = [route for route in routes if not health.is_out(route.engine)]
    found = found or [route for route in routes if health.may_find_out(route.engine)]
    if len(found) > 1:
        found.sort(key=lambda route: (health.rests(route.engine), *_by_weight(route)))
    if not found:
        raise Unavailable("No engine serves this model at the moment.", retry_after=round(health.REST))
    return found


def _by_weight(route: Route) -> tuple[bool, float]:
    """Sorted by these, each way comes first as often as its share of the weights (Efraimidis and Spirakis)."""
    weight = route.engine.weight
    return weight == 0, -math.log(1 - random.random()) / (weight or 1)  # noqa: S311  chance, no secret
