"""Work of this room that one process of the installation does now and then."""

from django.utils import timezone

from accounts.background import Job
from billing.alerts import looking
from billing.alerts.monthly import make_out_due
from billing.alerts.outbox import deliver
from billing.alerts.raising import forget_old as forget_alerts
from billing.budgets.settling import free_expired
from billing.ledger.checks import EVERY, check_everything, check_recent
from billing.ledger.partitions import drop_old_months, ensure_partitions
from billing.ledger.refusals import forget_old


def keep_months() -> None:
    """Those to come are there before anybody needs them; those that need be kept no longer go."""
    ensure_partitions()
    drop_old_months()


JOBS = [
    Job("billing.partitions", 6 * 3600, keep_months),
    Job("billing.check", EVERY, check_recent),
    Job("billing.check_everything", 24 * 3600, check_everything),
    Job("billing.refusals", 24 * 3600, forget_old),
    Job("billing.reservations", 60, free_expired),
    Job("billing.look_at_money", 60, looking.look_at_money),
    Job("billing.look_at_traffic", 60, looking.look_at_traffic),
    Job("billing.look_at_platform", 60, looking.look_at_platform),
    Job("billing.look_at_use", 300, looking.look_at_use),
    Job("billing.look_at_keys", 3600, looking.look_at_keys),
    Job("billing.report_months", 900, make_out_due),
    Job("billing.deliver", 5, deliver),
    Job("billing.forget_alerts", 24 * 3600, lambda: forget_alerts(now=timezone.now())),
]
