import sys

from django.core.management.base import BaseCommand

from billing.ledger import retry_dead_letters


class Command(BaseCommand):
    help = (
        "Tries again to put into the log what it once refused (billing_deadletter), after the reason is gone. "
        "Exit 1 if something is refused again; why stands in the dead letter."
    )

    def handle(self, **options: object) -> None:
        found = retry_dead_letters(by=None)
        self.stdout.write(f"new in the log: {found.new}")
        self.stdout.write(f"in the log already: {found.known}")
        if found.refused:
            self.stderr.write(f"refused again: {found.refused}")
            sys.exit(1)
