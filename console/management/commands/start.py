import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from threading import Event, Thread
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connections

from console import local_model, preparation
from console.errors import PostgresTrouble
from console.postgres import EmbeddedServer

LOOK_AFTER_POSTGRES = 2.0  # seconds


class Command(BaseCommand):
    help = "Start everything in one process: PostgreSQL, the web, the API and the background work."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        environment = settings.ENVIRONMENT
        with ExitStack() as stack:
            if settings.EMBEDDED_POSTGRES:
                stack.enter_context(embedded())
            stack.callback(connections.close_all)
            preparation.compile_messages_if_changed()
            preparation.migrate_if_needed()
            preparation.collect_static_if_changed()
            lines = stack.enter_context(self._engines())
            first = self._first_sign_in()
            connections.close_all()

            # Only now: the application lists the static files when it is imported.
            from console.jobs import Jobs
            from console.serving import serve

            jobs = Jobs()
            jobs.start()
            stack.callback(jobs.stop)

            def ready(port: int) -> None:
                self._say(first, lines)

            serve(host=environment.host, port=environment.port, drain_seconds=environment.drain_seconds, ready=ready)

    def _say(self, first: list[str], engines: list[str]) -> None:
        self.stdout.write(f"\nTertulia is ready: {settings.BASE_URL}\n\n")
        for heading, lines in (("First sign-in", first), ("Engines", engines)):
            for word, line in zip_longest([heading][: len(lines)], lines, fillvalue=""):
                self.stdout.write(f"  {word:<15} {line}")
        self.stdout.write(f"  Data            {settings.DATA}")
        self.stdout.write("  Stop            Ctrl-C; answers that run may end\n\n")
        self.stdout.flush()

    def _first_sign_in(self) -> list[str]:
        """How the first administrator gets in, for as long as nobody has; makes that person the first time."""
        from accounts.models import User
        from accounts.people import first_link, make_first_administrator

        environment = settings.ENVIRONMENT
        if not User.objects.filter(is_operator=True).exists():
            make_first_administrator(
                email=environment.admin_email or "admin@localhost", password=environment.admin_password or None
            )
        link = first_link()
        if link is None:
            return []
        if environment.admin_password:
            return [f"as {environment.admin_email or 'admin@localhost'}, with ADMIN_PASSWORD"]
        return [f"{settings.BASE_URL}{link}", "once, within the hour; the next start prints a new one"]

    @contextmanager
    def _engines(self) -> Iterator[list[str]]:
        """What there is to talk to, as lines for people; the local model runs as long as we do."""
        from gateway.catalogue import add_engine, import_models, remove_engine
        from gateway.discovery import find_engines
        from gateway.models import Engine, EngineType

        local = Engine.objects.filter(name=local_model.NAME).first()
        with local_model.serving(settings.ENVIRONMENT.local_model, local.url if local else "") as url:
            if local and local.url != url:
                remove_engine(engine=local, by=None)
                local = None
            if url:
                import_models(engine=local or add_engine(name=local_model.NAME, type=EngineType.LLAMACPP, url=url))
            if not Engine.objects.exists():
                import_models(engine=add_engine(name="Demo", type=EngineType.DEMO, url="", fallback=True))
            known = set(Engine.objects.values_list("url", flat=True))
            enabled = Engine.objects.filter(enabled=True).order_by("name")
            offered = enabled.filter(fallback=False) or enabled
            lines = [f"{engine.name} ({engine.get_type_display()})" for engine in offered]
            lines += [
                f"{found.name} at {found.url}: connect it at {settings.BASE_URL}/operator/engines/"
                for found in find_engines()
                if found.url not in known
            ]
            yield lines


@contextmanager
def embedded() -> Iterator[None]:
    """The embedded server, started again should it die while we live."""
    server = EmbeddedServer(settings.DATA)
    server.join()
    ending = Event()

    def look_after() -> None:
        while not ending.wait(LOOK_AFTER_POSTGRES):
            try:
                server.revive()
            except PostgresTrouble as error:
                sys.stderr.write(f"{error}\n")

    watch = Thread(target=look_after, name="postgres", daemon=True)
    watch.start()
    try:
        yield
    finally:
        ending.set()
        watch.join()
        server.leave()
