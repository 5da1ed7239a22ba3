"""Which nodes are alive, and so which connections are live."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any

from django.db.models import Count, Q, QuerySet

from connections.models import Connection, Node
from connections.registry.heartbeats import Verdict, heartbeats
from ovara.ids import key_of
from ovara.prepared import PreparedSelect, as_moment, as_uuid

# The nodes of this very process. They live, though the database may have taken no heartbeat of
# theirs for longer than the lapse.
own_nodes: set[uuid.UUID] = set()
os.register_at_fork(after_in_child=own_nodes.clear)


def node_is_alive(node: Node) -> bool:
    """Whether the node has not stopped, and its heartbeat neither."""
    if node.stopped_at is not None:
        return False
    return node.pk in own_nodes or bool(heartbeats.look([(node.pk, node.last_heartbeat)]).alive)


def live_nodes() -> QuerySet[Node]:
    """Nodes that did not stop and whose heartbeat is younger than the lapse."""
    return Node.objects.filter(pk__in=live_node_ids())


def silent_nodes() -> list[Node]:
    """Nodes that did not stop, and whose heartbeat did, for as long as the lapse before our own
    eyes."""
    nodes = list(_unstopped())
    silent = _look(nodes).silent
    return [node for node in nodes if node.pk in silent]


def lapsed_nodes() -> list[Node]:
    """Nodes that did not stop and are not alive; where we have only just begun to look, by the
    clocks, which may differ."""
    nodes = list(_unstopped())
    alive = _look(nodes).alive
    return [node for node in nodes if node.pk not in alive]


def _unstopped() -> QuerySet[Node]:
    return Node.objects.filter(stopped_at__isnull=True)


def _look(nodes: Iterable[Node]) -> Verdict:
    seen = heartbeats.look((node.pk, node.last_heartbeat) for node in nodes)
    return Verdict(seen.alive | own_nodes, seen.silent - own_nodes)


def live_node_ids() -> list[uuid.UUID]:
    """Their ids; a list, because subqueries are not for every database."""
    marks = [(key_of(as_uuid(key)), as_moment(mark)) for key, mark in _MARKS.rows()]
    alive = heartbeats.look(marks).alive | own_nodes
    return [key for key, _ in marks if key in alive]


def live_connections() -> QuerySet[Connection]:
    """Connections that are open on a live node."""
    return Connection.objects.filter(live_filter(live_node_ids()))


def live_among(**conditions: Any) -> list[Connection]:
    """The live connections that meet conditions which few can meet.

    The database is not told which nodes live: nodes are so few that it may well begin with them,
    and go through all that they hold.
    """
    alive = set(live_node_ids())
    rows = Connection.objects.filter(Connection.open_filter(), **conditions).order_by()
    return [row for row in rows if row.node_id in alive]


def live_filter(node_ids: list[uuid.UUID]) -> Q:
    """The condition for a connection to be live, given the live nodes."""
    return Q(disconnected_at__isnull=True, node_id__in=node_ids)


def live_counts(
    field: str, values: Iterable[str], node_ids: Sequence[uuid.UUID] | None = None
) -> Counter[str]:
    """How many live connections have each of `values` in `field`.

    Args:
        node_ids: the live nodes, where the caller has looked already.
    """
    wanted = list(values)
    alive = (live_node_ids() if node_ids is None else node_ids) if wanted else ()
    if not alive:
        return Counter()
    is_address = field == "ip_address"
    keys = [ip_address(one) if is_address else key_of(one) for one in wanted]
    counts: Counter[str] = Counter()
    nodes = {str(node_id) for node_id in alive}
    for value, node_id, count in _COUNTS[field].rows(keys):
        if as_uuid(node_id) in nodes:
            counts[str(value) if is_address else as_uuid(value)] += count
    return counts


def _counts_by(field: str) -> PreparedSelect:
    def build(values: list[Any]) -> Any:
        if field == "ip_address":
            values = [str(value) for value in values]
        rows = Connection.objects.filter(Connection.open_filter(), **{f"{field}__in": values})
        # The nodes are compared here: see `live_among`.
        return rows.order_by().values_list(field, "node_id").annotate(Count("pk"))

    return PreparedSelect(build)


_MARKS = PreparedSelect(lambda: _unstopped().order_by().values_list("pk", "last_heartbeat"))
_COUNTS = {field: _counts_by(field) for field in ("client_id", "user_id", "ip_address", "node_id")}
