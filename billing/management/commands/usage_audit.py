import sys

from django.core.management.base import BaseCommand

from billing.ledger.auditing import audit
from billing.ledger.refusals import differing
from billing.spool.shipper import spool_root, waiting


class Command(BaseCommand):
    help = (
        "Proves that the roll-ups equal the log, and that every ended request in a spool of this machine is on its "
        "way to the log or there. Prints what is still on its way. Exit 1 if something is wrong."
    )

    def handle(self, **options: object) -> None:
        left = waiting(spool_root())
        report = audit()
        self.stdout.write(f"log: {report.rows} rows")
        self.stdout.write(f"pending: {left.ended} ended and {left.running} running requests in spools")
        wrong = [f"{one.table}: {one.groups} groups differ from the log" for one in report.differences]
        if report.dead_letters:
            wrong.append(f"{report.dead_letters} records were refused by the log and set aside (DeadLetter)")
        if quarters := differing():
            wrong.append(f"billing_refusedquarter: {quarters} quarters differ from the single refusals")
        wrong += [f"put aside, cannot be read whole: {path}" for path in left.aside]
        for line in wrong:
            self.stderr.write(line)
        if wrong:
            sys.exit(1)
        self.stdout.write("roll-ups equal the log")
