from argparse import ArgumentParser
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from console.backup import restore
from console.errors import BackupTrouble


class Command(BaseCommand):
    help = (
        "Brings back what `backup` wrote, as a whole or not at all, and then ships what the spools of this machine "
        "hold. Refuses a database that holds something, unless --replace is said. Nothing else may use it meanwhile."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path)
        parser.add_argument("--replace", action="store_true", help="give up what the database holds")

    def handle(self, *, file: Path, replace: bool, **options: object) -> str:
        try:
            found = restore(file.absolute(), replace=replace)
        except BackupTrouble as error:
            raise CommandError(str(error)) from error
        if found.waiting:
            self.stderr.write(f"{found.waiting} ended requests still lie in spools.")
        return f"restored; {found.shipped} requests came from spools"
