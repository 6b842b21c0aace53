from django.db import migrations, models

COUNTS = "prompt_tokens >= 0 AND completion_tokens >= 0 AND reasoning_tokens >= 0 AND cached_tokens >= 0"

# Each month's partition was made with the constraint as its own, so dropping it from the log leaves it there.
DROP = """
DO $$
DECLARE month regclass;
BEGIN
    ALTER TABLE billing_usage DROP CONSTRAINT usage_counts_not_negative;
    FOR month IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'billing_usage'::regclass LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS usage_counts_not_negative', month);
    END LOOP;
END $$
"""
FORWARD = [
    "ALTER TABLE billing_usage ADD COLUMN corrects uuid, ADD COLUMN reason varchar(300) NOT NULL DEFAULT '',"
    " ADD COLUMN adjusted_by varchar(254) NOT NULL DEFAULT ''",
    DROP,
    f"ALTER TABLE billing_usage ADD CONSTRAINT usage_counts_not_negative CHECK (corrects IS NOT NULL OR ({COUNTS}))",
    "CREATE INDEX usage_corrects ON billing_usage (corrects) WHERE corrects IS NOT NULL",
    "CREATE INDEX usage_adjusted ON billing_usage (team_id, booked_at) WHERE corrects IS NOT NULL",
]
# Whoever goes back loses the adjustments, and makes the roll-ups anew: manage.py usage_rebuild.
BACKWARD = [
    "DROP INDEX usage_adjusted",
    "DROP INDEX usage_corrects",
    "DELETE FROM billing_usage WHERE corrects IS NOT NULL",
    DROP,
    f"ALTER TABLE billing_usage ADD CONSTRAINT usage_counts_not_negative CHECK ({COUNTS})",
    "ALTER TABLE billing_usage DROP COLUMN corrects, DROP COLUMN reason, DROP COLUMN adjusted_by",
]


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0003_budgets'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(sql=FORWARD, reverse_sql=BACKWARD)],
            state_operations=[
                migrations.AddField(
                    model_name='usagerecord',
                    name='corrects',
                    field=models.UUIDField(null=True),
                ),
                migrations.AddField(
                    model_name='usagerecord',
                    name='reason',
                    field=models.CharField(blank=True, max_length=300),
                ),
                migrations.AddField(
                    model_name='usagerecord',
                    name='adjusted_by',
                    field=models.CharField(blank=True, max_length=254),
                ),
                migrations.RemoveConstraint(
                    model_name='usagerecord',
                    name='usage_counts_not_negative',
                ),
                migrations.AddConstraint(
                    model_name='usagerecord',
                    constraint=models.CheckConstraint(condition=models.Q(('corrects__isnull', False), models.Q(('completion_tokens__gte', 0), ('prompt_tokens__gte', 0), models.Q(('reasoning_tokens', None), ('reasoning_tokens__gte', 0), _connector='OR'), models.Q(('cached_tokens', None), ('cached_tokens__gte', 0), _connector='OR')), _connector='OR'), name='usage_counts_not_negative'),
                ),
                migrations.AddIndex(
                    model_name='usagerecord',
                    index=models.Index(condition=models.Q(('corrects__isnull', False)), fields=['corrects'], name='usage_corrects'),
                ),
                migrations.AddIndex(
                    model_name='usagerecord',
                    index=models.Index(condition=models.Q(('corrects__isnull', False)), fields=['team', 'booked_at'], name='usage_adjusted'),
                ),
            ],
        ),
    ]
