from django.conf import settings
from django.db import migrations, models

MODELS = ['usagequarter', 'usageday', 'usageutcday', 'platformday', 'platformteamday', 'platformmodelday']
COLUMNS = ['input_cost', 'cached_cost', 'output_cost', 'reasoning_cost']

# As they were when this was written, for the rows that are there already.
WHO, WHAT = ['team_id', 'key_id', 'member_id'], ['model', 'origin', 'outcome']
PLATFORM_DAY = f"(made.bucket AT TIME ZONE '{settings.TIME_ZONE}')::date"
LEVELS = {  # table: when, the same of quarter hours, the other keys
    'billing_usagequarter': ('bucket', 'made.bucket', [*WHO, *WHAT]),
    'billing_usageday': ('day', "(made.bucket AT TIME ZONE coalesce(team.time_zone, 'UTC'))::date", [*WHO, *WHAT]),
    'billing_usageutcday': ('day', "(made.bucket AT TIME ZONE 'UTC')::date", [*WHO, *WHAT]),
    'billing_platformday': ('day', PLATFORM_DAY, ['team_id', *WHAT]),
    'billing_platformteamday': ('day', PLATFORM_DAY, ['team_id']),
    'billing_platformmodelday': ('day', PLATFORM_DAY, WHAT),
}


def part(name, whole):
    found = f'coalesce(log.{name}, 0)'
    return f'CASE WHEN log.corrects IS NULL THEN least({found}, log.{whole}) ELSE {found} END'


CACHED, REASONING = part('cached_tokens', 'prompt_tokens'), part('reasoning_tokens', 'completion_tokens')
KINDS = {
    'cached_cost': f'{CACHED} * coalesce(log.price_cached_input, log.price_input)',
    'output_cost': f'(log.completion_tokens - {REASONING}) * log.price_output',
    'reasoning_cost': f'{REASONING} * coalesce(log.price_reasoning, log.price_output)',
}
COSTS = {name: f'coalesce(sum({product}), 0) * 0.000001' for name, product in KINDS.items()}
BEYOND = (
    f"log.cost - 0.000001 * ((log.prompt_tokens - {CACHED}) * log.price_input + {' + '.join(KINDS.values())})"
)
COSTS['input_cost'] = (
    f"coalesce(sum(log.cost), 0) - {' - '.join(COSTS.values())}"
    f' - coalesce(sum({BEYOND}) FILTER (WHERE log.corrects IS NOT NULL), 0)'
)


def fill(apps, editor):
    """From the log, where it still has the month in whole: by quarter hours once, of which all levels are made."""
    with editor.connection.cursor() as cursor:
        cursor.execute('SELECT month FROM billing_thinmonth')
        thin = [month for month, in cursor.fetchall()]
    costs = ', '.join(f'({COSTS[name]})::numeric(26, 14) AS {name}' for name in COLUMNS)
    editor.execute(
        "CREATE TEMP TABLE made ON COMMIT DROP AS"
        " SELECT date_bin('15 minutes', log.booked_at, timestamptz '2000-01-01 00:00+00') AS bucket,"
        ' log.team_id, coalesce(log.key_id, 0) AS key_id, coalesce(log.member_id, 0) AS member_id,'
        f' log.model, log.origin, log.outcome, {costs} FROM billing_usage log'
        ' WHERE log.cost IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6, 7'
    )
    for table, (period, when, keys) in LEVELS.items():
        whole = ' AND '.join(
            ['true']
            + [
                f"NOT (kept.{period} >= timestamptz '{month} 00:00+00' - interval '1 day'"
                f" AND kept.{period} < timestamptz '{month} 00:00+00' + interval '1 month 1 day')"
                for month in thin
            ]
        )
        told, sums = ', '.join(f'made.{key}' for key in keys), ', '.join(f'sum({name}) AS {name}' for name in COLUMNS)
        editor.execute(
            f"UPDATE {table} kept SET {', '.join(f'{name} = anew.{name}' for name in COLUMNS)}"
            f' FROM (SELECT {when} AS period, {told}, {sums} FROM made'
            f" LEFT JOIN accounts_team team ON team.id = made.team_id GROUP BY {when}, {told}) anew"
            f" WHERE kept.{period} = anew.period AND {' AND '.join(f'kept.{key} = anew.{key}' for key in keys)}"
            f' AND {whole}'
        )
    editor.execute('DROP TABLE made')
    editor.execute('SET CONSTRAINTS ALL IMMEDIATE')  # the tables may be altered next, in the same transaction


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0014_narrow_team_quarters'),
    ]

    operations = [
        *(
            migrations.AddField(model, name, models.DecimalField(decimal_places=14, default=0, max_digits=26))
            for model in MODELS
            for name in COLUMNS
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
