"""Whether a connection is live, lost or closed, as its row and its node's tell."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from django.db.models import (
    Case,
    Count,
    Exists,
    F,
    IntegerField,
    OrderBy,
    OuterRef,
    Q,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce

from connections.models import Connection, Node
from connections.registry.liveness import live_node_ids
from connections.registry.liveness import node_is_alive as node_is_alive

LIVE, LOST, CLOSED = "live", "lost", "closed"
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def connection_state(connection: Connection) -> str:
    """`live`, `lost` (not closed, but its node is dead) or `closed`."""
    if connection.disconnected_at is not None:
        return CLOSED
    return LIVE if node_is_alive(connection.node) else LOST


def state_filter(state: str) -> Q:
    """Connections that are in `state` now."""
    if state == CLOSED:
        # SQLite uses an index for a range, and not for "is not null".
        return Q(disconnected_at__gt=LONG_AGO)
    lost = Q(node_id__in=_nodes_with_lost())
    return Connection.open_filter() & (lost if state == LOST else ~lost)


def live_first() -> list[OrderBy]:
    """Sorts live connections first, then lost, then closed ones.

    Open ones first is the order of an index; to tell the lost among them all that are open have to
    be sorted, so it is done only while there are any.
    """
    order = [F("disconnected_at").desc(nulls_first=True)]
    if lost := _nodes_with_lost():
        is_lost = Case(When(node_id__in=lost, then=Value(1)), default=Value(0))
        order.append(is_lost.asc())
    return order


def _nodes_with_lost() -> list[UUID]:
    """The dead nodes that left connections open: none, but for the moment until they are reaped."""
    left_open = Connection.objects.filter(Connection.open_filter(), node_id=OuterRef("pk"))
    dead = Node.objects.exclude(pk__in=live_node_ids()).filter(Exists(left_open))
    return list(dead.order_by().values_list("pk", flat=True))


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
