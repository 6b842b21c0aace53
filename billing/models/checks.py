"""When charts and log were compared, and what came of it. `billing.ledger.checks` writes it."""

from django.db import models


class LedgerCheck(models.Model):
    at = models.DateTimeField(db_index=True)  # when it began
    everything = models.BooleanField()  # else the last days alone
    differing = models.BigIntegerField()  # groups that have other sums in the log than in a roll-up

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}: {self.differing}"

    @property
    def agrees(self) -> bool:
        return not self.differing
