import zoneinfo
from argparse import ArgumentParser

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email
from django.db import transaction

from accounts.models import Dialect
from accounts.people import create_person, person_by_email
from accounts.teams import create_team


class Command(BaseCommand):
    help = "Makes a team and prints its slug. An owner who is not known yet is made, without a password."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", required=True)
        parser.add_argument("--owner", required=True, metavar="EMAIL")
        parser.add_argument("--time-zone", default="UTC")
        parser.add_argument(
            "--dialect", default=Dialect.OPENAI.value, choices=Dialect.values, help="how the API's answers look"
        )

    def handle(self, *, name: str, owner: str, time_zone: str, dialect: str, **options: object) -> str:
        try:
            validate_email(owner)
        except ValidationError as error:
            raise CommandError(f"--owner must be an e-mail address, not {owner!r}.") from error
        if time_zone not in zoneinfo.available_timezones():
            raise CommandError(f"--time-zone must be a name such as Europe/Madrid, not {time_zone!r}.")
        with transaction.atomic():
            user = person_by_email(owner) or create_person(email=owner)
            return create_team(name=name, owner=user, time_zone=time_zone, dialect=Dialect(dialect)).slug
