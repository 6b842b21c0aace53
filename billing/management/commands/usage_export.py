from argparse import ArgumentParser
from datetime import date
from zoneinfo import ZoneInfo

from django.core.management.base import BaseCommand, CommandError

from accounts.models import Team
from billing.log.files import Form, lines
from billing.spool.shipper import spool_root, waiting
from billing.usage.forms import EARLIEST
from billing.usage.periods import Period
from billing.usage.questions import Question, Scope

LATEST = date(9998, 12, 31)  # the last day whose next one every zone can name


class Command(BaseCommand):
    help = (
        "Prints a team's log, oldest request first. Days are the team's own, both ends included. "
        "What still waits in a spool is not in it; how much that is stands on standard error."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--team", required=True, metavar="SLUG")
        parser.add_argument("--from", required=True, dest="first", metavar="YYYY-MM-DD")
        parser.add_argument("--to", required=True, dest="last", metavar="YYYY-MM-DD", help="this day included")
        parser.add_argument("--format", choices=list(Form), default=Form.CSV)

    def handle(self, *, team: str, first: str, last: str, format: str, **options: object) -> None:  # noqa: A002 - the option's name
        found = Team.objects.filter(slug=team).first()
        if found is None:
            raise CommandError(f"There is no team {team!r}.")
        period = Period(_day("--from", first), _day("--to", last), ZoneInfo(found.time_zone))
        if period.last < period.first:
            raise CommandError("--to is before --from.")
        left = waiting(spool_root())
        if left.ended or left.running:
            self.stderr.write(f"Not yet in the log: {left.ended} ended, {left.running} running.")
        for portion in lines(Question(Scope(found), period), Form(format)):
            self.stdout.write(portion.decode(), ending="")


def _day(option: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"{option} must be a day such as 2026-11-30, not {text!r}.") from error
    if not EARLIEST <= day <= LATEST:
        raise CommandError(f"{option} must lie between {EARLIEST} and {LATEST}, not on {text}.")
    return day
