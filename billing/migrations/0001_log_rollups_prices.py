import django.db.models.deletion
from django.db import migrations, models

ROLL_UPS = ["billing_usagequarter", "billing_usageday", "billing_platformday"]

LOG = """
CREATE TABLE billing_usage (
    id uuid NOT NULL,
    team_id bigint NOT NULL,
    at timestamptz NOT NULL,
    booked_at timestamptz NOT NULL,
    origin varchar(8) NOT NULL,
    endpoint varchar(32) NOT NULL,
    stream boolean NOT NULL,
    key_id bigint,
    key_name varchar(100) NOT NULL,
    member_id bigint,
    member_name varchar(254) NOT NULL,
    end_user varchar(256) NOT NULL,
    model varchar(200) NOT NULL,
    engine varchar(100) NOT NULL,
    engine_type varchar(16) NOT NULL,
    machine varchar(100) NOT NULL,
    answer_id varchar(200) NOT NULL,
    client_request_id varchar(200) NOT NULL,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    reasoning_tokens bigint,
    cached_tokens bigint,
    prompt_source varchar(16) NOT NULL,
    completion_source varchar(16) NOT NULL,
    anomaly varchar(64) NOT NULL,
    outcome varchar(16) NOT NULL,
    status smallint NOT NULL,
    ttft_ms integer,
    duration_ms integer NOT NULL,
    price_input numeric(18, 8),
    price_cached_input numeric(18, 8),
    price_output numeric(18, 8),
    price_reasoning numeric(18, 8),
    cost numeric(24, 12),
    PRIMARY KEY (team_id, at, id),
    CONSTRAINT usage_counts_not_negative CHECK (
        prompt_tokens >= 0 AND completion_tokens >= 0 AND reasoning_tokens >= 0 AND cached_tokens >= 0
    )
) PARTITION BY RANGE (at)
"""


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('accounts', '0001_people_teams_keys'),
    ]

    operations = [
        migrations.CreateModel(
            name='DeadLetter',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('at', models.DateTimeField(auto_now_add=True)),
                ('payload', models.JSONField()),
                ('error', models.TextField()),
            ],
        ),
        migrations.CreateModel(
            name='PlatformDay',
            fields=[
                ('model', models.CharField(max_length=200)),
                ('origin', models.CharField(max_length=8)),
                ('outcome', models.CharField(max_length=8)),
                ('requests', models.BigIntegerField()),
                ('prompt_tokens', models.BigIntegerField()),
                ('completion_tokens', models.BigIntegerField()),
                ('reasoning_tokens', models.BigIntegerField()),
                ('cached_tokens', models.BigIntegerField()),
                ('estimated_tokens', models.BigIntegerField()),
                ('priced_requests', models.BigIntegerField()),
                ('cost', models.DecimalField(decimal_places=12, max_digits=24)),
                ('pk', models.CompositePrimaryKey('day', 'team_id', 'model', 'origin', 'outcome', blank=True, editable=False, primary_key=True, serialize=False)),
                ('day', models.DateField()),
                ('team', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.team')),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='Price',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('model', models.CharField(max_length=200)),
                ('effective_from', models.DateTimeField()),
                ('input', models.DecimalField(decimal_places=8, max_digits=18)),
                ('cached_input', models.DecimalField(blank=True, decimal_places=8, max_digits=18, null=True)),
                ('output', models.DecimalField(decimal_places=8, max_digits=18)),
                ('reasoning', models.DecimalField(blank=True, decimal_places=8, max_digits=18, null=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('model', 'effective_from'), name='price_once')],
            },
        ),
        migrations.CreateModel(
            name='UsageDay',
            fields=[
                ('model', models.CharField(max_length=200)),
                ('origin', models.CharField(max_length=8)),
                ('outcome', models.CharField(max_length=8)),
                ('requests', models.BigIntegerField()),
                ('prompt_tokens', models.BigIntegerField()),
                ('completion_tokens', models.BigIntegerField()),
                ('reasoning_tokens', models.BigIntegerField()),
                ('cached_tokens', models.BigIntegerField()),
                ('estimated_tokens', models.BigIntegerField()),
                ('priced_requests', models.BigIntegerField()),
                ('cost', models.DecimalField(decimal_places=12, max_digits=24)),
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
        migrations.CreateModel(
            name='UsageQuarter',
            fields=[
                ('model', models.CharField(max_length=200)),
                ('origin', models.CharField(max_length=8)),
                ('outcome', models.CharField(max_length=8)),
                ('requests', models.BigIntegerField()),
                ('prompt_tokens', models.BigIntegerField()),
                ('completion_tokens', models.BigIntegerField()),
                ('reasoning_tokens', models.BigIntegerField()),
                ('cached_tokens', models.BigIntegerField()),
                ('estimated_tokens', models.BigIntegerField()),
                ('priced_requests', models.BigIntegerField()),
                ('cost', models.DecimalField(decimal_places=12, max_digits=24)),
                ('key_id', models.BigIntegerField(default=0)),
                ('member_id', models.BigIntegerField(default=0)),
                ('pk', models.CompositePrimaryKey('team_id', 'bucket', 'key_id', 'member_id', 'model', 'origin', 'outcome', blank=True, editable=False, primary_key=True, serialize=False)),
                ('bucket', models.DateTimeField()),
                ('team', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.team')),
            ],
            options={
                'abstract': False,
            },
        ),
        # Django's own statement cannot say PARTITION BY. Months are made by billing.ledger.partitions.ensure_partitions.
        migrations.RunSQL(
            sql=LOG,
            reverse_sql="DROP TABLE billing_usage",
            state_operations=[
                migrations.CreateModel(
                    name='UsageRecord',
                    fields=[
                        ('pk', models.CompositePrimaryKey('team_id', 'at', 'id', blank=True, editable=False, primary_key=True, serialize=False)),
                        ('id', models.UUIDField()),
                        ('at', models.DateTimeField()),
                        ('booked_at', models.DateTimeField()),
                        ('origin', models.CharField(choices=[('api', 'API'), ('chat', 'chat')], max_length=8)),
                        ('endpoint', models.CharField(max_length=32)),
                        ('stream', models.BooleanField()),
                        ('key_id', models.BigIntegerField(null=True)),
                        ('key_name', models.CharField(blank=True, max_length=100)),
                        ('member_id', models.BigIntegerField(null=True)),
                        ('member_name', models.CharField(blank=True, max_length=254)),
                        ('end_user', models.CharField(blank=True, max_length=256)),
                        ('model', models.CharField(max_length=200)),
                        ('engine', models.CharField(blank=True, max_length=100)),
                        ('engine_type', models.CharField(blank=True, max_length=16)),
                        ('machine', models.CharField(blank=True, max_length=100)),
                        ('answer_id', models.CharField(blank=True, max_length=200)),
                        ('client_request_id', models.CharField(blank=True, max_length=200)),
                        ('prompt_tokens', models.BigIntegerField()),
                        ('completion_tokens', models.BigIntegerField()),
                        ('reasoning_tokens', models.BigIntegerField(null=True)),
                        ('cached_tokens', models.BigIntegerField(null=True)),
                        ('prompt_source', models.CharField(choices=[('upstream', "engine's count"), ('upstream_partial', "engine's last count before the end"), ('counted', 'counted here'), ('estimated', 'estimated'), ('none', 'nothing to count')], max_length=16)),
                        ('completion_source', models.CharField(choices=[('upstream', "engine's count"), ('upstream_partial', "engine's last count before the end"), ('counted', 'counted here'), ('estimated', 'estimated'), ('none', 'nothing to count')], max_length=16)),
                        ('anomaly', models.CharField(blank=True, max_length=64)),
                        ('outcome', models.CharField(choices=[('ok', 'answered'), ('stopped', 'stopped'), ('client_gone', 'caller left'), ('upstream_error', 'engine error'), ('upstream_timeout', 'engine too slow'), ('bad_upstream', "engine's answer unreadable"), ('revoked', 'key revoked'), ('budget_stop', 'budget reached'), ('drained', 'server stopped'), ('interrupted', 'server interrupted'), ('internal_error', 'our error')], max_length=16)),
                        ('status', models.SmallIntegerField()),
                        ('ttft_ms', models.IntegerField(null=True)),
                        ('duration_ms', models.IntegerField()),
                        ('price_input', models.DecimalField(decimal_places=8, max_digits=18, null=True)),
                        ('price_cached_input', models.DecimalField(decimal_places=8, max_digits=18, null=True)),
                        ('price_output', models.DecimalField(decimal_places=8, max_digits=18, null=True)),
                        ('price_reasoning', models.DecimalField(decimal_places=8, max_digits=18, null=True)),
                        ('cost', models.DecimalField(decimal_places=12, max_digits=24, null=True)),
                        ('team', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.team')),
                    ],
                    options={
                        'db_table': 'billing_usage',
                        'constraints': [models.CheckConstraint(condition=models.Q(('completion_tokens__gte', 0), ('prompt_tokens__gte', 0), models.Q(('reasoning_tokens', None), ('reasoning_tokens__gte', 0), _connector='OR'), models.Q(('cached_tokens', None), ('cached_tokens__gte', 0), _connector='OR')), name='usage_counts_not_negative')],
                    },
                ),
            ],
        ),
        # Their rows are updated all the time: room on each page keeps that off the indexes.
        migrations.RunSQL(
            sql=[f"ALTER TABLE {table} SET (fillfactor = 70)" for table in ROLL_UPS],
            reverse_sql=[f"ALTER TABLE {table} RESET (fillfactor)" for table in ROLL_UPS],
        ),
    ]
