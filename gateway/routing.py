"""Which engine a call goes to. What went wrong lately is remembered here, in this process."""

from collections.abc import Sequence
from time import monotonic

from accounts.callers import Caller
from gateway.engines.client import EngineFacts, Route
from gateway.errors import ModelForbidden, NotFound
from gateway.snapshot import Snapshot

REST = 5.0  # seconds that an engine which failed is asked last

_failed: dict[int, float] = {}  # engine id → when it may be asked first again


def public_id(snapshot: Snapshot, caller: Caller, asked: str) -> str:
    """The model's canonical id. Raises NotFound for what does not exist for the team, ModelForbidden for the key."""
    found = asked if asked in snapshot.routes else snapshot.aliases.get(asked.casefold())
    if found is None or not caller.sees(found):
        raise NotFound(f"The model {asked[:200]!r} does not exist.", param="model")
    if not caller.may_use(found):
        raise ModelForbidden(f"This key may not use the model {asked[:200]!r}.", param="model")
    return found


def in_order(routes: Sequence[Route]) -> list[Route]:
    """Those whose engine has not failed in the last seconds come first; the rest are still better than nothing."""
    now = monotonic()
    return sorted(routes, key=lambda route: _failed.get(route.engine.id, 0) > now)


def failed(engine: EngineFacts) -> None:
    _failed[engine.id] = monotonic() + REST


def answered(engine: EngineFacts) -> None:
    _failed.pop(engine.id, None)
