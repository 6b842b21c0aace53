"""Whether the event loop comes round: what stalls it holds up every call of the process."""

import asyncio
import logging
from time import monotonic

from gateway.measures import Tally

EVERY = 0.25  # seconds between two looks
LONG = 1.0  # seconds late that are worth a line in the log
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)

logger = logging.getLogger(__name__)

lag = Tally(BOUNDS)  # seconds that the loop was late


async def watch() -> None:
    """Measures until cancelled."""
    while True:
        due = monotonic() + EVERY
        await asyncio.sleep(EVERY)
        late = max(0.0, monotonic() - due)
        lag.add(late)
        if late >= LONG:
            logger.warning("The event loop stood still", extra={"seconds": round(late, 2)})
