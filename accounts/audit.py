"""The record of who did what, written in the transaction that does it."""

from django.db.models import Model

from accounts.models import AuditEntry, Team, User


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
