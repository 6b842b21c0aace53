from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('gateway', '0003_remembered_requests'),
    ]

    operations = [
        migrations.AddField(
            model_name='servedmodel',
            name='default_reserve',
            field=models.PositiveIntegerField(default=4096),
        ),
    ]
