"""What the roof itself remembers: when its jobs last ran."""

from django.db import models


class JobRun(models.Model):
    """The last run of a background job, whichever process did it."""

    name = models.CharField(max_length=100, primary_key=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    problem = models.CharField(max_length=500, blank=True)  # of the last run; blank: it went well

    def __str__(self) -> str:
        return self.name
