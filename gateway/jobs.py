"""Work of this room that one process of the installation does now and then."""

import logging

from accounts.background import Job
from gateway.alerts import look_at_engines
from gateway.availability.spells import forget_old as forget_old_states
from gateway.availability.spells import note_states
from gateway.catalogue import look
from gateway.errors import GatewayError
from gateway.idempotency import forget_old
from gateway.models import Engine
from gateway.reconciliation.readings import EVERY, reconcile
from gateway.use.last import note_last_uses

logger = logging.getLogger(__name__)


def probe_engines() -> None:
    """Notes for each enabled engine when it was seen, or what its problem is; then how each model stands."""
    for engine in Engine.objects.filter(enabled=True):
        try:
            look(engine)
        except GatewayError as error:
            if engine.problem != error.message:
                logger.warning("Engine %s: %s", engine.name, error.message)
    note_states()


JOBS = [
    Job("gateway.probe", 30, probe_engines),
    Job("gateway.look_at_engines", 30, look_at_engines),
    Job("gateway.forget_requests", 3600, forget_old),
    Job("gateway.forget_states", 24 * 3600, forget_old_states),
    Job("gateway.last_use", 600, note_last_uses, daily=True),
    Job("gateway.reconcile", EVERY, reconcile, daily=True),
]
