"""The record of who did what, written in the transaction that does it."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Model
from django.utils import timezone

from accounts.models import AuditEntry, Team, User

MONTH = timedelta(days=31)  # the longest: an entry may stay some days longer than RETENTION_AUDIT, never shorter
AT_ONCE = 10_000  # entries removed in one transaction


def record(
    action: str, *, by: User | None, team: Team | None, subject: Model, **detail: str | int | bool | None
) -> None:
    """`by` is None for what the command line or the server itself does. Never put a secret into `detail`."""
    AuditEntry.objects.create(
        actor=by,
        actor_name=str(by) if by else "",
        team=team,
        action=action,
        subject_type=subject._meta.model_name or "",
        subject_id=str(subject.pk),
        subject_name=str(subject)[:254],
        detail=detail,
    )


def forget_old(*, now: datetime | None = None) -> int:
    """Removes what RETENTION_AUDIT no longer keeps, oldest first. Returns how many entries; 0 months keep all."""
    months: int = settings.ENVIRONMENT.retention_audit_months
    if not months:
        return 0
    old = AuditEntry.objects.filter(at__lt=(now or timezone.now()) - months * MONTH).order_by("at")
    removed = 0
    while found := AuditEntry.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:AT_ONCE])).delete()[0]:
        removed += found
    return removed
