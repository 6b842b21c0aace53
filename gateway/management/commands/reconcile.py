from argparse import ArgumentParser

from django.core.management.base import BaseCommand, no_translations
from django.utils import timezone

from billing.usage.exports import write_csv
from gateway.reconciliation.comparison import DAYS, compare
from gateway.reconciliation.findings import summary, verdict
from gateway.reconciliation.readings import reconcile
from gateway.reconciliation.views import FIELDS, rows


class Command(BaseCommand):
    help = (
        "Reads the engines' own counters now and prints them beside the accounts, by engine and day of UTC. "
        "Calls that have just ended are in the accounts seconds later."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=int, default=DAYS, help=f"the last ones, at most {DAYS}")
        parser.add_argument("--format", choices=["table", "csv"], default="table")

    @no_translations
    def handle(self, *, days: int, format: str, **options: object) -> None:  # noqa: A002  the option's name
        reconcile(everything=True)
        engines = compare(now=timezone.now(), days=min(max(days, 1), DAYS))
        if format == "csv":
            write_csv(rows(engines), self.stdout, FIELDS)  # type: ignore[arg-type]  # it writes text
            return
        for engine in engines:
            self.stdout.write(f"{engine.name}: {summary(engine)}")
            for day in engine.days:
                said = verdict(day, engine)
                figures = f"{day.gateway.tokens:>14,} {day.counted.tokens:>14,} {day.gap:>+12,} {day.part:>+8.2%}"
                self.stdout.write(f"  {day.day} {figures}  {' '.join([said.word + '.', *said.notes])}")
