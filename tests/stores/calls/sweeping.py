"""Statistics, and what goes over all that is open or due: it may cost as much as there is."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from connections import selectors
from connections.maintenance import registry_clean, registry_due
from connections.models import Node, Subscription
from connections.registry import nodes
from connections.registry import write_batch as registry
from connections.registry.presence import Settle
from ovara.times import now
from tests.stores.calls.calls import Calls, good, rest
from tests.support.crowd import Crowd

CALLS = Calls()


@CALLS
def statistics(crowd: Crowd) -> None:
    assert selectors.connection_stats()["total_connections"] == crowd.size.open_connections


@CALLS
def inactive(crowd: Crowd) -> None:
    assert selectors.connections_inactive_since(now() - timedelta(minutes=30))


@CALLS
def sessions_of_all(crowd: Crowd) -> None:
    rest(crowd.staff, "/api/sessions")
    rest(crowd.staff, "/api/sessions", page=2)


@CALLS
def cleaning(crowd: Crowd) -> None:
    due = registry_due()
    assert registry_clean() == due
    assert due.purged
    assert due.sessions
    assert due.tokens


@CALLS
def reaping(crowd: Crowd) -> None:
    nodes._reap(Node.objects.filter(pk=crowd.nodes[0]))
    nodes.node_retire(UUID(crowd.nodes[1]))
    settled = now() - timedelta(minutes=1)
    Subscription.objects.filter(node_id=crowd.nodes[0]).update(left_at=settled)
    good(registry([Settle()]))
