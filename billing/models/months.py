"""What may no longer change, and what the log no longer has."""

from django.db import models

from accounts.models import Team


class TeamBooks(models.Model):
    """Up to when a team's books are closed: always the first instant of a month in the team's zone."""

    team = models.OneToOneField(Team, on_delete=models.PROTECT, primary_key=True, related_name="+")
    closed_until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.team} until {self.closed_until:%Y-%m-%d}"


class ThinMonth(models.Model):
    """A month, UTC, of which some rows have left the log: its roll-ups stay, and can no longer be proved by the log.

    `dropped_at`: when its own part of the log went; null when only late rows went, together with another month.
    """

    month = models.DateField(primary_key=True)  # its first day
    dropped_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"
