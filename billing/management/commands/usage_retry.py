import sys
from argparse import ArgumentParser
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from billing.ledger.log import give_up_dead_letter, retry_dead_letters
from billing.models import DeadLetter


class Command(BaseCommand):
    help = (
        "Tries again to put into the log what it once refused (billing_deadletter), after the reason is gone. "
        "Exit 1 if something is refused again; --list says why."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument("--list", action="store_true", help="print each with the log's reason, and try nothing")
        instead.add_argument(
            "--give-up", type=UUID, metavar="ID", help="remove one that can never go in; the audit keeps what it was"
        )

    def handle(self, *, list: bool, give_up: UUID | None, **options: object) -> None:  # noqa: A002 - the option's name
        if list:
            for letter in DeadLetter.objects.order_by("at"):
                self.stdout.write(f"{letter.pk} {letter.error.partition(chr(10))[0]}")
        elif give_up:
            try:
                give_up_dead_letter(key=give_up, by=None)
            except DeadLetter.DoesNotExist:
                raise CommandError(f"There is no dead letter {give_up}.") from None
        else:
            self._retry()

    def _retry(self) -> None:
        found = retry_dead_letters(by=None)
        self.stdout.write(f"new in the log: {found.new}")
        self.stdout.write(f"in the log already: {found.known}")
        if found.refused:
            self.stderr.write(f"refused again: {found.refused}")
            sys.exit(1)
