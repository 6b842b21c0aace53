from argparse import ArgumentParser
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from console.backup import back_up
from console.errors import BackupTrouble


class Command(BaseCommand):
    help = (
        "Writes all that PostgreSQL holds of Tertulia into FILE, after what has ended is in the log, and prints its "
        "name. Tertulia may run meanwhile. Keep SECRET_KEY beside it: without it, stored keys cannot be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path)

    def handle(self, *, file: Path, **options: object) -> str:
        try:
            left = back_up(file.absolute())
        except BackupTrouble as error:
            raise CommandError(str(error)) from error
        if left:
            self.stderr.write(f"{left} ended requests are not in it: they still lie in spools. Keep those too.")
        self.stderr.write("Keep SECRET_KEY too, apart from this file: without it, the keys of engines are lost.")
        return str(file)
