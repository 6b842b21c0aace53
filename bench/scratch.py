"""A database and data folder that a benchmark may fill: an embedded PostgreSQL that goes when the benchmark ends."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import django


@contextmanager
def scratch(kept: Path | None = None) -> Iterator[Path]:
    """Django is set up inside, with every table made; yields the data folder, which is `kept` where one is named."""
    passing = tempfile.TemporaryDirectory(prefix="tertulia-bench-", ignore_cleanup_errors=True)
    with passing if kept is None else nullcontext(str(kept)) as folder:
        Path(folder).mkdir(exist_ok=True)
        Path(folder).chmod(0o711)  # the database server's account passes through
        os.environ |= {"TERTULIA_DATA": folder, "SECRET_KEY": "benchmarks only: 5f4e3d2c1b0a9f8e7d6c5b4a"}
        os.environ.pop("DATABASE_URL", None)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
        django.setup()
        from django.core.management import call_command
        from django.db import connections

        from console.postgres import running

        with running(Path(folder)):
            call_command("migrate", interactive=False, verbosity=0)
            try:
                yield Path(folder)
            finally:
                connections.close_all()
