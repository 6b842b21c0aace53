"""The table of Django's cache, in which failed sign-ins are counted and used one-time codes kept.

Not logged: it is written while people sign in, and a crash may forget it.
"""

from django.db import migrations

MAKE = """
CREATE UNLOGGED TABLE console_cache (
    cache_key varchar(255) PRIMARY KEY,
    value text NOT NULL,
    expires timestamp with time zone NOT NULL
);
CREATE INDEX console_cache_expires ON console_cache (expires);
"""


class Migration(migrations.Migration):
    dependencies = [("console", "0001_job_runs")]

    operations = [migrations.RunSQL(MAKE, "DROP TABLE console_cache")]
