"""The models as /v1/models shows them: vLLM's card, with `aliases` as Cloud Temple adds them."""

from typing import Any

from accounts.callers import Caller
from gateway import routing
from gateway.engines.facts import Route
from gateway.snapshot import holder

OWNER = "tertulia"


def model_list(caller: Caller) -> dict[str, Any]:
    """The models that the caller may use, by id. Deprecated ones answer on, and nobody new should find them."""
    routes = holder.current().routes
    names = sorted(name for name, ways in routes.items() if caller.may_use(name) and not any(map(_retires, ways)))
    return {"object": "list", "data": [_card(name, routes[name]) for name in names]}


def model_card(caller: Caller, asked: str) -> dict[str, Any]:
    """Raises NotFound and ModelForbidden, as a completion would."""
    snapshot = holder.current()
    name = routing.public_id(snapshot, caller, asked)
    return _card(name, snapshot.routes[name])


def _card(name: str, routes: tuple[Route, ...]) -> dict[str, Any]:
    lengths = [route.context_length for route in routes if route.context_length]
    created = min(route.created for route in routes)
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": OWNER,
        "root": name,
        "aliases": sorted({name}.union(*(route.aliases for route in routes))),
        "parent": None,
        "max_model_len": max(lengths, default=None),
        "permission": [
            {
                "id": f"modelperm-{name}-{created}",
                "object": "model_permission",
                "created": created,
                "allow_create_engine": False,
                "allow_sampling": True,
                "allow_logprobs": True,
                "allow_search_indices": False,
                "allow_view": True,
                "allow_fine_tuning": False,
                "organization": "*",
                "group": None,
                "is_blocking": False,
            }
        ],
        **_farewell(routes),
    }


def _retires(route: Route) -> bool:
    return route.retires_on is not None


def _farewell(routes: tuple[Route, ...]) -> dict[str, Any]:
    """Of a deprecated model, by the names that Mistral's cards have for it. All others' cards are as the seeds'."""
    days = [route.retires_on for route in routes if route.retires_on]
    if not days:
        return {}
    successor = next((route.successor for route in routes if route.successor), None)
    return {"deprecation": f"{min(days)}T00:00:00Z", "deprecation_replacement_model": successor}
