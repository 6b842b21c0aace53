"""The number that tells every process that what it holds in memory has changed.

A row and not a sequence: a sequence moves before its transaction commits, and a reader that saw the new number with
the old data would keep the old data.
"""

from django.db import connection
from django.db.models import F

from accounts.models import Revision

CHANNEL = "tertulia_revision"


def bump() -> None:
    """Call it inside the transaction that changes keys, teams, engines, models or prices."""
    Revision.objects.get_or_create(id=1)
    Revision.objects.filter(id=1).update(number=F("number") + 1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])  # delivered when the transaction commits


def current() -> int:
    return Revision.objects.filter(id=1).values_list("number", flat=True).first() or 0
