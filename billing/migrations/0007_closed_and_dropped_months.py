import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0001_people_teams_keys'),
        ('billing', '0006_latency_in_rollups'),
    ]

    operations = [
        migrations.CreateModel(
            name='TeamBooks',
            fields=[
                ('team', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='+', serialize=False, to='accounts.team')),
                ('closed_until', models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name='ThinMonth',
            fields=[
                ('month', models.DateField(primary_key=True, serialize=False)),
                ('dropped_at', models.DateTimeField(null=True)),
            ],
        ),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(condition=models.Q(('booked_at__gt', models.F('at'))), fields=['team', 'booked_at'], name='usage_late'),
        ),
    ]
