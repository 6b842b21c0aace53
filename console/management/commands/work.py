import signal
from threading import Event
from typing import Any

from django.core.management.base import BaseCommand

from console.jobs import Jobs


class Command(BaseCommand):
    help = "Do the background work of an installation, until a signal. Of several such processes one leads."

    def handle(self, *args: Any, **options: Any) -> None:
        ending = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ending.set())
        jobs = Jobs()
        jobs.start()
        self.stdout.write("Tertulia works in the background.")
        self.stdout.flush()
        ending.wait()
        jobs.stop()
