import sys
from argparse import ArgumentParser
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from billing.errors import PriceListMistakes
from billing.prices.lists import Change, import_prices, read_list


class Command(BaseCommand):
    help = (
        "Takes in a list of prices, CSV or JSON: all of it, or nothing and what is wrong with it by line. "
        "Prices that are there already are left alone, so a list may be taken in again. - reads standard input."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE")

    def handle(self, *, file: str, **options: object) -> None:
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeError) as error:
            raise CommandError(f"{file}: {error}") from error
        try:
            steps = import_prices(entries=read_list(text), by=None)
        except PriceListMistakes as mistakes:
            for line, message in mistakes.lines:
                self.stderr.write(f"{file}:{line}: {message}" if line else f"{file}: {message}")
            self.stderr.write("Nothing was taken in.")
            sys.exit(1)
        counts = {change: sum(step.change is change for step in steps) for change in Change}
        self.stdout.write(
            f"{counts[Change.ADD]} added, {counts[Change.CHANGE]} changed, {counts[Change.KEEP]} there already"
        )
