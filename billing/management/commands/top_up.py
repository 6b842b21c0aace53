from argparse import ArgumentParser
from decimal import Decimal, InvalidOperation

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.models import Team
from billing.budgets.credit import correct, credit_of, top_up


class Command(BaseCommand):
    help = (
        "Adds to a team's prepaid credit and prints what is on it then. The first time makes the team pay in advance. "
        "--correction takes an amount below 0 too."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--team", required=True, metavar="SLUG")
        parser.add_argument(
            "--amount", required=True, metavar="N", help="in the installation's currency, such as 49.90"
        )
        parser.add_argument("--note", default="", help="shown beside the entry, such as an invoice's number")
        parser.add_argument("--correction", action="store_true", help="not a payment: a mistake is put right")

    def handle(self, *, team: str, amount: str, note: str, correction: bool, **options: object) -> str:
        found = Team.objects.filter(slug=team, archived_at=None).first()
        if found is None:
            raise CommandError(f"There is no team {team!r}.")
        enter = correct if correction else top_up
        try:
            enter(team=found, amount=Decimal(amount), by=None, note=note[:200])
        except (ValueError, InvalidOperation) as error:
            raise CommandError(f"--amount must be a number such as 49.90, not {amount!r}.") from error
        credit = credit_of(found, now=timezone.now())
        return f"{credit.balance.normalize():f}" if credit else "0"
