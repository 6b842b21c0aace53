"""What a room offers to the background: jobs for the one leader, listeners for every web process."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """Work that one process of the installation does every so often. `run` may use the ORM and may raise.

    `daily`: also at once when a day of UTC has begun.
    """

    name: str
    every_seconds: int
    run: Callable[[], object]
    daily: bool = False


type Listener = Callable[[str], None]  # called with a notification's payload, in the event loop; must not block
