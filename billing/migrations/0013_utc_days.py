import django.db.models.deletion
from django.db import migrations, models


SUMS = [
    'requests', 'prompt_tokens', 'completion_tokens', 'reasoning_tokens', 'cached_tokens', 'reasoning_reported',
    'cached_reported', 'estimated_tokens', 'priced_requests', 'cost', 'ttft', 'duration',
]
WHO_AND_WHAT = ['team_id', 'key_id', 'member_id', 'model', 'origin', 'outcome']


def fill(apps, editor):
    """From quarter hours, which also have the months that left the log."""
    same, sums = ', '.join(WHO_AND_WHAT), ', '.join(f'sum({name})' for name in SUMS)
    editor.execute(
        f"INSERT INTO billing_usageutcday ({same}, day, {', '.join(SUMS)})"
        f" SELECT {same}, (bucket AT TIME ZONE 'UTC')::date, {sums} FROM billing_usagequarter"
        f" GROUP BY {same}, (bucket AT TIME ZONE 'UTC')::date"
    )
    editor.execute('SET CONSTRAINTS ALL IMMEDIATE')


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0004_admin_keys'),
        ('billing', '0012_narrow_rollups'),
    ]

    operations = [
        migrations.CreateModel(
            name='UsageUtcDay',
            fields=[
                ('requests', models.BigIntegerField()),
                ('prompt_tokens', models.BigIntegerField()),
                ('completion_tokens', models.BigIntegerField()),
                ('reasoning_tokens', models.BigIntegerField()),
                ('cached_tokens', models.BigIntegerField()),
                ('reasoning_reported', models.BigIntegerField(default=0)),
                ('cached_reported', models.BigIntegerField(default=0)),
                ('estimated_tokens', models.BigIntegerField()),
                ('priced_requests', models.BigIntegerField()),
                ('cost', models.DecimalField(decimal_places=12, max_digits=24)),
                ('ttft', models.DecimalField(default=0)),
                ('duration', models.DecimalField(default=0)),
                ('model', models.CharField(max_length=200)),
                ('origin', models.CharField(max_length=8)),
                ('outcome', models.CharField(max_length=16)),
                ('key_id', models.BigIntegerField(default=0)),
                ('member_id', models.BigIntegerField(default=0)),
                ('pk', models.CompositePrimaryKey('team_id', 'day', 'key_id', 'member_id', 'model', 'origin', 'outcome', blank=True, editable=False, primary_key=True, serialize=False)),
                ('day', models.DateField()),
                ('team', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.team')),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
