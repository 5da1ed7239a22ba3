"""Several processes share one SQLite file: whoever writes seldom is not starved by the busy."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections, transaction

from connections.models import Node
from ovara.sqlite_file import BUSY_TIMEOUT_SECONDS
from tests.support.database import Database
from tests.support.environment import ROOT, clean_environment
from tests.support.process import ChildProcess

pytestmark = pytest.mark.stores("sqlite")

WRITES = 20
# A process that writes again and again, with a millisecond between its transactions.
BUSY_WRITER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
while True:
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE connections_node SET pid = pid + 1")
    print("writing")
    time.sleep(0.02)
    database.execute("COMMIT")
    time.sleep(0.001)
"""


@pytest.fixture
def busy_database(tmp_path: Path, database_template: Database) -> Iterator[Database]:
    database = database_template.copy_to(tmp_path / "db.sqlite3")
    # Django's own way of opening it makes the write-ahead log.
    database.make_user()
    writer = ChildProcess(
        [sys.executable, "-c", BUSY_WRITER, database.name],
        env=clean_environment(),
        cwd=ROOT,
        log_path=tmp_path / "writer.log",
    )
    writer.launch()
    writer.wait_for_line("writing", timeout=30)
    yield database
    assert writer.is_running
    writer.kill()


def test_single_statements_get_in_between_the_transactions_of_a_busy_process(
    busy_database: Database,
) -> None:
    def write(alias: str) -> list[float]:
        waits = []
        for number in range(WRITES):
            began_at = time.monotonic()
            with connections[alias].cursor() as cursor:
                cursor.execute("UPDATE connections_node SET pid = %s", [number])
            waits.append(time.monotonic() - began_at)
            # So long that the other has begun again.
            time.sleep(0.01)
        return waits

    waits = busy_database.run(write)
    assert max(waits) < BUSY_TIMEOUT_SECONDS
    assert sum(waits) < WRITES * 0.4, waits


def test_a_transaction_that_reads_before_it_writes_waits_for_its_turn_too(
    busy_database: Database,
) -> None:
    def read_and_write(alias: str) -> None:
        for number in range(WRITES):
            with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
                cursor.execute("SELECT COUNT(*) FROM connections_node")
                # So long that the other would have written, if it could.
                time.sleep(0.03)
                cursor.execute("UPDATE connections_node SET hostname = %s", [str(number)])

    # Something for the other to change: what was read is then out of date.
    busy_database.run(lambda alias: Node.objects.using(alias).create(hostname="here", pid=1))
    busy_database.run(read_and_write)
