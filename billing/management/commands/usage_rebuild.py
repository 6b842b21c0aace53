from django.core.management.base import BaseCommand

from billing.budgets.monthly import recount_all
from billing.ledger.auditing import rebuild


class Command(BaseCommand):
    help = (
        "Makes the roll-ups anew from the log, and from them the accounts of budgets and credit. "
        "Writers wait meanwhile; nothing is lost."
    )

    def handle(self, **options: object) -> None:
        rebuild()
        recount_all()
