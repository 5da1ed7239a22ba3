"""Whether a connection is live, lost or closed, as the rows tell."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Case, Count, IntegerField, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce

from connections.models import Connection, Node
from ovara.conf import ovara_settings
from ovara.times import now

LIVE, LOST, CLOSED = "live", "lost", "closed"


def alive_since() -> datetime:
    """A node whose heartbeat is older than this is dead."""
    return now() - timedelta(seconds=ovara_settings().node_lapse_seconds)


def node_is_alive(node: Node) -> bool:
    """Whether the node has not stopped, and its heartbeat is younger than the lapse."""
    return node.stopped_at is None and node.last_heartbeat > alive_since()


def alive_nodes() -> QuerySet[Node]:
    """The nodes that are alive now; few, so their keys may go into another query."""
    return Node.objects.filter(stopped_at__isnull=True, last_heartbeat__gt=alive_since())


def alive_node_ids() -> list[UUID]:
    """The keys of the nodes that are alive now."""
    return list(alive_nodes().order_by().values_list("pk", flat=True))


def connection_state(connection: Connection) -> str:
    """`live`, `lost` (not closed, but its node is dead) or `closed`."""
    if connection.disconnected_at is not None:
        return CLOSED
    return LIVE if node_is_alive(connection.node) else LOST


def live_filter() -> Q:
    """Connections that are live now. Asks the database for the nodes that are alive."""
    return Connection.open_filter() & Q(node__in=alive_node_ids())


def state_filter(state: str) -> Q:
    """Connections in `state`."""
    if state == CLOSED:
        return ~Connection.open_filter()
    if state == LIVE:
        return live_filter()
    return Connection.open_filter() & ~Q(node__in=alive_node_ids())


def live_first() -> Case:
    """Sorts live connections first, then lost, then closed ones."""
    return Case(
        When(live_filter(), then=Value(0)),
        When(Connection.open_filter(), then=Value(1)),
        default=Value(2),
        output_field=IntegerField(),
    )


def open_count(field: str) -> Coalesce:
    """How many connections that were not closed have the outer row as their `field`."""
    counted = (
        Connection.objects.filter(Connection.open_filter(), **{field: OuterRef("pk")})
        .order_by()
        .values(field)
        .annotate(count=Count("pk"))
        .values("count")
    )
    return Coalesce(Subquery(counted, output_field=IntegerField()), Value(0))
