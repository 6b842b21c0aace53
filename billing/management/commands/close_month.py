from argparse import ArgumentParser
from datetime import date

from django.core.management.base import BaseCommand, CommandError

from accounts.models import Team
from billing.errors import MonthNotClosable
from billing.ledger.months import close_month, reopen_month


class Command(BaseCommand):
    help = (
        "Closes a team's month and all before it: what still comes of it is booked in the month that is open. "
        "Prints until when the books are closed. --reopen opens it again, and all after it, and needs a --reason."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--team", required=True, metavar="SLUG")
        parser.add_argument("--month", required=True, metavar="YYYY-MM")
        parser.add_argument("--reopen", action="store_true")
        parser.add_argument("--reason", default="", help="why it is opened again; it stays in the audit")

    def handle(self, *, team: str, month: str, reopen: bool, reason: str, **options: object) -> str:
        found = Team.objects.filter(slug=team).first()
        if found is None:
            raise CommandError(f"There is no team {team!r}.")
        try:
            first = date.fromisoformat(f"{month}-01")
        except ValueError as error:
            raise CommandError(f"--month must be a month such as 2026-10, not {month!r}.") from error
        try:
            if reopen:
                return reopen_month(team=found, month=first, by=None, reason=reason).isoformat()
            return close_month(team=found, month=first, by=None).isoformat()
        except MonthNotClosable as error:
            raise CommandError(str(error)) from error
