"""How long audit entries are kept."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.utils import timezone

from accounts import audit
from accounts.models import AuditEntry, Team


@pytest.fixture
def entries(red: Team) -> list[str]:
    """Of today and of years."""
    AuditEntry.objects.all().delete()
    for days in (0, 700, 740, 800, 2000):
        audit.record(f"test.{days}", by=None, team=red, subject=red)
        AuditEntry.objects.filter(action=f"test.{days}").update(at=timezone.now() - timedelta(days=days))
    return ["test.0", "test.700", "test.740", "test.800", "test.2000"]


def kept() -> list[str]:
    return list(AuditEntry.objects.order_by("-at").values_list("action", flat=True))


def test_entries_are_kept_for_the_months_of_retention(
    entries: list[str], settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "AT_ONCE", 1)
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, retention_audit_months=24)
    assert audit.forget_old() == 2
    assert kept() == entries[:3]
    assert audit.forget_old() == 0


def test_zero_months_keep_all(entries: list[str], settings: LazySettings) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, retention_audit_months=0)
    assert audit.forget_old() == 0
    assert kept() == entries
