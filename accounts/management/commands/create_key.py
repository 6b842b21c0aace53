from argparse import ArgumentParser
from datetime import UTC, datetime, time

from django.core.management.base import BaseCommand, CommandError

from accounts.keys import issue_key
from accounts.models import Dialect, Team


class Command(BaseCommand):
    help = "Makes a service key of a team and prints it: the only time that it can be seen."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--team", required=True, metavar="SLUG")
        parser.add_argument("--name", required=True)
        parser.add_argument("--expires", metavar="YYYY-MM-DD", help="the day (UTC) at whose start the key ends")
        parser.add_argument("--model", action="append", dest="models", metavar="ID", help="allow only this model")

        parser.add_argument(
            "--dialect", default="", choices=Dialect.values, help="how its answers look, if not as the team's"
        )

    def handle(
        self,
        *,
        team: str,
        name: str,
        expires: str | None,
        models: list[str] | None,
        dialect: str,
        **options: object,
    ) -> str:
        found = Team.objects.filter(slug=team, archived_at=None).first()
        if found is None:
            raise CommandError(f"There is no team {team!r}.")
        until = _moment(expires)
        return issue_key(team=found, name=name, by=None, models=models, expires_at=until, dialect=dialect).secret


def _moment(day: str | None) -> datetime | None:
    if day is None:
        return None
    try:
        return datetime.combine(datetime.fromisoformat(day).date(), time.min, UTC)
    except ValueError as error:
        raise CommandError(f"--expires must be a day such as 2027-02-28, not {day!r}.") from error
