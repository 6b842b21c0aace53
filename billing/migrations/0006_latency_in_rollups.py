from django.conf import settings
from django.db import migrations, models

MODELS = ['usagequarter', 'usageday', 'platformday']
COUNTS = ['reasoning_reported', 'cached_reported']
HISTOGRAMS = ['ttft', 'duration']

# As they were when this was written, for the rows that are there already.
BOUNDS = sorted({round(2 ** (step / 4)) for step in range(89)})
WHO = {'team_id': 'log.team_id', 'key_id': 'coalesce(log.key_id, 0)', 'member_id': 'coalesce(log.member_id, 0)'}
WHAT = {
    'model': 'log.model',
    'origin': 'log.origin',
    'outcome': "CASE WHEN log.outcome = 'ok' THEN 'ok'"
    " WHEN log.outcome IN ('stopped', 'client_gone', 'revoked', 'budget_stop') THEN 'stopped' ELSE 'error' END",
}
LEVELS = {
    'billing_usagequarter': {
        'bucket': "date_bin('15 minutes', log.booked_at, timestamptz '2000-01-01 00:00+00')", **WHO, **WHAT,
    },
    'billing_usageday': {
        'day': "(log.booked_at AT TIME ZONE coalesce(team.time_zone, 'UTC'))::date", **WHO, **WHAT,
    },
    'billing_platformday': {
        'day': f"(log.booked_at AT TIME ZONE '{settings.TIME_ZONE}')::date", 'team_id': 'log.team_id', **WHAT,
    },
}


def histogram(column):
    bounds = ', '.join(map(str, BOUNDS))
    return f"coalesce(sum(('1e' || 12 * width_bucket({column}, ARRAY[{bounds}]))::numeric), 0)"


def fill(apps, editor):
    """From the log, as far as it goes back; what lies further back has no figures of these kinds."""
    for table, keys in LEVELS.items():
        named = ', '.join(f'{expression} AS {name}' for name, expression in keys.items())
        same = ' AND '.join(f'kept.{name} = told.{name}' for name in keys)
        editor.execute(
            f"UPDATE {table} kept SET reasoning_reported = told.reasoning, cached_reported = told.cached,"
            " ttft = told.ttft, duration = told.duration FROM ("
            f"SELECT {named}, count(log.reasoning_tokens) AS reasoning, count(log.cached_tokens) AS cached,"
            f" {histogram('log.ttft_ms')} AS ttft, {histogram('log.duration_ms')} AS duration"
            " FROM billing_usage log LEFT JOIN accounts_team team ON team.id = log.team_id"
            f" GROUP BY {', '.join(str(place + 1) for place in range(len(keys)))}) told WHERE {same}"
        )


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0005_refusals'),
    ]

    operations = [
        *(
            migrations.AddField(model, name, models.BigIntegerField(default=0))
            for model in MODELS for name in COUNTS
        ),
        *(
            migrations.AddField(model, name, models.DecimalField(default=0))
            for model in MODELS for name in HISTOGRAMS
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
