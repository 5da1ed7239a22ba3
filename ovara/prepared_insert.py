"""INSERTs that the ORM compiles once; see prepared.py."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import sql

from ovara.ids import key_of
from ovara.prepared import SQL_VENDORS, Moments, this_database


class PreparedInsert:
    """An INSERT of a model's rows: no model instance, no signal, no default but the caller's.

    Args:
        model: the model.
        names: the `attname`s of the values in a row, all of the model's columns. Ids may be UUIDs
            or their canonical texts: lower-case, with hyphens.
    """

    def __init__(self, model: type[models.Model], *names: str) -> None:
        self._model = model
        self._names = names
        self._texts: dict[str, str] = {}

    def run(self, rows: Sequence[Sequence[Any]]) -> None:
        """Insert `rows`, in their order."""
        if not rows:
            return
        database = this_database()
        if database.vendor not in SQL_VENDORS:
            self._model._default_manager.bulk_create(
                self._model(**dict(zip(self._names, row, strict=True))) for row in rows
            )
            return
        fields: list[Any] = [self._model._meta.get_field(name) for name in self._names]
        columns: list[Iterable[Any]] = list(zip(*rows, strict=True))
        for place, field in enumerate(fields):
            if (adapt := _column_adapter(database, field)) is not None:
                columns[place] = map(adapt, columns[place])
        text = self._text(database, fields, rows[0])
        with database.cursor() as cursor:
            cursor.executemany(text, list(zip(*columns, strict=True)))

    def _text(
        self, database: BaseDatabaseWrapper, fields: Sequence[Any], row: Sequence[Any]
    ) -> str:
        text = self._texts.get(database.vendor)
        if text is None:
            query = sql.InsertQuery(self._model)
            one = self._model(**dict(zip(self._names, row, strict=True)))
            query.insert_values(fields, [one])
            text = query.get_compiler(connection=database).as_sql()[0][0]
            self._texts[database.vendor] = text
        return text


def _column_adapter(database: BaseDatabaseWrapper, field: Any) -> Callable[[Any], Any] | None:
    """What makes a column's values the driver's; None where they are. For one batch: it remembers
    values."""
    kind = (field.target_field if field.is_relation else field).get_internal_type()
    if kind == "UUIDField":
        return _uuid if database.features.has_native_uuid_field else _hex
    if kind == "DateTimeField":
        return Moments(database.ops.adapt_datetimefield_value).__getitem__
    if kind == "JSONField":
        # Most are empty, and need not be written out anew.
        empty = field.get_db_prep_save({}, database)
        return lambda value: empty if value == {} else field.get_db_prep_save(value, database)
    if kind == "GenericIPAddressField":
        return lambda value: field.get_db_prep_save(value, database)
    return None


def _uuid(value: uuid.UUID | str | None) -> uuid.UUID | None:
    return key_of(value) if isinstance(value, str) else value


def _hex(value: uuid.UUID | str | None) -> str | None:
    if isinstance(value, str):
        return value.replace("-", "")
    return None if value is None else value.hex
