import io
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Team
from billing.ledger import log as ledger
from billing.ledger.auditing import audit
from billing.ledger.partitions import ensure_partitions, months
from billing.models import UsageDay, UsageRecord
from billing.spool.shipper import Shipper, spool_root
from billing.spool.writer import Spool
from tests.billing.traffic import a_final, a_start, ended


@pytest.fixture
def spool(tmp_path: Path, settings: pytest.FixtureRequest) -> Iterator[Spool]:
    settings.DATA = tmp_path  # type: ignore[attr-defined]
    with closing(Spool(spool_root(), rotate_seconds=1e9)) as spool:
        yield spool


def run(command: str, **options: str) -> tuple[str, str, int]:
    out, errors, code = io.StringIO(), io.StringIO(), 0
    try:
        call_command(command, stdout=out, stderr=errors, **options)
    except SystemExit as exit_:
        code = int(str(exit_.code))
    return out.getvalue(), errors.getvalue(), code


@pytest.mark.spec("R23")
def test_the_audit_prints_what_is_pending_and_ends_well(spool: Spool, red: Team) -> None:
    ledger.write([ended(red.pk)])
    spool.start(start := a_start(red.pk))
    spool.start(a_start(red.pk))
    spool.final(a_final(start.id))
    out, errors, code = run("usage_audit")
    assert (out.splitlines(), errors, code) == (
        ["log: 1 rows", "pending: 1 ended and 1 running requests in spools", "roll-ups equal the log"],
        "",
        0,
    )


@pytest.mark.spec("R23", "F38")
def test_the_audit_says_what_is_wrong_and_fails(spool: Spool, red: Team) -> None:
    ledger.write([ended(red.pk)])
    UsageDay.objects.update(requests=2)
    spool.start(start := a_start(red.pk))
    spool.final(a_final(start.id))
    spool.rotate(force=True)
    (path,) = spool.closed_files()
    path.write_bytes(os.urandom(4096))
    Shipper(spool.root, spool).ship_once()
    _, errors, code = run("usage_audit")
    assert code == 1
    assert errors.splitlines() == [
        "billing_usageday: 1 groups differ from the log",
        f"put aside, cannot be read whole: {path.with_suffix('.corrupt')}",
    ]
    run("usage_rebuild")
    assert audit().agrees


def test_the_export_says_what_is_not_in_it_yet_beside_its_output(spool: Spool, red: Team) -> None:
    spool.start(start := a_start(red.pk))
    spool.final(a_final(start.id))
    today = str(date.today())  # noqa: DTZ011 - any day will do
    out, errors, _ = run("usage_export", team=red.slug, first=today, last=today, format="json")
    assert (out.split(), errors) == (["[", "]"], "Not yet in the log: 1 ended, 0 running.\n")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"team": "nobody"}, "no team 'nobody'"),
        ({"first": "' OR 1=1"}, "--from must be a day"),
        ({"first": "2026-11-02", "last": "2026-11-01"}, "--to is before --from"),
        ({"last": "9999-12-31"}, "--to must lie between 2000-01-01 and 9998-12-31"),
        ({"first": "0001-01-01"}, "--from must lie between"),
    ],
)
def test_a_wrong_question_is_a_sentence(red: Team, options: dict[str, str], problem: str) -> None:
    asked = {"team": red.slug, "first": "2026-11-01", "last": "2026-11-02", "format": "csv"} | options
    with pytest.raises(CommandError, match=problem):
        call_command("usage_export", **asked)


def test_months_are_made_ahead_and_on_demand(red: Team) -> None:
    ensure_partitions()
    ensure_partitions()
    long_ago = ended(red.pk, at_ms=1_000_000_000_000)
    assert ledger.write([long_ago]) == 1
    assert UsageRecord.objects.get().at.year == 2001
    assert date(2001, 9, 1) in months()

    assert date(2001, 9, 1) in months()


@pytest.mark.spec("U7")
def test_a_credit_is_topped_up_and_corrected_on_the_command_line(red: Team) -> None:
    assert run("top_up", team=red.slug, amount="49.90", note="invoice 7") == ("49.9\n", "", 0)
    assert call_command("top_up", "--team", red.slug, "--amount=-9.9", "--correction", stdout=io.StringIO()) == "40"
    for amount in ("-1", "0", "much", "nan", "1e40"):
        with pytest.raises(CommandError, match="--amount must be a number"):
            run("top_up", team=red.slug, amount=amount)
    with pytest.raises(CommandError, match="no team 'nobody'"):
        run("top_up", team="nobody", amount="1")
