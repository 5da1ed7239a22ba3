"""How the database answers the queries of a call, as it is really made: plans, and the work done.

    with watched() as seen:
        selectors.history(conversation_id=…)
    assert not seen.scans

Each statement is explained just before it runs, with its own values. On SQLite the work is the
steps of its virtual machine; on PostgreSQL the rows that the statements read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, connection, models

from connections.models import Client, Connection, Subscription
from ovara.accounts.models import RevokedToken, User
from sessions_app.models import Conversation, Message, Participant, Session

# Tables that grow with use. Nodes are few, and Django's own are not ours to judge.
GROWING: tuple[type[models.Model], ...] = (
    *(Client, Connection, Subscription, RevokedToken, User),
    *(Conversation, Message, Participant, Session),
)
TABLES = {model._meta.db_table for model in GROWING}
EXPLAINED = ("SELECT", "INSERT", "UPDATE", "DELETE")
_ALIAS = re.compile(r'"(\w+)" ([A-Z]\d+)\b')
# "SCAN …": a whole table or a whole index. As a subquery it has no table of ours.
_SCAN = re.compile(r"SCAN (\w+)")


@dataclass(slots=True)
class Seen:
    """`statements`: each with its plan's lines; `scans`: lines that read a whole growing table."""

    statements: list[tuple[str, list[str]]] = field(default_factory=list)
    scans: list[str] = field(default_factory=list)
    work: int = 0


@contextmanager
def watched() -> Iterator[Seen]:
    """What the database does meanwhile for this thread. Inside a transaction only."""
    seen = Seen()
    watch = _Watch(seen)
    connection.ensure_connection()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # A table of few pages is rightly read as a whole: here it stands for a large one.
            cursor.execute("SET LOCAL enable_seqscan = off")
    with connection.execute_wrapper(watch):
        watch.count(True)
        yield seen
        watch.count(False)


class _Watch:
    """An `execute_wrapper` of Django's."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self._is_ours = False

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if not self._is_ours and sql.lstrip("( ").startswith(EXPLAINED):
            self._is_ours = True
            self.count(False)
            self._explain(sql, params[0] if many else params)
            self.count(True)
            self._is_ours = False
        return execute(sql, params, many, context)

    def count(self, on: bool) -> None:
        """SQLite calls back at every step; PostgreSQL says it when it explains."""
        if connection.vendor == "sqlite":
            connection.connection.set_progress_handler(self._step if on else None, 1)

    def _step(self) -> int:
        self.seen.work += 1
        return 0

    def _explain(self, sql: str, params: Sequence[Any]) -> None:
        explain = _on_sqlite if connection.vendor == "sqlite" else _on_postgresql
        lines, scans, work = explain(sql, params)
        self.seen.statements.append((sql, lines))
        self.seen.scans += scans
        self.seen.work += work


def _on_sqlite(sql: str, params: Sequence[Any]) -> tuple[list[str], list[str], int]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
        lines = [row[-1] for row in cursor.fetchall()]
    aliases = {alias: table for table, alias in _ALIAS.findall(sql)}
    scans = []
    for line in lines:
        found = _SCAN.match(line)
        if found and aliases.get(found[1], found[1]) in TABLES and not _is_walk(sql, lines):
            scans.append(f"{line}: {sql}")
    return lines, scans, 0


def _is_walk(sql: str, lines: Sequence[str]) -> bool:
    """In the order of an index, up to a LIMIT, whatever comes: nothing is left out or sorted."""
    plain = "LIMIT" in sql and "WHERE" not in sql
    return plain and not any("TEMP B-TREE FOR ORDER BY" in line for line in lines)


def _on_postgresql(sql: str, params: Sequence[Any]) -> tuple[list[str], list[str], int]:
    with connection.cursor() as cursor:
        # It runs to be explained, and once more for the caller.
        cursor.execute("SAVEPOINT explained")
        try:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
            found = cursor.fetchone()[0]
        except IntegrityError:
            # As the caller will see.
            return [], [], 0
        finally:
            cursor.execute("ROLLBACK TO SAVEPOINT explained")
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    nodes = list(_nodes(plan, table="", is_limited=False))
    lines = [_line(node) for node, _, _ in nodes]
    scans = [
        f"{_line(node)}: {sql}"
        for node, table, is_limited in nodes
        if table in TABLES and _is_scan(node, is_limited)
    ]
    return lines, scans, sum(_rows_read(node) for node, _, _ in nodes)


def _nodes(
    node: dict[str, Any], *, table: str, is_limited: bool
) -> Iterator[tuple[dict[str, Any], str, bool]]:
    """The nodes of a plan, each with its table, and whether a LIMIT above lets it stop early."""
    table = node.get("Relation Name", table)
    yield node, table, is_limited
    kind = node["Node Type"]
    # What sorts or gathers reads all of its input first.
    gathers = kind.startswith(("Sort", "Aggregate", "Hash", "Group", "Bitmap"))
    for child in node.get("Plans", ()):
        stops = kind == "Limit" or (is_limited and not gathers)
        yield from _nodes(child, table=table, is_limited=stops)


def _line(node: dict[str, Any]) -> str:
    words = [node["Node Type"], node.get("Relation Name", ""), node.get("Index Name", "")]
    words += [f"{name}: {node[name]}" for name in ("Index Cond", "Filter") if name in node]
    return " ".join(word for word in words if word)


def _is_scan(node: dict[str, Any], is_limited: bool) -> bool:
    kind = node["Node Type"]
    if kind == "Seq Scan":
        return True
    is_index = kind.startswith(("Index", "Bitmap Index"))
    return is_index and "Index Cond" not in node and ("Filter" in node or not is_limited)


def _rows_read(node: dict[str, Any]) -> int:
    if not node["Node Type"].endswith("Scan") or node["Node Type"] == "Bitmap Index Scan":
        return 0
    removed = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    return round((node["Actual Rows"] + removed) * node["Actual Loops"])
