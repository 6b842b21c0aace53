import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('gateway', '0005_default_reserve'),
    ]

    operations = [
        migrations.CreateModel(
            name='Pulse',
            fields=[
                ('process', models.UUIDField(primary_key=True, serialize=False)),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('told', models.JSONField()),
            ],
        ),
        # Written anew every few seconds by every web process, and worth nothing after a crash.
        migrations.RunSQL('ALTER TABLE gateway_pulse SET UNLOGGED', migrations.RunSQL.noop),
        migrations.CreateModel(
            name='LastUse',
            fields=[
                ('model', models.CharField(max_length=200, primary_key=True, serialize=False)),
                ('day', models.DateField()),
            ],
        ),
        migrations.CreateModel(
            name='Spell',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('model', models.CharField(blank=True, max_length=200)),
                ('state', models.CharField(choices=[('works', 'Works'), ('slow', 'Slow'), ('down', 'Not working')], max_length=8)),
                ('begins_at', models.DateTimeField()),
                ('ends_at', models.DateTimeField()),
            ],
            options={
                'constraints': [
                    models.UniqueConstraint(fields=('model', 'begins_at'), name='spell_begins_once'),
                    models.CheckConstraint(condition=models.Q(('ends_at__gte', models.F('begins_at'))), name='spell_not_backwards'),
                    models.CheckConstraint(condition=models.Q(('state__in', ['works', 'slow', 'down'])), name='spell_state_known'),
                ],
            },
        ),
        migrations.AddField(
            model_name='engine',
            name='version',
            field=models.CharField(blank=True, max_length=60),
        ),
        migrations.AddField(
            model_name='servedmodel',
            name='on_status_page',
            field=models.BooleanField(default=True),
        ),
        migrations.AddField(
            model_name='servedmodel',
            name='retires_on',
            field=models.DateField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='servedmodel',
            name='successor',
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddConstraint(
            model_name='servedmodel',
            constraint=models.CheckConstraint(condition=models.Q(('successor', ''), ('retires_on__isnull', False), _connector='OR'), name='successor_of_deprecated'),
        ),
    ]
