"""What was in the roll-ups before they had figures of a new kind gets those from the log."""

from datetime import UTC, datetime

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from accounts.models import Team
from billing.ledger import log as ledger
from billing.ledger.auditing import audit
from billing.records import Counts
from tests.billing.traffic import ended, milliseconds


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("R23")
def test_latency_and_what_was_reported_are_filled_in_from_the_log(red: Team) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone="Asia/Kathmandu")
    at = [milliseconds(datetime(2026, 11, day, 18, 20, tzinfo=UTC)) for day in (2, 2, 3)]
    told = Counts(10, 5, "upstream", "upstream", 2, 0)
    ledger.write([ended(red.pk, told, at_ms=moment, key_id=3, outcome="upstream_error") for moment in at])
    ledger.write([ended(red.pk, at_ms=at[0])])
    (before,) = {
        parent.key[1]
        for parent in MigrationLoader(connection).graph.node_map["billing", "0006_latency_in_rollups"].parents
        if parent.key[0] == "billing"
    }
    ledger.write(
        [ended(red.pk, told, at_ms=at[0], key_id=3, outcome=outcome) for outcome in ("client_gone", "stopped")]
    )
    try:
        call_command("migrate", "billing", before, verbosity=0)
    finally:
        call_command("migrate", "billing", verbosity=0)
    assert audit().differences == ()  # which compares the outcomes too, told as classes before
