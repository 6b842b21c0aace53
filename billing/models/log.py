"""The log: a table partitioned by month on `at`, whose definition stands in the migration as SQL.

Names of keys, members, models and engines are kept as they were, so that reports add up after any of them is gone.
"""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.models import Team
from billing.models.prices import COST, PRICE


class Outcome(models.TextChoices):
    OK = "ok", _("answered")
    STOPPED = "stopped", _("stopped")
    CLIENT_GONE = "client_gone", _("caller left")
    UPSTREAM_ERROR = "upstream_error", _("engine error")
    UPSTREAM_TIMEOUT = "upstream_timeout", _("engine too slow")
    BAD_UPSTREAM = "bad_upstream", _("engine's answer unreadable")
    REVOKED = "revoked", _("key revoked")
    BUDGET_STOP = "budget_stop", _("budget reached")
    DRAINED = "drained", _("server stopped")
    INTERRUPTED = "interrupted", _("server interrupted")
    INTERNAL_ERROR = "internal_error", _("our error")


# What the caller or the team's own rules ended is no error.
ENDED_WELL = (Outcome.OK, Outcome.STOPPED, Outcome.CLIENT_GONE, Outcome.REVOKED, Outcome.BUDGET_STOP)


class Source(models.TextChoices):
    """Where a token count comes from."""

    UPSTREAM = "upstream", _("engine's count")
    UPSTREAM_PARTIAL = "upstream_partial", _("engine's last count before the end")
    COUNTED = "counted", _("counted here")
    ESTIMATED = "estimated", _("estimated")
    NONE = "none", _("nothing to count")


class Origin(models.TextChoices):
    API = "api", _("API")
    CHAT = "chat", _("chat")


_ADJUSTMENT = models.Q(corrects__isnull=False)


class UsageRecord(models.Model):
    """One admitted request and how it ended, or an adjustment of one. Append-only. No prompt, no answer."""

    pk = models.CompositePrimaryKey("team_id", "at", "id")
    id = models.UUIDField()  # the request id, a UUIDv7 that carries `at`
    team = models.ForeignKey(Team, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="+")
    at = models.DateTimeField()  # when the request began, whole milliseconds
    booked_at = models.DateTimeField()  # what reports go by: `at`, or the open month's begin (billing.ledger.months)
    origin = models.CharField(max_length=8, choices=Origin)
    endpoint = models.CharField(max_length=32)
    stream = models.BooleanField()
    key_id = models.BigIntegerField(null=True)
    key_name = models.CharField(max_length=100, blank=True)
    member_id = models.BigIntegerField(null=True)
    member_name = models.CharField(max_length=254, blank=True)
    end_user = models.CharField(max_length=256, blank=True)  # the caller's own `user` field
    model = models.CharField(max_length=200)
    engine = models.CharField(max_length=100, blank=True)
    engine_type = models.CharField(max_length=16, blank=True)
    machine = models.CharField(max_length=100, blank=True)
    answer_id = models.CharField(max_length=200, blank=True)  # `id` in the answer's body
    client_request_id = models.CharField(max_length=200, blank=True)  # the caller's own x-request-id
    prompt_tokens = models.BigIntegerField()
    completion_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField(null=True)  # part of completion; null: not reported
    cached_tokens = models.BigIntegerField(null=True)  # part of prompt; null: not reported
    prompt_source = models.CharField(max_length=16, choices=Source)
    completion_source = models.CharField(max_length=16, choices=Source)
    anomaly = models.CharField(max_length=64, blank=True)
    outcome = models.CharField(max_length=16, choices=Outcome)
    status = models.SmallIntegerField()
    ttft_ms = models.IntegerField(null=True)
    duration_ms = models.IntegerField()
    price_input = models.DecimalField(**PRICE, null=True)
    price_cached_input = models.DecimalField(**PRICE, null=True)
    price_output = models.DecimalField(**PRICE, null=True)
    price_reasoning = models.DecimalField(**PRICE, null=True)
    cost = models.DecimalField(**COST, null=True)  # null: no price was in force
    # Of an adjustment alone: the request whose tokens and cost it changes by its own, up or down.
    corrects = models.UUIDField(null=True)
    reason = models.CharField(max_length=300, blank=True)
    adjusted_by = models.CharField(max_length=254, blank=True)
    logged_at = models.DateTimeField(null=True, db_default=Now())  # the database's own; null: from before it was kept

    class Meta:
        db_table = "billing_usage"
        indexes = [  # the few that came after their month was closed, and the few that correct others
            models.Index(
                fields=["team", "booked_at"], condition=models.Q(booked_at__gt=models.F("at")), name="usage_late"
            ),
            models.Index(fields=["corrects"], condition=_ADJUSTMENT, name="usage_corrects"),
            models.Index(fields=["team", "booked_at"], condition=_ADJUSTMENT, name="usage_adjusted"),
            # And those that say which models make embeddings, which the roll-ups do not tell.
            models.Index(fields=["model"], condition=models.Q(endpoint="embeddings"), name="usage_embeddings"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=_ADJUSTMENT
                | models.Q(prompt_tokens__gte=0, completion_tokens__gte=0)
                & (models.Q(reasoning_tokens=None) | models.Q(reasoning_tokens__gte=0))
                & (models.Q(cached_tokens=None) | models.Q(cached_tokens__gte=0)),
                name="usage_counts_not_negative",
            )
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.model} {self.prompt_tokens}+{self.completion_tokens}"


class DeadLetter(models.Model):
    """A spooled record that the log refused, kept so that nothing is lost."""

    id = models.UUIDField(primary_key=True)
    at = models.DateTimeField(auto_now_add=True)
    payload = models.JSONField()
    error = models.TextField()

    def __str__(self) -> str:
        return str(self.id)
