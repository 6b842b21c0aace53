"""Alerts, the ways on which they go out, and what still has to go.

`billing.alerts.raising` writes alerts, `billing.alerts.outbox` deliveries once they are there, `billing.alerts.wishes`
what teams and people want to hear of, `billing.alerts.webhooks` webhooks, `billing.alerts.monthly` months reported.
"""

from uuid import uuid4

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models import Team, User

SHOWN = 4  # characters of a webhook's path


class Rule(models.TextChoices):
    """What was noticed. `billing.alerts.words` has the sentences, `billing.alerts.links` the view that shows it."""

    BUDGET = "budget", _("Budget")
    CREDIT = "credit", _("Credit")
    SPIKE = "spike", _("Sudden use of a key")
    ERRORS = "errors", _("Errors")
    SLOW = "slow", _("Slow answers")
    UNUSED_KEY = "unused_key", _("Unused key")
    EXPIRING_KEY = "expiring_key", _("Key that expires")
    WEBHOOK = "webhook", _("Webhook")
    # For operators.
    ENGINE = "engine", _("Engine down")
    DEAD_LETTERS = "dead_letters", _("Refused by the log")
    SPOOL = "spool", _("Spool")
    TEAM_CREDIT = "team_credit", _("Credit of a team")


class Severity(models.TextChoices):
    NOTE = "note", _("note")
    WARNING = "warning", _("warning")
    URGENT = "urgent", _("urgent")


class Alert(models.Model):
    """Something noticed once. Never raised a second time for the same `occasion` of its subject: the database says so.

    What the words need stands in `detail` as numbers, so that each reader gets them in an own language.
    """

    id = models.UUIDField(primary_key=True, default=uuid4)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, null=True, related_name="+")  # null: the platform's
    rule = models.CharField(max_length=16, choices=Rule)
    subject = models.CharField(max_length=64)  # "team", "key:7", "member:3", "engine:2", …
    occasion = models.CharField(max_length=120)  # such as month and threshold
    name = models.CharField(max_length=254, blank=True)  # the subject's, as it was
    severity = models.CharField(max_length=8, choices=Severity)
    detail = models.JSONField(default=dict)
    raised_at = models.DateTimeField()
    seen_at = models.DateTimeField()  # when it was last found to be so
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["team", "rule", "subject", "occasion"], nulls_distinct=False, name="alert_once"
            ),
        ]
        indexes = [
            models.Index(fields=["team", "-raised_at"], name="alert_by_team"),
            models.Index(fields=["team"], condition=models.Q(resolved_at=None), name="alert_open"),
        ]

    def __str__(self) -> str:
        return f"{self.rule} {self.subject} {self.occasion}"


class Dismissal(models.Model):
    """Somebody does not want to see the banner of this alert any more."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="dismissals")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["alert", "user"], name="dismissal_once")]

    def __str__(self) -> str:
        return f"{self.alert_id} {self.user_id}"


class Watching(models.Model):
    """What a team wants to be told of. A team without a row has these defaults."""

    team = models.OneToOneField(Team, on_delete=models.CASCADE, primary_key=True, related_name="+")
    budgets = models.BooleanField(default=True)
    keys = models.BooleanField(default=True)
    spikes = models.BooleanField(default=True)
    spike_times = models.PositiveSmallIntegerField(
        default=4, validators=[MinValueValidator(2), MaxValueValidator(1000)]
    )
    spike_floor = models.PositiveBigIntegerField(default=100_000)
    error_percent = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        default=20,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
    )
    first_token_ms = models.PositiveIntegerField(null=True, blank=True, default=None, validators=[MinValueValidator(1)])
    window_minutes = models.PositiveSmallIntegerField(
        default=30, choices=[(15, _("15 minutes")), (30, _("30 minutes")), (60, _("an hour"))]
    )
    least_requests = models.PositiveIntegerField(default=20, validators=[MinValueValidator(1)])
    monthly_report = models.BooleanField(default=True)

    def __str__(self) -> str:
        return str(self.team_id)


class Listener(models.Model):
    """Whether somebody gets a team's mails (null: the platform's). Null: owners and admins do, others do not.

    What people decline for themselves holds whatever the team's admins choose.
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, null=True, related_name="+")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    alerts = models.BooleanField(null=True)
    reports = models.BooleanField(null=True)
    declines_alerts = models.BooleanField(default=False)
    declines_reports = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["team", "user"], nulls_distinct=False, name="listener_once"),
        ]

    def __str__(self) -> str:
        return f"{self.team_id} {self.user_id}"


class Webhook(models.Model):
    """An address that is told of a team's alerts (null: the platform's), signed with a secret of its own."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, null=True, related_name="+")
    url = models.CharField(max_length=500)
    secret = models.TextField()  # encrypted, see accounts.secrets
    created_at = models.DateTimeField()
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    answered_at = models.DateTimeField(null=True)  # when it last took something
    failing_since = models.DateTimeField(null=True)
    stopped_at = models.DateTimeField(null=True)  # it gets nothing any more, until somebody starts it again

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "url"], nulls_distinct=False, name="webhook_once")]

    def __str__(self) -> str:
        """As people see it who need not know it whole: in many such addresses the path is a secret."""
        scheme, _, rest = self.url.partition("://")
        host, _, path = rest.partition("/")
        return f"{scheme}://{host}/…{path[-SHOWN:]}" if len(path) > 2 * SHOWN else self.url


class MonthReported(models.Model):
    """A team's month whose report was made out: one row, so that nobody makes it out again."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+")
    month = models.DateField()  # its first day
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "month"], name="month_reported_once")]

    def __str__(self) -> str:
        return f"{self.team_id} {self.month:%Y-%m}"


class Delivery(models.Model):
    """One message to one person or webhook, written in the transaction that gives a reason for it.

    Its id stays the same however often it is tried: `webhook-id`, and the mail's Message-ID.
    """

    class Kind(models.TextChoices):
        RAISED = "raised", _("alert")
        RESOLVED = "resolved", _("over")
        REPORT = "report", _("report of a month")
        TEST = "test", _("test")

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        SENT = "sent", _("sent")
        FAILED = "failed", _("given up")
        DROPPED = "dropped", _("not wanted any more")

    id = models.UUIDField(primary_key=True, default=uuid4)
    kind = models.CharField(max_length=8, choices=Kind)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, null=True, related_name="+")
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, null=True, related_name="deliveries")
    report = models.ForeignKey(MonthReported, on_delete=models.CASCADE, null=True, related_name="deliveries")
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, related_name="+")  # by mail
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, null=True, related_name="deliveries")
    to = models.CharField(max_length=500)  # the address of that time
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField()
    due_at = models.DateTimeField()  # while it is being sent: when another may take it for lost
    tried_at = models.DateTimeField(null=True)
    answer = models.CharField(max_length=300, blank=True)  # what the last try met

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["alert", "kind", "user"], condition=models.Q(user__isnull=False), name="delivery_once_by_mail"
            ),
            models.UniqueConstraint(
                fields=["alert", "kind", "webhook"],
                condition=models.Q(webhook__isnull=False),
                name="delivery_once_by_webhook",
            ),
            models.UniqueConstraint(
                fields=["report", "user"], condition=models.Q(report__isnull=False), name="delivery_once_by_report"
            ),
            models.CheckConstraint(condition=models.Q(user=None) ^ models.Q(webhook=None), name="delivery_one_way"),
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=models.Q(state="waiting"), name="delivery_waiting"),
            models.Index(fields=["team", "-created_at"], name="delivery_by_team"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.to}"
