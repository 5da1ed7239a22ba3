"""Nodes come and go: registering one, retiring it, and closing what dead ones left behind."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import QuerySet

from connections.models import Connection, Node, Subscription
from connections.registry.heartbeats import heartbeats
from connections.registry.liveness import lapsed_nodes, own_nodes, silent_nodes
from ovara.conf import ovara_settings
from ovara.times import now
from ovara.transactions import batches_roll_back, in_batch
from sessions_app.models import Conversation

# What a connection gets whose node died: the code that a socket without a close frame shows.
LOST_CODE = 1006
LOST_REASON = "its node died"
# How many heartbeats of a node may be late before it is believed to be dead.
BEATS_TO_WAIT = 2
# With more conversations in doubt than these, everybody is asked to look at all of theirs.
MAX_IN_DOUBT = 500


class Reaped(NamedTuple):
    """What dead nodes left. `in_doubt`: conversations with messages that a dead node may have
    stored and not delivered any more; None: too many to name."""

    connections: int
    in_doubt: set[str] | None


def node_register() -> Node:
    """A row for this process."""
    node = Node.objects.create(hostname=socket.gethostname(), pid=os.getpid())
    own_nodes.add(node.pk)
    heartbeats.beaten()
    return node


def node_retire(node_id: uuid.UUID) -> None:
    """This node has stopped; whatever it still has open is closed."""
    own_nodes.discard(node_id)
    heartbeats.ended()
    _close_all(node_id, "its node stopped", left_at=now())
    Node.objects.filter(pk=node_id, stopped_at__isnull=True).update(stopped_at=now())


def lost_count() -> int:
    """How many connections `nodes_reap_lapsed` would close now."""
    ids = [node.pk for node in lapsed_nodes()]
    lost = Connection.objects.filter(node_id__in=ids, disconnected_at__isnull=True).count()
    return lost + sum(_left_open(node).count() for node in _maybe_half_reaped())


def nodes_reap() -> Reaped:
    """Close what the dead nodes left; a node is claimed once, by whoever is first."""
    return _reap(silent_nodes())


def nodes_reap_lapsed() -> Reaped:
    """Like `nodes_reap`, for a process that has not watched the nodes: it waits for a beat."""
    lapsed = lapsed_nodes()
    if lapsed:
        time.sleep(BEATS_TO_WAIT * ovara_settings().node_heartbeat_seconds)
    reaped = _reap(lapsed)
    return reaped._replace(connections=reaped.connections + nodes_mend())


def nodes_reap_own_host(node_id: uuid.UUID) -> Reaped:
    """Like `nodes_reap`, for processes of this host that are gone, whatever their heartbeat."""
    others = Node.objects.filter(hostname=socket.gethostname(), stopped_at__isnull=True)
    gone = [
        row.pk for row in others.exclude(pk=node_id) if row.pid == os.getpid() or not _runs(row.pid)
    ]
    return _reap(others.filter(pk__in=gone) if gone else ())


def _reap(nodes: Iterable[Node]) -> Reaped:
    closed, in_doubt = 0, set[str]()
    for node in nodes:
        left = _reap_one(node)
        if left is not None:
            closed += left
            in_doubt |= _in_doubt(node)
    return Reaped(closed, in_doubt if len(in_doubt) <= MAX_IN_DOUBT else None)


def _reap_one(node: Node) -> int | None:
    """One that has beaten since it was read is left alone, or that another has claimed: None."""
    return in_batch(lambda: _claim_and_close(node))


def _claim_and_close(node: Node) -> int | None:
    claimed = Node.objects.filter(
        pk=node.pk, stopped_at__isnull=True, last_heartbeat=node.last_heartbeat
    ).update(stopped_at=now())
    # Since its last heartbeat nobody was served: the grace counts from there. Its clock may have
    # been ahead of ours.
    left_at = min(node.last_heartbeat, now())
    return _close_all(node.pk, LOST_REASON, left_at=left_at) if claimed else None


def _in_doubt(node: Node) -> set[str]:
    """Both moments are of the dead node's own clock; what it stored the lapse before its last
    heartbeat it had the time to deliver."""
    since = node.last_heartbeat - timedelta(seconds=ovara_settings().node_lapse_seconds)
    written = Conversation.objects.filter(updated_at__gte=since, last_sequence__gt=0)
    return {str(pk) for pk in written.values_list("pk", flat=True)[: MAX_IN_DOUBT + 1]}


def nodes_mend() -> int:
    """Close what stopped nodes still have open: where there are no transactions, a reaper may have
    been killed between its claim and the rest.

    Returns:
        How many connections were closed.
    """
    closed = 0
    for node in _maybe_half_reaped():
        Subscription.objects.filter(
            node_id=node.pk, left_at__isnull=True, joined_at__lte=node.stopped_at
        ).update(left_at=min(node.last_heartbeat, node.stopped_at or now()))
        closed += _left_open(node).update(
            disconnected_at=now(), close_code=LOST_CODE, close_reason=LOST_REASON
        )
    return closed


def _maybe_half_reaped() -> Iterable[Node]:
    return () if batches_roll_back() else Node.objects.filter(stopped_at__isnull=False)


def _left_open(node: Node) -> QuerySet[Connection]:
    """Not what came after: a node that was taken for dead goes on."""
    return Connection.objects.filter(
        node_id=node.pk, disconnected_at__isnull=True, connected_at__lte=node.stopped_at
    )


def _close_all(node_id: uuid.UUID, reason: str, *, left_at: datetime) -> int:
    Subscription.objects.filter(node_id=node_id, left_at__isnull=True).update(left_at=left_at)
    return Connection.objects.filter(node_id=node_id, disconnected_at__isnull=True).update(
        disconnected_at=now(), close_code=LOST_CODE, close_reason=reason
    )


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def connections_past_retention() -> QuerySet[Connection]:
    """Connections that closed before the retention."""
    return Connection.objects.filter(disconnected_at__lt=_retention_cutoff())


def _retention_cutoff() -> datetime:
    return now() - timedelta(days=ovara_settings().connection_retention_days)


def connections_purge() -> int:
    """Delete the rows of connections past their retention, and of empty old nodes.

    Returns:
        How many connections were deleted.
    """
    old = list(connections_past_retention().values_list("pk", flat=True))
    for start in range(0, len(old), 500):
        Connection.objects.filter(pk__in=old[start : start + 500]).delete()
    stopped = Node.objects.filter(stopped_at__lt=_retention_cutoff()).values_list("pk", flat=True)
    unused = [pk for pk in stopped if not Connection.objects.filter(node_id=pk).exists()]
    Node.objects.filter(pk__in=unused).delete()
    return len(old)
