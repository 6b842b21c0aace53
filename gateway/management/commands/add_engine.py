from argparse import ArgumentParser
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, no_translations
from django.db import transaction

from gateway.catalogue import add_engine, import_models
from gateway.errors import GatewayError
from gateway.models import EngineType


class Command(BaseCommand):
    help = "Connects an engine and prints the ids of the models it serves. Nothing is kept if it cannot be asked."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", required=True)
        parser.add_argument("--type", required=True, choices=EngineType.values)
        parser.add_argument("--url", default="", help="up to and without /v1")
        parser.add_argument("--api-key-file", type=Path, help="a file whose first line is the engine's key")
        parser.add_argument("--machine-name", default="", help="what callers see of the machine; not its host name")
        parser.add_argument("--weight", type=int, default=1, help="its share of the calls; 0: spare")
        parser.add_argument("--max-concurrent", type=int, metavar="N", help="how many calls it gets at once")
        parser.add_argument(
            "--model", action="append", default=[], metavar="ID", help="offer this one; may be repeated"
        )

    @no_translations
    def handle(
        self,
        *,
        name: str,
        type: str,  # noqa: A002  the option's name
        url: str,
        api_key_file: Path | None,
        machine_name: str,
        weight: int,
        max_concurrent: int | None,
        model: list[str],
        **options: object,
    ) -> str:
        try:
            with transaction.atomic():
                secret = _secret_in(api_key_file) if api_key_file else ""
                engine = add_engine(
                    name=name,
                    type=type,
                    url=url,
                    secret=secret,
                    machine_name=machine_name,
                    weight=weight,
                    max_concurrent=max_concurrent,
                )
                served = import_models(engine=engine, only=model)
        except GatewayError as error:
            raise CommandError(error.message) from error
        return "\n".join(row.public_id for row in served)


def _secret_in(path: Path) -> str:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--api-key-file cannot be read: {error}") from error
    if not lines or not lines[0].strip():
        raise CommandError("--api-key-file has no key in its first line.")
    return lines[0].strip()
