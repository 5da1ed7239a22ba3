"""Transactions, on databases that have them, and what to do on one that has not.

`atomically` writes several rows as one. Django's own `transaction.atomic` does
nothing on MongoDB, whose backend has one of its own; and only a function can be run again when two
transactions got into each other's way.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

from django.db import OperationalError, connection, transaction

T = TypeVar("T")

log = logging.getLogger(__name__)

# Clashes in a row before the caller hears of it: with a handful of nodes one or two are usual.
MAX_ATTEMPTS = 20
# PostgreSQL: serialization_failure, deadlock_detected.
CLASHES = frozenset({"40001", "40P01"})


def atomically(work: Callable[[], T], *, isolated: bool = False) -> T:
    """Run `work` in one transaction; again, where it clashed with another.

    On a MongoDB without a replica set there are no transactions: there what `work` writes must be
    right wherever it is cut off.

    Args:
        work: reads and writes by the ORM, and changes nothing else. Inside a transaction it
            becomes a part of that one.
        isolated: what `work` read must still be true when it commits. So it is anyway on SQLite,
            with one writer at a time; PostgreSQL is asked for it. MongoDB only promises it for
            rows that `work` also writes.

    Raises:
        OperationalError: it clashed again and again, or the database is out of reach.
    """
    is_outermost = not _is_inside()
    attempt = 1
    while True:
        try:
            with _transaction():
                if isolated and is_outermost and connection.vendor == "postgresql":
                    _isolate()
                return work()
        except OperationalError as error:
            if not is_outermost or not is_clash(error) or attempt == MAX_ATTEMPTS:
                raise
            log.debug("a transaction clashed with another (%d)", attempt)
        # A random pause, lest the two meet again.
        time.sleep(random.uniform(0, 0.002 * 2 ** min(attempt, 6)))
        attempt += 1


def batches_roll_back() -> bool:
    """Whether `in_batch` leaves nothing behind when it fails.

    Not on MongoDB, even where it has transactions: that of a process that was killed stays open
    there for a minute (`transactionLifetimeLimitSeconds`), with all that it wrote locked. A node
    that dies in the midst of a batch would stop conversations and clients for so long.
    """
    return connection.vendor != "mongodb"


def in_batch(work: Callable[[], T], *, isolated: bool = False) -> T:
    """`atomically`, for rows that other processes write too: on MongoDB without a transaction.

    There `work` must write in an order that is right wherever it is cut off
    (docs/adr/0030-writes-without-transactions.md).
    """
    return atomically(work, isolated=isolated) if batches_roll_back() else work()


def is_clash(error: OperationalError) -> bool:
    """Whether another transaction was in the way, so that the same may succeed now."""
    cause: Any = error.__cause__
    if hasattr(cause, "has_error_label"):
        # Driver errors of a lost connection have the label too; waiting for each would take long.
        is_answer = hasattr(cause, "code")
        return is_answer and bool(cause.has_error_label("TransientTransactionError"))
    return getattr(cause, "sqlstate", None) in CLASHES


def _is_inside() -> bool:
    if connection.vendor == "mongodb":
        return bool(cast(Any, connection).in_atomic_block_mongo)
    return connection.in_atomic_block


def _transaction() -> AbstractContextManager[Any]:
    if connection.vendor != "mongodb":
        return transaction.atomic()
    if not cast(Any, connection).has_transactions:
        return nullcontext()
    from django_mongodb_backend.transaction import atomic

    return cast(AbstractContextManager[Any], atomic())


def _isolate() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
