"""The connection: Django's own, but for what happens to the pool when the server drops it."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db.backends.postgresql.base import DatabaseWrapper as DjangoDatabaseWrapper


class DatabaseWrapper(DjangoDatabaseWrapper):
    """Django finds it by this name."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A connection that works.

        The pool's own check pauses a second from one dead connection to the next, so that after
        the restart of a server callers would wait in vain until all had been met. Here one that is
        dead has all the others looked at.

        Raises:
            psycopg.OperationalError: the server is away, or every connection is in use.
        """
        while True:
            connection = super().get_new_connection(conn_params)
            pool = self.pool
            if pool is None:
                return connection
            try:
                pool.check_connection(connection)
            except psycopg.OperationalError:
                pool.putconn(connection)
                pool.check()
            else:
                return connection
