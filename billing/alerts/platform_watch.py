"""What operators must hear of: records that do not come to the log. Engines are `gateway.alerts`'."""

from collections.abc import Iterator

from billing.alarms import alarms, writable
from billing.alerts.noticed import Noticed
from billing.models import Rule, Severity
from billing.spool.shipper import spool_root


def log_and_spool() -> Iterator[Noticed]:
    """Of the installation's log, and of the spools on the leader's machine."""
    found = alarms()
    if found.dead_letters:
        detail = {"number": found.dead_letters}
        yield Noticed(None, Rule.DEAD_LETTERS, "log", "", Severity.URGENT, detail=detail)
    if found.put_aside:
        yield Noticed(None, Rule.SPOOL, "put_aside", "", Severity.URGENT, detail={"number": found.put_aside})
    if found.late:
        yield Noticed(None, Rule.SPOOL, "late", "", Severity.WARNING)
    if not writable(spool_root()):
        yield Noticed(None, Rule.SPOOL, "full", "", Severity.URGENT)
