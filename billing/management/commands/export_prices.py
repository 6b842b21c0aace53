from argparse import ArgumentParser

from django.core.management.base import BaseCommand

from billing.prices.lists import write_list


class Command(BaseCommand):
    help = "Prints all prices, past and coming, as a list that import_prices takes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--format", choices=["csv", "json"], default="csv")

    def handle(self, *, format: str, **options: object) -> None:  # noqa: A002 - the option's name
        self.stdout.ending = ""  # the writers end their own lines
        write_list(self.stdout, form=format)  # type: ignore[arg-type]  # OutputWrapper writes text
