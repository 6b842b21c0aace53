"""Calls of known callers that were not admitted: some one by one, all of them in sums by quarter of an hour."""

from django.db import models

from accounts.models import Team


class Refusal(models.Model):
    """One refusal, or a minute's worth of them; see `billing.records.Refusal`. Kept for a while only."""

    id = models.UUIDField(primary_key=True)  # a UUIDv7 of `at`'s time
    at = models.DateTimeField()
    team = models.ForeignKey(Team, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="+")
    origin = models.CharField(max_length=8)
    endpoint = models.CharField(max_length=32)
    key_id = models.BigIntegerField(null=True)
    key_name = models.CharField(max_length=100, blank=True)
    member_id = models.BigIntegerField(null=True)
    member_name = models.CharField(max_length=254, blank=True)
    model = models.CharField(max_length=200, blank=True)
    code = models.CharField(max_length=64)
    reason = models.CharField(max_length=64, blank=True)
    status = models.SmallIntegerField()
    count = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["team", "at"], name="refusal_by_team")]

    def __str__(self) -> str:
        return f"{self.id} {self.code}"


class RefusedQuarter(models.Model):
    """How often calls were refused in a quarter of an hour, UTC."""

    pk = models.CompositePrimaryKey("team_id", "bucket", "key_id", "member_id", "origin", "code", "reason", "status")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="+")
    bucket = models.DateTimeField()
    key_id = models.BigIntegerField()  # 0: none
    member_id = models.BigIntegerField()
    origin = models.CharField(max_length=8)
    code = models.CharField(max_length=64)
    reason = models.CharField(max_length=64)
    status = models.SmallIntegerField()
    count = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.bucket:%Y-%m-%d %H:%M} {self.code}"
