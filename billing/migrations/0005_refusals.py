import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_dialects'),
        ('billing', '0004_adjustments'),
    ]

    operations = [
        migrations.CreateModel(
            name='RefusedQuarter',
            fields=[
                ('pk', models.CompositePrimaryKey('team_id', 'bucket', 'key_id', 'member_id', 'origin', 'code', 'reason', 'status', blank=True, editable=False, primary_key=True, serialize=False)),
                ('bucket', models.DateTimeField()),
                ('key_id', models.BigIntegerField()),
                ('member_id', models.BigIntegerField()),
                ('origin', models.CharField(max_length=8)),
                ('code', models.CharField(max_length=64)),
                ('reason', models.CharField(max_length=64)),
                ('status', models.SmallIntegerField()),
                ('count', models.BigIntegerField()),
                ('team', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.team')),
            ],
        ),
        migrations.CreateModel(
            name='Refusal',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('at', models.DateTimeField()),
                ('origin', models.CharField(max_length=8)),
                ('endpoint', models.CharField(max_length=32)),
                ('key_id', models.BigIntegerField(null=True)),
                ('key_name', models.CharField(blank=True, max_length=100)),
                ('member_id', models.BigIntegerField(null=True)),
                ('member_name', models.CharField(blank=True, max_length=254)),
                ('model', models.CharField(blank=True, max_length=200)),
                ('code', models.CharField(max_length=64)),
                ('reason', models.CharField(blank=True, max_length=64)),
                ('status', models.SmallIntegerField()),
                ('count', models.BigIntegerField()),
                ('team', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.team')),
            ],
            options={
                'indexes': [models.Index(fields=['team', 'at'], name='refusal_by_team')],
            },
        ),
        # Its rows are updated all the time: room on each page keeps that off the index.
        migrations.RunSQL(
            sql="ALTER TABLE billing_refusedquarter SET (fillfactor = 70)",
            reverse_sql="ALTER TABLE billing_refusedquarter RESET (fillfactor)",
        ),
    ]
