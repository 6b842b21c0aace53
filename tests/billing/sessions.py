"""Two sessions of the database at once."""

import threading
from collections.abc import Callable

import psycopg
from django.db import connection

from console.listen import direct_address


def beside(work: Callable[[], object]) -> threading.Thread:
    """Runs it in a thread with a connection of its own."""

    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def wait_until_one_waits() -> int:
    """Until a session waits for a lock; returns its process id. A transaction would see one moment for ever."""
    with psycopg.connect(**direct_address()) as beside_all:
        while True:
            beside_all.rollback()
            found = beside_all.execute("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
            if found:
                return int(found[0])
