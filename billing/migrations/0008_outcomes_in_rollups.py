from django.conf import settings
from django.db import migrations, models

MODELS = ['usagequarter', 'usageday', 'platformday']

# As they were when this was written, for the rows that are there already.
BOUNDS = sorted({round(2 ** (step / 4)) for step in range(89)})
WHO = {'team_id': 'log.team_id', 'key_id': 'coalesce(log.key_id, 0)', 'member_id': 'coalesce(log.member_id, 0)'}
WHAT = {'model': 'log.model', 'origin': 'log.origin', 'outcome': 'log.outcome'}
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
OWN = "('upstream', 'upstream_partial')"


def histogram(column):
    bounds = ', '.join(map(str, BOUNDS))
    return (
        f"coalesce(sum(('1e' || 12 * width_bucket({column}, ARRAY[{bounds}]))::numeric)"
        " FILTER (WHERE log.corrects IS NULL), 0)"
    )


SUMS = {
    'requests': 'count(*) FILTER (WHERE log.corrects IS NULL)',
    'prompt_tokens': 'sum(log.prompt_tokens)',
    'completion_tokens': 'sum(log.completion_tokens)',
    'reasoning_tokens': 'coalesce(sum(log.reasoning_tokens), 0)',
    'cached_tokens': 'coalesce(sum(log.cached_tokens), 0)',
    'reasoning_reported': 'count(log.reasoning_tokens)',
    'cached_reported': 'count(log.cached_tokens)',
    'estimated_tokens': f'coalesce(sum(log.prompt_tokens) FILTER (WHERE log.prompt_source NOT IN {OWN}), 0)'
    f' + coalesce(sum(log.completion_tokens) FILTER (WHERE log.completion_source NOT IN {OWN}), 0)',
    'priced_requests': 'count(log.cost) FILTER (WHERE log.corrects IS NULL)',
    'cost': 'coalesce(sum(log.cost), 0)',
    'ttft': histogram('log.ttft_ms'),
    'duration': histogram('log.duration_ms'),
}
CLASSES = (
    "CASE WHEN outcome = 'ok' THEN 'ok' WHEN outcome IN ('stopped', 'client_gone', 'revoked', 'budget_stop')"
    " THEN 'stopped' ELSE 'error' END"
)


def tell_apart(apps, editor):
    """From the log, where it still has the month in whole; what lies further back keeps its class."""
    with editor.connection.cursor() as cursor:
        cursor.execute("SELECT month FROM billing_thinmonth")
        thin = [month for month, in cursor.fetchall()]
    for table, keys in LEVELS.items():
        period = next(iter(keys))
        whole = ' AND '.join(
            ['true']
            + [
                f"NOT ({period} >= timestamptz '{month} 00:00+00' - interval '1 day'"
                f" AND {period} < timestamptz '{month} 00:00+00' + interval '1 month 1 day')"
                for month in thin
            ]
        )
        named = ', '.join(f'{expression} AS {name}' for name, expression in (keys | SUMS).items())
        places = ', '.join(str(place + 1) for place in range(len(keys)))
        editor.execute(f"DELETE FROM {table} WHERE outcome <> 'ok' AND {whole}")
        editor.execute(
            f"INSERT INTO {table} ({', '.join(keys | SUMS)}) SELECT * FROM (SELECT {named}"
            " FROM billing_usage log LEFT JOIN accounts_team team ON team.id = log.team_id"
            f" WHERE log.outcome <> 'ok' GROUP BY {places}) anew WHERE {whole}"
        )
    editor.execute('SET CONSTRAINTS ALL IMMEDIATE')  # the tables may be altered next, in the same transaction


def put_together(apps, editor):
    for table, keys in LEVELS.items():
        kept = [name for name in keys if name != 'outcome']
        added = ', '.join(f'sum({name})' for name in SUMS)
        editor.execute(
            f"WITH gone AS (DELETE FROM {table} WHERE outcome <> 'ok' RETURNING *)"
            f" INSERT INTO {table} ({', '.join([*kept, 'outcome', *SUMS])})"
            f" SELECT {', '.join(kept)}, {CLASSES} AS class, {added} FROM gone GROUP BY {', '.join(kept)}, class"
        )
    editor.execute('SET CONSTRAINTS ALL IMMEDIATE')


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0007_closed_and_dropped_months'),
    ]

    operations = [
        *(migrations.AlterField(model, 'outcome', models.CharField(max_length=16)) for model in MODELS),
        migrations.RunPython(tell_apart, put_together),
    ]
