"""Whether the database that the environment names can be used: asked once, at the start.

An address that is wrong is said by the variable's name, with what the server answered and without
the password, instead of a traceback from wherever the database happened to be used first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection


@register(Tags.database)
def check_database(databases: Sequence[str] | None = None, **options: Any) -> list[CheckMessage]:
    """For `migrate` and `check --database default`."""
    if not databases or DEFAULT_DB_ALIAS not in databases:
        return []
    problem = connection_problem()
    return [Error(problem, id="ovara.E001")] if problem else []


def connection_problem() -> str | None:
    """Why the database can't be used, in a sentence; None if it can."""
    try:
        reason = _REACH.get(connection.vendor, _reach_any)()
    except DatabaseError as error:
        reason = str(error)
    return _said(reason) if reason else None


def start_problem() -> str | None:
    """Why a server can't start on the database; None if it can.

    Without migrations every other database has no tables. MongoDB makes what is missing by itself,
    but without the unique constraints that sequences and repeats are decided by.
    """
    if problem := connection_problem():
        return problem
    if connection.vendor != "mongodb":
        return None
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return _said(f"{len(missing)} migrations were not applied to it") if missing else None


def _said(reason: str) -> str:
    variable = settings.DATABASE_VARIABLE
    return f"The database that {variable} names cannot be used: {_first_line(reason)}"


def _reach_any() -> None:
    connection.introspection.table_names()


def _reach_postgresql() -> str | None:
    # Not by the pool, which says that it waited in vain, and not for what.
    database: Any = cast(Any, connection).Database
    try:
        database.connect(**connection.get_connection_params()).close()
    except database.Error as error:
        return str(error)
    return None


def _reach_mongodb() -> str | None:
    from pymongo.errors import PyMongoError

    try:
        connection.introspection.table_names()
    except PyMongoError as error:
        # The rest is the driver's own state, and the whole of the server's answer.
        return re.split(r" \(configured timeouts|, Timeout:|, full error:", str(error))[0]
    return None


_REACH = {"postgresql": _reach_postgresql, "mongodb": _reach_mongodb}


def _first_line(text: str) -> str:
    return " ".join(text.split("\n")[0].split())
