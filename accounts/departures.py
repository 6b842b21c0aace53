"""Telling every process that somebody signed out or lost a right that their open pages rest on."""

from django.db import connection

CHANNEL = "tertulia_departures"


def announce(user_id: int) -> None:
    """Call it last, in the transaction that changes the right. Who hears it looks at what the person may still do."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(user_id)])  # delivered when the transaction commits
