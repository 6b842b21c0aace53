"""What an operator hears of, and what can be done about it."""

import os
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import AuditEntry, Team, User
from billing.alarms import Alarms, alarms, spooled
from billing.ledger import log as ledger
from billing.ledger.auditing import audit
from billing.ledger.log import Retried, retry_dead_letters
from billing.models import DeadLetter, UsageRecord
from billing.records import Counts
from billing.spool.shipper import spool_root
from billing.spool.writer import Spool
from tests.billing.traffic import PRICE, a_final, a_start, counts, ended


@pytest.fixture(autouse=True)
def root(tmp_path: Path, settings: LazySettings) -> Path:
    settings.DATA = tmp_path
    return spool_root()


@pytest.mark.spec("R23")
def test_what_the_log_refused_goes_in_once_the_reason_is_gone(red: Team, alice: User) -> None:
    """Here the reason is a team that is missing from a database that was restored."""
    used = Counts(100, 50, "upstream", "counted", 7, None, "odd")
    orphan = ended(red.pk + 1000, used, price=PRICE, key_id=3, key_name="ci", stream=False)
    hopeless = ended(red.pk, counts(-5, 5))
    assert ledger.write([orphan, hopeless]) == 0
    assert retry_dead_letters(by=alice) == Retried(new=0, known=0, refused=2)

    Team.objects.create(pk=red.pk + 1000, name="Back", slug="back")
    assert retry_dead_letters(by=alice) == Retried(new=1, known=0, refused=1)
    row = UsageRecord.objects.get()
    assert (row.id, row.at.timestamp() * 1000) == (orphan.start.id, orphan.start.at_ms)
    assert (row.prompt_tokens, row.completion_source, row.reasoning_tokens, row.cached_tokens, row.anomaly) == (
        100, "counted", 7, None, "odd",
    )  # fmt: skip
    assert (row.price_output, row.key_name, row.stream, row.ttft_ms) == (PRICE.output, "ci", False, 12)
    assert row.cost is not None
    assert [letter.pk for letter in DeadLetter.objects.all()] == [hopeless.start.id]
    (entry,) = AuditEntry.objects.filter(action="usage.dead_letter_logged")
    assert (entry.actor, entry.subject_id, entry.detail) == (alice, str(orphan.start.id), {"new": True})
    assert audit().differences == ()


def test_one_that_came_to_the_log_by_another_way_counts_once(red: Team) -> None:
    one = ended(red.pk + 1000)
    ledger.write([one])
    Team.objects.create(pk=red.pk + 1000, name="Back", slug="back")
    ledger.write([one])
    assert retry_dead_letters(by=None) == Retried(new=0, known=1, refused=0)
    assert (UsageRecord.objects.count(), DeadLetter.objects.count()) == (1, 0)


@pytest.mark.parametrize("payload", [{}, {"start": {}, "final": {}}, {"start": {"id": "x", "price": None}, "final": 3}])
def test_a_damaged_dead_letter_stays_and_holds_up_nothing(red: Team, payload: dict[str, object]) -> None:
    DeadLetter.objects.create(id=UUID(int=7), payload=payload, error="")
    assert retry_dead_letters(by=None) == Retried(new=0, known=0, refused=1)


def test_the_command_says_what_became_of_them(red: Team, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.write([ended(red.pk, counts(-5, 5))])
    with pytest.raises(SystemExit):
        call_command("usage_retry")
    assert capsys.readouterr() == ("new in the log: 0\nin the log already: 0\n", "refused again: 1\n")


def test_what_can_never_go_in_is_given_up_by_its_id_and_stays_in_the_audit(
    red: Team, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.write([one := ended(red.pk, counts(-5, 5)), two := ended(red.pk, counts(-6, 5))])
    call_command("usage_retry", list=True)
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == [str(one.start.id), str(two.start.id)]
    assert "usage_counts_not_negative" in listed[0]
    call_command("usage_retry", "--give-up", str(one.start.id))
    assert [letter.pk for letter in DeadLetter.objects.all()] == [two.start.id]
    entry = AuditEntry.objects.get(action="usage.dead_letter_given_up")
    assert entry.detail["prompt_tokens"] == -5
    assert (entry.subject_id, entry.detail["team_id"], entry.detail["at_ms"]) == (
        str(one.start.id), red.pk, one.start.at_ms,
    )  # fmt: skip
    with pytest.raises(CommandError, match="no dead letter"):
        call_command("usage_retry", "--give-up", str(one.start.id))


def test_lag_is_that_of_the_oldest_file_that_could_be_shipped(root: Path) -> None:
    with closing(Spool(root, rotate_seconds=1e9)) as spool:
        assert (spooled(root).files, spooled(root).lag) == (1, 0)
        for _ in range(2):
            spool.start(start := a_start())
            spool.final(a_final(start.id))
            spool.rotate(force=True)
        spool.start(start := a_start())
        spool.final(a_final(start.id))
        assert spool.depth == 3
        first, _ = spool.closed_files()
        live = max(spool.folder.glob("*.jsonl"))
        for path, seconds in ((first, 70), (live, 900)):  # that one is the process's own
            os.utime(path, (time.time() - seconds,) * 2)
        found = spooled(root)
        assert found.files == 3
        assert 70 <= found.lag < 80
        first.unlink()
        assert spool.depth == 2
    os.utime(live, (time.time() - 900,) * 2)
    assert spooled(root).lag >= 890  # now nobody writes there


def test_the_operators_home_names_what_is_wrong_and_nobody_elses(
    client: Client, red: Team, alice: User, bob: User, root: Path
) -> None:
    client.force_login(alice)
    assert "usage_retry" not in client.get("/t/red/").content.decode()
    ledger.write([ended(red.pk, counts(-5, 5))])
    folder = root / "1"
    folder.mkdir(parents=True)
    (folder / "000001.corrupt").touch()
    (folder / "000002.jsonl").touch()
    os.utime(folder / "000002.jsonl", (datetime(2026, 1, 1).timestamp(),) * 2)  # noqa: DTZ001 - long ago
    assert alarms() == Alarms(dead_letters=1, put_aside=1, late=True)
    page = client.get("/t/red/").content.decode()
    assert "1 request was refused by the log" in page
    assert "1 file of the spool cannot be read" in page
    assert "waiting for minutes" in page
    client.force_login(bob)
    assert "refused by the log" not in client.get("/t/red/").content.decode()
