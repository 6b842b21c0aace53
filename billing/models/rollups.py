"""The log's sums by time, team and model. `billing.ledger.rollups` says what they are made of."""

from django.db import models

from accounts.models import Team
from billing.models.prices import COST, KIND_COST


class Sums(models.Model):
    """The sums that every level of roll-up holds."""

    requests = models.BigIntegerField()
    prompt_tokens = models.BigIntegerField()
    completion_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    cached_tokens = models.BigIntegerField()
    reasoning_reported = models.BigIntegerField(default=0)  # requests whose engine told, if only zero
    cached_reported = models.BigIntegerField(default=0)
    estimated_tokens = models.BigIntegerField()  # of prompt and completion, those not the engine's own count
    priced_requests = models.BigIntegerField()
    cost = models.DecimalField(**COST)
    # Of the cost, what is of a type of tokens. The rest was corrected in money, or had left the log before these were.
    input_cost = models.DecimalField(**KIND_COST, default=0)  # without what was cached
    cached_cost = models.DecimalField(**KIND_COST, default=0)
    output_cost = models.DecimalField(**KIND_COST, default=0)  # without reasoning
    reasoning_cost = models.DecimalField(**KIND_COST, default=0)
    ttft = models.DecimalField(default=0)  # histograms of milliseconds: billing.ledger.histograms says how to read them
    duration = models.DecimalField(default=0)

    class Meta:
        abstract = True


class RollUp(Sums):
    """A level that tells models, origins and outcomes apart."""

    model = models.CharField(max_length=200)
    origin = models.CharField(max_length=8)
    outcome = models.CharField(max_length=16)  # of the log; months that left it earlier have "error" for several

    class Meta:
        abstract = True


class TeamRollUp(RollUp):
    team = models.ForeignKey(Team, on_delete=models.PROTECT, db_index=False, related_name="+")
    key_id = models.BigIntegerField(default=0)  # 0: none
    member_id = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class UsageQuarter(TeamRollUp):
    """Sums of a quarter of an hour, UTC."""

    pk = models.CompositePrimaryKey("team_id", "bucket", "key_id", "member_id", "model", "origin", "outcome")
    bucket = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.bucket:%Y-%m-%d %H:%M} {self.model}"


class UsageDay(TeamRollUp):
    """Sums of a day in the team's time zone."""

    pk = models.CompositePrimaryKey("team_id", "day", "key_id", "member_id", "model", "origin", "outcome")
    day = models.DateField()

    def __str__(self) -> str:
        return f"{self.day} {self.model}"


class UsageUtcDay(TeamRollUp):
    """Sums of a day in UTC, the other zone in which a team's usage is told."""

    pk = models.CompositePrimaryKey("team_id", "day", "key_id", "member_id", "model", "origin", "outcome")
    day = models.DateField()

    def __str__(self) -> str:
        return f"{self.day} {self.model}"


class PlatformDay(RollUp):
    """Sums of a day in the installation's TIME_ZONE, for operators."""

    pk = models.CompositePrimaryKey("day", "team_id", "model", "origin", "outcome")
    day = models.DateField()
    team = models.ForeignKey(Team, on_delete=models.PROTECT, db_index=False, related_name="+")

    def __str__(self) -> str:
        return f"{self.day} {self.model}"


class TeamQuarter(models.Model):
    """What a team asked in a quarter of an hour, UTC: for the hours of a whole year, which are read from the index."""

    pk = models.CompositePrimaryKey("team_id", "bucket")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, db_index=False, related_name="+")
    bucket = models.DateTimeField()
    requests = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["team", "bucket"], include=["requests"], name="team_hours")]

    def __str__(self) -> str:
        return f"{self.team_id} {self.bucket:%Y-%m-%d %H:%M}"


class PlatformModelDay(RollUp):
    """Sums of all teams on a day in the installation's TIME_ZONE, for operators."""

    pk = models.CompositePrimaryKey("day", "model", "origin", "outcome")
    day = models.DateField()

    def __str__(self) -> str:
        return f"{self.day} {self.model}"


class PlatformTeamDay(Sums):
    """Sums of all that a team did on a day in the installation's TIME_ZONE, for operators."""

    pk = models.CompositePrimaryKey("day", "team_id")
    day = models.DateField()
    team = models.ForeignKey(Team, on_delete=models.PROTECT, db_index=False, related_name="+")
    errors = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.day} {self.team_id}"
