"""Unique indexes that MongoDB's query planner may use.

The official backend (5.2) makes every unique index partial, with a `$type` condition a column, so
that rows without a value don't clash. But the planner uses a partial index only where the query
implies its condition, and no query ever implies a `$type`: each look-up by a unique key would read
the whole collection. Here a unique index covers every row, unless a column may be empty.
"""

from __future__ import annotations

from typing import Any

from django.db import NotSupportedError
from django.db.models import Index, Model, Q, UniqueConstraint
from django_mongodb_backend.schema import DatabaseSchemaEditor as MongoSchemaEditor
from pymongo import ASCENDING, DESCENDING, IndexModel

# Fields of a model, whichever way a `Field` is typed, and the order of each.
Columns = list[tuple[Any, int]]

# Kinds of fields whose values MongoDB stores as text.
TEXTS = frozenset({"CharField", "EmailField", "SlugField", "TextField", "UUIDField"})


class SchemaEditor(MongoSchemaEditor):
    """The official one, but for unique indexes."""

    def add_index(
        self,
        model: type[Model],
        index: Index,
        *,
        field: Any = None,
        unique: bool = False,
        **options: Any,
    ) -> None:
        """Make an index; a unique one in our way, any other of every row.

        A partial index would save space; but MongoDB's planner knows no "is not null" that a
        comparison implies, and would not use it.
        """
        if not unique:
            if index.condition:
                index = Index(fields=index.fields, name=index.name)
            super().add_index(model, index, field=field, **options)
            return
        columns = [(field, ASCENDING)] if field else _columns(model, index)
        condition = _no_nulls(model, columns) | _only(model, index.condition)
        partial = {"partialFilterExpression": condition} if condition else {}
        keys = [(column.column, order) for column, order in columns]
        made = IndexModel(keys, name=index.name, unique=True, **partial)
        self.get_collection(model._meta.db_table).create_indexes([made])


def _columns(model: type[Model], index: Index) -> Columns:
    return [
        (model._meta.get_field(name), DESCENDING if order == "DESC" else ASCENDING)
        for name, order in index.fields_orders
    ]


def _no_nulls(model: type[Model], columns: Columns) -> dict[str, Any]:
    """In SQL no NULL is equal to another: rows without a value must stay outside. Not where another
    constraint has them unique too: then one index holds every row, and serves every query."""
    condition: dict[str, Any] = {}
    for column, _ in columns:
        if column.null and not _is_unique_when_empty(model, columns, column):
            if not _is_text(column):
                raise NotSupportedError(f"A unique index on {column}, which may be empty.")
            # Every query for a certain text implies it.
            condition[column.column] = {"$gte": ""}
    return condition


def _is_unique_when_empty(model: type[Model], columns: Columns, column: Any) -> bool:
    others = {other.name for other, _ in columns if other is not column}
    return any(
        isinstance(constraint, UniqueConstraint)
        and set(constraint.fields) == others
        and constraint.condition == Q((f"{column.name}__isnull", True))
        for constraint in model._meta.constraints
    )


def _is_text(column: Any) -> bool:
    target = column.target_field if column.remote_field else column
    return target.get_internal_type() in TEXTS


def _only(model: type[Model], condition: Any) -> dict[str, Any]:
    """A constraint's own condition, of which "is null" is all that the backend can't say."""
    found: dict[str, Any] = {}
    for child in condition.children if condition else ():
        name, _, lookup = child[0].rpartition("__") if isinstance(child, tuple) else ("", "", "")
        if lookup != "isnull" or child[1] is not True:
            raise NotSupportedError(f"A unique index only where {condition}.")
        column: Any = model._meta.get_field(name)
        found[column.column] = {"$eq": None}
    return found
