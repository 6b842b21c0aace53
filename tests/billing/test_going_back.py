"""Going back from adjustments and refusals, and forward again, with rows in the log."""

from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from accounts.models import Team
from billing.ledger import log as ledger
from billing.ledger.adjustments import adjust
from billing.ledger.auditing import audit, rebuild
from billing.models import UsageRecord
from tests.billing.test_adjustments import call
from tests.billing.traffic import PRICE, counts

BEFORE = ("billing", "0001_log_rollups_prices")


@pytest.mark.django_db(transaction=True)
def test_the_log_goes_back_to_its_first_shape_and_forward_again(red: Team, capsys: Any) -> None:
    made = call(red, counts(1000, 0), price=PRICE)
    ledger.write([made])
    adjust(request_id=made.start.id, prompt_tokens=1, reason="because", by=None)
    try:
        call_command("migrate", *BEFORE, verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute("SELECT prompt_tokens, cost FROM billing_usage")
            assert cursor.fetchall() == [(1000, Decimal("0.0009"))]
    finally:
        call_command("migrate", "billing", verbosity=0)
    rebuild()
    assert UsageRecord.objects.get().corrects is None
    adjust(request_id=made.start.id, prompt_tokens=2, reason="again", by=None)
    assert audit().agrees
