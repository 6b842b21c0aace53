from argparse import ArgumentParser
from datetime import date

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone, translation

from accounts.models import Membership, Team, User
from billing.alerts.letters import stop_url
from billing.alerts.month_figures import month_figures
from billing.alerts.monthly import is_over, make_out
from billing.alerts.report_mail import csv_of, month_message


class Command(BaseCommand):
    help = (
        "Sends the report of a team's month to all who are told, once; prints how many. --to sends it to one member, "
        "as often as you like, --csv prints its rows and sends nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--team", required=True, metavar="SLUG")
        parser.add_argument("--month", required=True, metavar="YYYY-MM")
        parser.add_argument("--to", metavar="EMAIL", help="a member of the team")
        parser.add_argument("--csv", action="store_true")

    def handle(self, *, team: str, month: str, to: str | None, csv: bool, **options: object) -> str:
        found, now = _team(team), timezone.now()
        first = _first(month)
        if csv:
            return csv_of(month_figures(found, first)).rstrip("\n")
        if not is_over(found, first, now):
            raise CommandError(f"{month} is not over in {found.time_zone}.")
        if to is not None:
            _send(found, first, _member(found, to))
            return "1"
        report = make_out(team=found, month=first, now=now)
        if report is None:
            raise CommandError(f"The report of {month} was made out before. --to sends it to one person.")
        return str(report.deliveries.count())


def _send(team: Team, first: date, user: User) -> None:
    with translation.override(user.language or settings.LANGUAGE_CODE):
        message = month_message(month_figures(team, first), user)
    message.extra_headers = {"List-Unsubscribe": f"<{stop_url(user, team, 'reports')}>"}
    message.send()


def _team(slug: str) -> Team:
    found = Team.objects.filter(slug=slug).first()
    if found is None:
        raise CommandError(f"There is no team {slug!r}.")
    return found


def _first(month: str) -> date:
    try:
        return date.fromisoformat(f"{month}-01")
    except ValueError as error:
        raise CommandError(f"--month must be a month such as 2026-10, not {month!r}.") from error


def _member(team: Team, email: str) -> User:
    row = Membership.objects.filter(team=team, user__email=email.lower(), user__is_active=True).select_related("user")
    if (found := row.first()) is None:
        raise CommandError(f"{email} is no member of {team}.")
    return found.user
