"""Which commands bring the embedded database up for as long as they run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from console import env, postgres

# `start` holds it itself; `serve` is for a database that stands somewhere else or is held by another process.
WITHOUT = frozenset(
    {
        "start", "serve", "test", "check", "help", "version", "collectstatic", "findstatic",
        "makemessages", "compilemessages", "diffsettings",
    }
)  # fmt: skip


@contextmanager
def database_for(arguments: Sequence[str]) -> Iterator[None]:
    """Joins the embedded server around a management command, or starts it and stops it again."""
    command = arguments[1] if len(arguments) > 1 else "help"
    if command in WITHOUT or command.startswith("-") or "--help" in arguments:
        yield
        return
    environment = env.read()
    if environment.database_url:
        yield
        return
    with postgres.running(environment.data):
        yield
