"""Writing very many rows."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import chain, islice
from typing import Any

from django.db import connection, models

ROWS_AT_ONCE = 5_000

Row = dict[str, Any]


def insert(model: type[models.Model], rows: Iterable[Row]) -> None:
    """Write rows by the quickest way that the database has.

    Args:
        rows: values by the `attname`s of their fields, all of the columns, in the same order.
    """
    rest = iter(rows)
    first = next(rest, None)
    if first is None:
        return
    fields: list[Any] = [model._meta.get_field(name) for name in first]
    quote = connection.ops.quote_name
    table, columns = quote(model._meta.db_table), ", ".join(quote(one.column) for one in fields)
    values = (tuple(row.values()) for row in chain([first], rest))
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in values:
                    copy.write_row(row)
            return
        places = ", ".join("%s" for _ in fields)
        adapted = (tuple(map(_adapted, row)) for row in values)
        while chunk := list(islice(adapted, ROWS_AT_ONCE)):
            cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", chunk)


_ADAPTERS: dict[type, Callable[[Any], Any]] = {
    uuid.UUID: lambda value: value.hex,
    datetime: lambda value: connection.ops.adapt_datetimefield_value(value),
}


def _adapted(value: Any) -> Any:
    """As SQLite keeps it."""
    adapter = _ADAPTERS.get(type(value))
    return adapter(value) if adapter else value
