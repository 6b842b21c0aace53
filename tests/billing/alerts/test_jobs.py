"""The jobs as the leader runs them."""

from decimal import Decimal

import pytest
from django.core import mail
from django.utils import timezone

from accounts.models import Team, User
from billing.budgets.monthly import set_budget
from billing.jobs import JOBS
from billing.ledger import log as ledger
from billing.models import Alert, Delivery, Unit
from tests.billing.traffic import counts, ended, milliseconds

pytestmark = pytest.mark.django_db


def test_a_budget_that_is_passed_is_mailed_once_however_often_the_jobs_run(red: Team, alice: User) -> None:
    set_budget(team=red, unit=Unit.TOKENS, amount=Decimal(1000), hard=False, by=alice)
    ledger.write([ended(red.pk, counts(500, 400), at_ms=milliseconds(timezone.now()))])
    for _ in range(3):
        for job in JOBS:
            job.run()
    assert [message.subject for message in mail.outbox] == ["Red: 80% of the budget is used: the whole team"]
    ledger.write([ended(red.pk, counts(100, 0), at_ms=milliseconds(timezone.now()))])
    for _ in range(2):
        for job in JOBS:
            job.run()
    assert [message.subject for message in mail.outbox[1:]] == ["Red: The budget is used up: the whole team"]
    assert sorted(Alert.objects.filter(resolved_at=None).values_list("detail__part", flat=True)) == [100]
    assert set(Delivery.objects.values_list("state", flat=True)) == {"sent"}


def test_every_job_has_a_name_of_its_own() -> None:
    assert len({job.name for job in JOBS}) == len(JOBS)
