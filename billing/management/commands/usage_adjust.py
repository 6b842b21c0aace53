from argparse import ArgumentParser
from decimal import Decimal, InvalidOperation
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from billing.errors import AdjustmentMistake
from billing.ledger.adjustments import adjust, find_request


class Command(BaseCommand):
    help = (
        "Corrects what a request was counted as, by a row of its own with the difference. Give what the request comes "
        "to in all; the cost follows by the prices of its time, unless --cost says otherwise. Prints the totals."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("request", metavar="ID")
        for name in ("prompt", "completion", "cached", "reasoning"):
            parser.add_argument(f"--{name}-tokens", type=int, metavar="N")
        parser.add_argument("--cost", type=_amount, metavar="AMOUNT", help="in CURRENCY, such as 0.0125")
        parser.add_argument("--reason", required=True)

    def handle(self, *, request: str, reason: str, cost: Decimal | None = None, **options: int | None) -> None:
        try:
            request_id = UUID(request)
        except ValueError as error:
            raise CommandError(f"{request!r} is no request id.") from error
        tokens = {
            f"{name}_tokens": options[f"{name}_tokens"] for name in ("prompt", "completion", "cached", "reasoning")
        }
        try:
            adjust(request_id=request_id, reason=reason, money=cost, by=None, **tokens)
        except AdjustmentMistake as mistake:
            raise CommandError(mistake.message) from mistake
        found = find_request(request_id)
        if found is not None:
            now = found.totals
            money = "" if now.cost is None else f", cost {now.cost.normalize():f}"
            self.stdout.write(f"{now.prompt_tokens} in, {now.completion_tokens} out{money}")


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError(text) from error
