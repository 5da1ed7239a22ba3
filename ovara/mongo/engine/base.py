"""The connection: the official backend's, but for schema, errors, and the end of a transaction."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

from django_mongodb_backend.base import DatabaseWrapper as MongoDatabaseWrapper
from django_mongodb_backend.utils import OperationDebugWrapper
from pymongo.errors import PyMongoError

from ovara.mongo.engine.collection import Collection, django_error, django_errors
from ovara.mongo.engine.schema import SchemaEditor

# How long to ask what became of a commit whose answer got lost.
COMMIT_SECONDS = 10.0


class DatabaseWrapper(MongoDatabaseWrapper):
    """Django finds it by this name."""

    SchemaEditorClass = SchemaEditor

    def get_collection(self, name: str, **kwargs: Any) -> Any:
        """The collection, with Django's errors."""
        collection = Collection(self.database, name, **kwargs)
        return OperationDebugWrapper(self, collection) if self.queries_logged else collection

    @cached_property
    def has_transactions(self) -> bool:
        """Whether the server is a replica set or a sharded cluster: no other has transactions."""
        with django_errors():
            return bool(self.features._supports_transactions)

    def commit_mongo(self) -> None:
        """Commit, and tell what was waiting for it.

        The official one keeps a session whose commit failed, and the next transaction would then
        be none at all.
        """
        try:
            if self.session:
                self._commit_session()
        except PyMongoError as error:
            self.run_on_commit.clear()
            raise django_error(error) from error
        finally:
            if self.session:
                self._end_session()
        self.run_and_clear_commit_hooks()

    def _commit_session(self) -> None:
        deadline = time.monotonic() + COMMIT_SECONDS
        while True:
            try:
                self.session.commit_transaction()
            except PyMongoError as error:
                # Committing again is harmless: the server knows whether it did.
                is_unknown = error.has_error_label("UnknownTransactionCommitResult")
                if not is_unknown or time.monotonic() > deadline:
                    raise
            else:
                return
