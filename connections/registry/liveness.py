"""Which nodes are alive, and so which connections are live."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet

from connections.models import Connection, Node
from ovara.conf import ovara_settings
from ovara.times import now

# The nodes of this very process. They live, though the database may have taken no heartbeat of
# theirs for longer than the lapse.
own_nodes: set[uuid.UUID] = set()
os.register_at_fork(after_in_child=own_nodes.clear)


def lapse_cutoff() -> datetime:
    """Heartbeats before this moment are a dead node's."""
    return now() - timedelta(seconds=ovara_settings().node_lapse_seconds)


def live_nodes() -> QuerySet[Node]:
    """Nodes that did not stop and whose heartbeat is younger than the lapse."""
    alive = Q(last_heartbeat__gt=lapse_cutoff()) | Q(pk__in=list(own_nodes))
    return Node.objects.filter(alive, stopped_at__isnull=True)


def dead_nodes() -> QuerySet[Node]:
    """Nodes that did not stop, and whose heartbeat did."""
    lapsed = Node.objects.filter(last_heartbeat__lte=lapse_cutoff(), stopped_at__isnull=True)
    return lapsed.exclude(pk__in=list(own_nodes))


def live_node_ids() -> list[uuid.UUID]:
    """Their ids; a list, because subqueries are not for every database."""
    return list(live_nodes().values_list("pk", flat=True))


def live_connections() -> QuerySet[Connection]:
    """Connections that are open on a live node."""
    return Connection.objects.filter(live_filter(live_node_ids()))


def live_filter(node_ids: list[uuid.UUID]) -> Q:
    """The condition for a connection to be live, given the live nodes."""
    return Q(disconnected_at__isnull=True, node_id__in=node_ids)


def live_counts(field: str, values: Iterable[str]) -> Counter[str]:
    """How many live connections have each of `values` in `field`."""
    wanted = list(values)
    if not wanted:
        return Counter()
    rows: Any = live_connections().filter(**{f"{field}__in": wanted})
    counts = rows.order_by().values_list(field).annotate(Count("pk"))
    return Counter({str(value): count for value, count in counts})
