"""Reads about who is connected: live connections of live nodes, whichever node asks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model

from connections.models import Client, Connection, Node, Subscription
from connections.registry.liveness import (
    live_among,
    live_connections,
    live_counts,
    live_filter,
    live_node_ids,
    live_nodes,
)
from connections.registry.presence import conversations_joined, presence_state
from ovara.accounts.selectors import inactive_among, revoked_among
from ovara.times import wire


def connection_stats(node_id: str = "", here: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The cluster's statistics, as `GET /api/connections/stats` shows them.

    Args:
        here: `Hub.counts` of the node `node_id`. Where no other is alive nothing else is counted,
            so that it takes as long with 50,000 connections as with ten.
    """
    nodes = list(live_nodes())
    ids = [node.pk for node in nodes]
    if here is not None and [str(pk) for pk in ids] == [node_id]:
        return {**here, "nodes": [_node(nodes[0], here["total_connections"])]}
    live = Connection.objects.filter(live_filter(ids)).order_by()
    joined = Subscription.objects.filter(left_at__isnull=True, node_id__in=ids).order_by()
    per_node = live_counts("node_id", [str(pk) for pk in ids])
    authenticated = live.filter(authenticated=True)
    return {
        "total_connections": sum(per_node.values()),
        "authenticated_connections": authenticated.count(),
        "unique_clients": live.exclude(client=None).values("client_id").distinct().count(),
        "unique_users": authenticated.values("user_id").distinct().count(),
        "active_conversations": joined.values("conversation_id").distinct().count(),
        "nodes": [_node(node, per_node[str(node.pk)]) for node in nodes],
    }


def _node(node: Node, connections: int) -> dict[str, Any]:
    return {
        "id": str(node.pk),
        "hostname": node.hostname,
        "pid": node.pid,
        "started_at": wire(node.started_at),
        "last_heartbeat": wire(node.last_heartbeat),
        "alive": True,
        "connections": connections,
    }


def other_nodes(node_id: str) -> int:
    """How many other nodes are alive."""
    return live_nodes().exclude(pk=node_id).count()


def client_connections(client_id: str) -> list[dict[str, Any]]:
    """A client's live connections, oldest first, as REST shows them."""
    rows = sorted(live_among(client_id=client_id), key=lambda row: (row.connected_at, row.pk))
    joined = conversations_joined(str(row.pk) for row in rows)
    return [
        {
            "connection_id": str(row.pk),
            "node": str(row.node_id),
            "authenticated": row.authenticated,
            "connected_at": wire(row.connected_at),
            "last_seen": wire(row.last_seen),
            "ip_address": row.ip_address,
            "user_agent": row.user_agent,
            "conversations": sorted(joined[str(row.pk)]),
        }
        for row in rows
    ]


def client_find(client_id: str) -> Client | None:
    """The client of that id."""
    return Client.objects.filter(pk=client_id).first()


def connection_node(connection_id: str) -> str | None:
    """The node that holds a live connection; None where there is no such connection."""
    return next((str(row.node_id) for row in live_among(pk=connection_id)), None)


def connections_inactive_since(cutoff: datetime) -> list[str]:
    """Live connections without a frame but `ping` since `cutoff`."""
    rows = live_connections().filter(last_active__lt=cutoff).order_by("last_active")
    return [str(pk) for pk in rows.values_list("pk", flat=True)]


def connections_of_user(user_id: str) -> list[str]:
    """The live connections of a user."""
    return [str(row.pk) for row in live_among(user_id=user_id)]


def connections_joined(conversation_id: str, user_id: str) -> list[str]:
    """A user's connections that have joined a conversation."""
    rows = Subscription.objects.filter(
        conversation_id=conversation_id, user_id=user_id, left_at__isnull=True
    )
    return [str(pk) for pk in rows.values_list("connection_id", flat=True)]


def connections_of_token(key: str) -> list[str]:
    """The live connections whose token is of the family `key`."""
    return [str(row.pk) for row in live_among(token_family=key)]


def rights_lost(
    user_ids: Collection[str], token_keys: Collection[str]
) -> tuple[set[str], set[str]]:
    """The users among these that are gone or switched off, and the keys that were revoked."""
    return inactive_among(user_ids), revoked_among(token_keys)


def requested_closes(node_id: str) -> list[Connection]:
    """Connections of a node that some process asked to close."""
    return list(
        Connection.objects.filter(
            node_id=node_id, requested_close_code__isnull=False, disconnected_at__isnull=True
        ).order_by()
    )


def presence(conversation_id: str) -> list[dict[str, Any]]:
    """Who is present, in the order of their coming, as `join` and `presence` answer it.

    Everybody of whom no `user_left` was told: who comes now must be told of it when they go.
    """
    rows = Subscription.objects.filter(conversation_id=conversation_id).order_by("joined_at", "id")
    nodes = set(live_node_ids())
    by_user: dict[str, list[Subscription]] = defaultdict(list)
    for row in rows:
        by_user[str(row.user_id)].append(row)
    names = get_user_model()._default_manager.filter(pk__in=list(by_user))
    usernames = {str(pk): name for pk, name in names.values_list("pk", "username")}
    seen = _last_seen([row.connection_id for rows in by_user.values() for row in rows])
    return [
        _present_user(user_id, usernames[user_id], rows, nodes, seen)
        for user_id, rows in by_user.items()
        if user_id in usernames
    ]


def _last_seen(connection_ids: list[Any]) -> dict[Any, datetime]:
    rows = Connection.objects.filter(pk__in=connection_ids)
    return dict(rows.values_list("pk", "last_seen"))


def _present_user(
    user_id: str,
    username: str,
    rows: list[Subscription],
    nodes: set[UUID],
    seen: dict[Any, datetime],
) -> dict[str, Any]:
    open_rows = [row for row in rows if row.left_at is None and row.node_id in nodes]
    return {
        "user": {"id": user_id, "username": username},
        "state": presence_state(rows),
        "connections": len(open_rows),
        "clients": len({row.client_id for row in open_rows}),
        "joined_at": wire(rows[0].joined_at),
        "last_seen": wire(max(seen.get(row.connection_id, row.joined_at) for row in rows)),
    }
