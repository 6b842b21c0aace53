"""The one way from async code to the database.

Outside Django's request cycle nothing gives a pooled connection back, and the default thread-sensitive mode would
queue every call of the process on a single thread. So: a small pool of threads of our own, and the connection is
returned after each call.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import sync_to_async
from django.db import connections

THREADS = 6  # plus the pages' own threads: together below the connection pool's maximum

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="database")


async def in_database[**P, R](work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `work` in a thread that may use the ORM. A transaction is crossed once: put it inside `work`."""

    def run() -> R:
        try:
            return work(*args, **kwargs)
        finally:
            connections.close_all()

    return await sync_to_async(run, thread_sensitive=False, executor=_threads)()
