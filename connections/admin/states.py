"""Whether a connection is live, lost or closed, as its row and its node's tell."""

from __future__ import annotations

from django.db.models import Case, Count, IntegerField, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Coalesce

from connections.models import Connection
from connections.registry.liveness import live_filter, live_node_ids
from connections.registry.liveness import node_is_alive as node_is_alive

LIVE, LOST, CLOSED = "live", "lost", "closed"


def connection_state(connection: Connection) -> str:
    """`live`, `lost` (not closed, but its node is dead) or `closed`."""
    if connection.disconnected_at is not None:
        return CLOSED
    return LIVE if node_is_alive(connection.node) else LOST


def state_filter(state: str) -> Q:
    """Connections that are in `state` now."""
    if state == CLOSED:
        return ~Connection.open_filter()
    live = live_filter(live_node_ids())
    return live if state == LIVE else Connection.open_filter() & ~live


def live_first() -> Case:
    """Sorts live connections first, then lost, then closed ones."""
    return Case(
        When(state_filter(LIVE), then=Value(0)),
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
