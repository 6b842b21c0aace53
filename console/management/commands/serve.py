from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Serve the web and the API, and nothing else: for a fleet, beside `manage.py work`. Needs SECRET_KEY."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        from console.serving import serve  # installs daphne's reactor

        environment = settings.ENVIRONMENT

        def ready(port: int) -> None:
            self.stdout.write(f"Tertulia serves {environment.host}:{port}.")
            self.stdout.flush()

        serve(host=environment.host, port=environment.port, drain_seconds=environment.drain_seconds, ready=ready)
