"""Nothing: the name that every project's own user model depends on."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("auth", "0001_initial")]
    operations = []
