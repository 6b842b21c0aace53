import django.db.models.functions.datetime
from django.db import migrations, models

# Rows that are there already stay without: nobody knows any more when they came.
FORWARD = [
    'ALTER TABLE billing_usage ADD COLUMN logged_at timestamptz',
    'ALTER TABLE billing_usage ALTER COLUMN logged_at SET DEFAULT statement_timestamp()',
]
BACKWARD = 'ALTER TABLE billing_usage DROP COLUMN logged_at'


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0008_outcomes_in_rollups'),
    ]

    operations = [
        migrations.RunSQL(
            sql=FORWARD,
            reverse_sql=BACKWARD,
            state_operations=[
                migrations.AddField(
                    model_name='usagerecord',
                    name='logged_at',
                    field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), null=True),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(condition=models.Q(('endpoint', 'embeddings')), fields=['model'], name='usage_embeddings'),
        ),
    ]
