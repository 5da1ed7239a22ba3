"""Emptying the test's own database after a test that committed.

Django's `flush` cuts off every table and then makes all content types and permissions anew: a
fifth of a second on PostgreSQL, for each test. Deleting the few rows that a test made is enough.
"""

from __future__ import annotations

from django.apps import apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.test import TransactionTestCase

# Made by the migrations, and never changed.
KEPT = frozenset({ContentType, Permission})


def delete_rows(case: TransactionTestCase) -> None:
    """Takes the place of `TransactionTestCase._fixture_teardown`."""
    delete_all_rows()


def delete_all_rows() -> None:
    """Empty the default database, but for what the migrations made."""
    models = [model for model in apps.get_models(include_auto_created=True) if model not in KEPT]
    # The order does not matter: foreign keys are checked at the end.
    with transaction.atomic():
        for model in models:
            if not model._meta.proxy:
                model._base_manager.all()._raw_delete("default")
