"""Which models are on offer now: the one reading of the catalogue that every page goes by."""

from gateway.models import Engine, ServedModel


def offered() -> dict[str, list[ServedModel]]:
    """The rows of each model by its public id, with their engines, in the order of ids and of their making.

    The demo counts only while no other engine is enabled. Two queries.
    """
    rows = ServedModel.objects.filter(enabled=True, engine__enabled=True).select_related("engine")
    apart = Engine.objects.filter(enabled=True, fallback=False).exists()
    found: dict[str, list[ServedModel]] = {}
    for row in rows.order_by("public_id", "pk"):
        if not (apart and row.engine.fallback):
            found.setdefault(row.public_id, []).append(row)
    return found
