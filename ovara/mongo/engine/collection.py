"""A collection whose errors are Django's.

The official backend turns every failure of MongoDB's driver into a bare `DatabaseError`, and lets
some through as they are. Whoever writes needs to know whether the server is out of reach, whether
another transaction was first, or whether the statement itself is wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from django.db import DatabaseError, IntegrityError, OperationalError
from pymongo.collection import Collection as PyMongoCollection
from pymongo.command_cursor import CommandCursor
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    PyMongoError,
    WriteConcernError,
)

DUPLICATE_KEY = 11000
# Trying the same again may well succeed.
TRANSIENT_LABELS = ("TransientTransactionError", "RetryableWriteError")
TRANSIENT = (ConnectionFailure, ExecutionTimeout, WriteConcernError)

Document = dict[str, Any]


def django_error(error: PyMongoError) -> DatabaseError:
    """What Django calls `error`. Of a duplicate key's text nothing is kept: it holds the row's."""
    if isinstance(error, DuplicateKeyError):
        return IntegrityError("duplicate key")
    if isinstance(error, BulkWriteError):
        return _of_bulk(error)
    is_transient = isinstance(error, TRANSIENT) or any(
        error.has_error_label(label) for label in TRANSIENT_LABELS
    )
    return OperationalError(str(error)) if is_transient else DatabaseError(str(error))


def _of_bulk(error: BulkWriteError) -> DatabaseError:
    failures = error.details.get("writeErrors") or []
    if any(failure.get("code") == DUPLICATE_KEY for failure in failures):
        return IntegrityError("duplicate key")
    if not failures:
        return OperationalError("The server did not confirm a write.")
    return DatabaseError(f"write error {failures[0].get('code')}")


@contextlib.contextmanager
def django_errors() -> Iterator[None]:
    """Raise Django's error for one of MongoDB's driver."""
    try:
        yield
    except PyMongoError as error:
        raise django_error(error) from error


class Collection(PyMongoCollection[Document]):
    """The methods that the official backend reads and writes rows with."""

    def aggregate(self, *args: Any, **kwargs: Any) -> Any:
        with django_errors():
            return Rows(super().aggregate(*args, **kwargs))

    def insert_many(self, *args: Any, **kwargs: Any) -> Any:
        with django_errors():
            return super().insert_many(*args, **kwargs)

    def update_many(self, *args: Any, **kwargs: Any) -> Any:
        with django_errors():
            return super().update_many(*args, **kwargs)

    def delete_many(self, *args: Any, **kwargs: Any) -> Any:
        with django_errors():
            return super().delete_many(*args, **kwargs)


class Rows:
    """A cursor, of which a later batch may fail as well as the first."""

    def __init__(self, cursor: CommandCursor[Document]) -> None:
        self._cursor = cursor

    def __iter__(self) -> Iterator[Document]:
        return self

    def __next__(self) -> Document:
        with django_errors():
            return self._cursor.next()

    next = __next__

    def close(self) -> None:
        """Give the server's cursor back."""
        self._cursor.close()
