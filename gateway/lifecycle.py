"""How long a model is offered, and what follows it. With `gateway.catalogue` the writer of models."""

from datetime import date

from django.db import transaction
from django.utils.translation import gettext as _

from accounts import audit, revision
from accounts.models import User
from gateway.errors import CatalogueMistake
from gateway.models import ServedModel


@transaction.atomic
def set_lifecycle(
    *, model: ServedModel, retires_on: date | None, successor: str, on_status_page: bool, by: User | None
) -> None:
    """`retires_on` deprecates the model, on all its engines: callers may rely on it until that day. It is not switched
    off then; somebody has to. `successor` is the public id of another model, "" if there is none.

    Raises CatalogueMistake.
    """
    rows = list(ServedModel.objects.select_for_update().filter(public_id=model.public_id).order_by("pk"))
    successor = successor.strip() if retires_on else ""
    if successor == model.public_id:
        raise CatalogueMistake(_("A model cannot follow itself."), param="successor")
    if successor and not ServedModel.objects.filter(public_id=successor).exists():
        raise CatalogueMistake(_("No engine serves a model “%(name)s”.") % {"name": successor}, param="successor")
    wanted = {"retires_on": retires_on, "successor": successor, "on_status_page": on_status_page}
    told = {
        field: f"{getattr(model, field) or '–'} → {value or '–'}"
        for field, value in wanted.items()
        if any(getattr(row, field) != value for row in rows)
    }
    if not told:
        return
    ServedModel.objects.filter(pk__in=[row.pk for row in rows]).update(**wanted)
    audit.record("model.lifecycle", by=by, team=None, subject=model, **told)
    revision.bump()
