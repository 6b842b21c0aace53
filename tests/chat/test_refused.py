"""A question of the chat that is refused is counted like a call of the API."""

from pathlib import Path

import pytest

from accounts.database import in_database
from accounts.models import Team, User
from billing.models import Refusal, UsageRecord
from billing.spool.shipper import Shipper
from billing.spool.writer import spool
from chat.models import Generation
from tests.chat.conftest import web_process
from tests.chat.test_generations import asked, ended

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]


async def test_a_question_to_a_model_that_is_not_there(bob: User, red: Team, tmp_path: Path) -> None:
    async with web_process(tmp_path):
        found = await ended(await asked(bob, red))
        spool().rotate(force=True)
        await in_database(Shipper(tmp_path).ship_once)
    assert (found.state, found.error) == (Generation.State.FAILED, "model_not_found")
    row = await in_database(Refusal.objects.get)
    assert (row.team_id, row.origin, row.key_id, row.member_id, row.member_name) == (
        red.pk,
        "chat",
        None,
        bob.pk,
        str(bob),
    )
    assert (row.model, row.endpoint, row.code, row.status) == ("small", "chat.completions", "model_not_found", 404)
    assert await in_database(UsageRecord.objects.count) == 0
