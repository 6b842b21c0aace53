"""What calls may use up: a team's, a key's or a member's budget for each month, and a team's credit.

`billing.budgets.monthly` and `billing.budgets.credit` write budgets, `billing.budgets.settling` accounts and
reservations.
"""

import datetime as dt
from typing import Any

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models import ApiKey, Team, User

AMOUNT: dict[str, Any] = {"max_digits": 30, "decimal_places": 12}  # tokens, or the installation's currency
CREDITS_MONTH = dt.date(1, 1, 1)  # of the one account that a credit has


class Unit(models.TextChoices):
    TOKENS = "tokens", _("tokens")
    MONEY = "money", _("money")


class Period(models.TextChoices):
    MONTH = "month", _("each month")
    CREDIT = "credit", _("until it is used up")


class Budget(models.Model):
    """A limit of what is used in a calendar month of the team's zone, or a team's credit.

    The subject is the key, else the member of the team, else the team. A credit's amount is the sum of its entries.
    """

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, null=True, related_name="+")
    member = models.ForeignKey(User, on_delete=models.CASCADE, null=True, related_name="+")
    period = models.CharField(max_length=8, choices=Period, default=Period.MONTH)
    unit = models.CharField(max_length=8, choices=Unit)
    amount = models.DecimalField(**AMOUNT)
    hard = models.BooleanField(default=True)  # refuses calls beyond it; a soft one is only looked at
    counts_from = models.DateTimeField()  # a quarter hour's beginning: what was booked before is not this one's
    before = models.DecimalField(**AMOUNT, default=0)  # what that quarter hour had come to before, when that counts not

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["team", "key", "member", "period", "unit"], nulls_distinct=False, name="budget_once"
            ),
            models.CheckConstraint(condition=models.Q(key=None) | models.Q(member=None), name="budget_one_subject"),
            models.CheckConstraint(
                condition=models.Q(period=Period.MONTH, amount__gte=0)
                | models.Q(period=Period.CREDIT, unit=Unit.MONEY, key=None, member=None),
                name="budget_possible",
            ),
        ]

    def __str__(self) -> str:
        return str(self.key or self.member or self.team)


class BudgetAccount(models.Model):
    """What a budget came to in a month: spent by rows of the log, and reserved for calls that run.

    No foreign key in the database: each reservation would lock the budget's row, which all its callers share. Who
    makes or removes a budget holds this table against the others instead.
    """

    pk = models.CompositePrimaryKey("budget_id", "month")
    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    month = models.DateField()  # its first day in the team's zone; CREDITS_MONTH for credit
    ceiling = models.DecimalField(**AMOUNT)  # the budget's amount, as it was last known in this month
    spent = models.DecimalField(**AMOUNT, default=0)
    reserved = models.DecimalField(**AMOUNT, default=0)

    def __str__(self) -> str:
        return f"{self.budget_id} {self.month:%Y-%m}"


class Reservation(models.Model):
    """What a running call holds of an account: the most that it may cost, and what it did cost once it has ended."""

    pk = models.CompositePrimaryKey("request_id", "budget_id")
    request_id = models.UUIDField()
    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, db_constraint=False, related_name="+")
    month = models.DateField()
    amount = models.DecimalField(**AMOUNT)
    process = models.UUIDField(db_index=True)  # the spool that the call's records go to
    expires_at = models.DateTimeField()  # by that process's clock; its call has ended before

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(amount__gte=0), name="reservation_not_negative")]

    def __str__(self) -> str:
        return str(self.request_id)


class SpoolMark(models.Model):
    """How far a process has shipped: every call of its that ended before `shipped_until`, by its clock, is booked."""

    process = models.UUIDField(primary_key=True)
    shipped_until = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.process)


class CreditEntry(models.Model):
    """A payment or a correction. Rows are never changed."""

    class Kind(models.TextChoices):
        TOP_UP = "top_up", _("top-up")
        CORRECTION = "correction", _("correction")

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()
    kind = models.CharField(max_length=16, choices=Kind)
    amount = models.DecimalField(**AMOUNT)
    note = models.CharField(max_length=200, blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    by_name = models.CharField(max_length=254, blank=True)
    form_id = models.UUIDField(null=True, unique=True)  # of the form that made it: sent twice, it makes one

    class Meta:
        indexes = [models.Index(fields=["team", "-at"])]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind="top_up", amount__gt=0) | models.Q(kind="correction"),
                name="credit_entry_top_up_positive",
            )
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d} {self.amount}"
