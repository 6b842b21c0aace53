"""By which mark a series is known in every chart. `billing.usage.marking` writes it."""

from django.db import models

from accounts.models import Team


class SeriesMark(models.Model):
    """Given when a series is first drawn, and never changed. `turn`, from 1, decides the mark: `billing.usage.marks`.

    No two series of a kind have one turn, so that two pages that are made at once cannot give one mark twice.
    """

    class Kind(models.TextChoices):
        MODEL = "model"
        KEY = "key"
        MEMBER = "member"
        TEAM = "team"

    team = models.ForeignKey(Team, on_delete=models.CASCADE, null=True, db_index=False, related_name="+")
    kind = models.CharField(max_length=8, choices=Kind)
    value = models.CharField(max_length=200)  # as a filter of the usage page calls it
    turn = models.PositiveIntegerField()

    class Meta:
        constraints = [  # without a team: of the platform's charts
            models.UniqueConstraint(fields=["team", "kind", "value"], nulls_distinct=False, name="series_mark_once"),
            models.UniqueConstraint(fields=["team", "kind", "turn"], nulls_distinct=False, name="series_mark_turn"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.value}: {self.turn}"
