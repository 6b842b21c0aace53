from django.core.management.base import BaseCommand

from billing.auditing import rebuild
from billing.budgets import recount_all


class Command(BaseCommand):
    help = (
        "Makes the roll-ups anew from the log, and from them the accounts of budgets and credit. "
        "Writers wait meanwhile; nothing is lost."
    )

    def handle(self, **options: object) -> None:
        rebuild()
        recount_all()
