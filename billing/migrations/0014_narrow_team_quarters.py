import django.db.models.deletion
from django.db import migrations, models

SUMS = [
    'requests', 'prompt_tokens', 'completion_tokens', 'reasoning_tokens', 'cached_tokens', 'reasoning_reported',
    'cached_reported', 'estimated_tokens', 'priced_requests', 'cost', 'ttft', 'duration',
]
ENDED_WELL = "('ok', 'stopped', 'client_gone', 'revoked', 'budget_stop')"
ERRORS = f"coalesce(sum(requests) FILTER (WHERE outcome NOT IN {ENDED_WELL}), 0)"


def fill(apps, editor):
    """From the finer level, which also has the months that left the log, team by team as it is read."""
    _fill(editor, {'requests': 'sum(requests)'})


def fill_as_before(apps, editor):
    _fill(editor, {name: f'sum({name})' for name in SUMS} | {'errors': ERRORS})


def _fill(editor, sums):
    editor.execute(
        f"INSERT INTO billing_teamquarter (team_id, bucket, {', '.join(sums)})"
        f" SELECT team_id, bucket, {', '.join(sums.values())} FROM billing_usagequarter"
        " GROUP BY team_id, bucket ORDER BY team_id, bucket"
    )
    editor.execute('SET CONSTRAINTS ALL IMMEDIATE')


class Migration(migrations.Migration):
    """The table is made anew: of its columns one was read."""

    dependencies = [
        ('accounts', '0004_admin_keys'),
        ('billing', '0013_utc_days'),
    ]

    operations = [
        migrations.RunPython(migrations.RunPython.noop, fill_as_before),
        migrations.DeleteModel('TeamQuarter'),
        migrations.CreateModel(
            name='TeamQuarter',
            fields=[
                ('pk', models.CompositePrimaryKey('team_id', 'bucket', blank=True, editable=False, primary_key=True, serialize=False)),
                ('bucket', models.DateTimeField()),
                ('requests', models.BigIntegerField()),
                ('team', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.team')),
            ],
            options={
                'indexes': [models.Index(fields=['team', 'bucket'], include=('requests',), name='team_hours')],
            },
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
