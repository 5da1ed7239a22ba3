"""MongoDB: who closes what a dead node left may be killed over it; the next cleanup mends that."""

from __future__ import annotations

import socket
import subprocess
import sys
import uuid
from datetime import timedelta

import pytest

from connections.maintenance import registry_clean, registry_due
from connections.models import Client, Connection, Node, Subscription
from connections.registry.nodes import nodes_reap_own_host
from ovara.accounts.models import User
from ovara.times import now
from sessions_app.services import conversation_create
from tests.stores.cut import cut_off_after

pytestmark = [
    # The others reap in one transaction.
    pytest.mark.stores("mongodb", "mongodb-standalone"),
    pytest.mark.django_db(transaction=True),
]

CONNECTIONS = 2
# The claim, the subscriptions, the connections.
WRITES = 3


@pytest.fixture
def owner() -> User:
    return User.objects.create(username="owner")


def make_node(owner: User, *, pid: int, ago: timedelta = timedelta()) -> Node:
    """A node with `CONNECTIONS`, all in one conversation, whose heart beat last so long `ago`."""
    moment = now() - ago
    talk = conversation_create(owner=owner)
    node = Node.objects.create(hostname=socket.gethostname(), pid=pid, last_heartbeat=moment)
    for _ in range(CONNECTIONS):
        add_connection(node, owner, str(talk.pk), moment - timedelta(seconds=1))
    return node


def add_connection(node: Node, owner: User, talk: str, moment: object) -> None:
    client = Client.objects.create(user=owner)
    row = Connection.objects.create(node=node, client=client, user=owner, connected_at=moment)
    Subscription.objects.create(
        connection=row,
        conversation_id=talk,
        user=owner,
        client_id=client.pk,
        node=node,
        joined_at=moment,
    )


@pytest.fixture
def dead(owner: User) -> Node:
    """A node of this host whose process is gone."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return make_node(owner, pid=gone.pid, ago=timedelta(seconds=5))


def still_open(node: Node) -> tuple[int, int]:
    """How many connections and subscriptions."""
    return (
        Connection.objects.filter(node=node, disconnected_at__isnull=True).count(),
        Subscription.objects.filter(node=node, left_at__isnull=True).count(),
    )


@pytest.mark.parametrize("written", range(WRITES + 1))
def test_wherever_a_reaper_is_killed_the_next_ones_close_all_that_the_node_left(
    dead: Node, written: int
) -> None:
    with cut_off_after(written):
        nodes_reap_own_host(uuid.uuid4())
    assert still_open(dead) == (
        CONNECTIONS if written < 3 else 0,
        CONNECTIONS if written < 2 else 0,
    )
    # Who is claimed is not reaped again: that must not be what closes the rest.
    reaped_again = nodes_reap_own_host(uuid.uuid4()).connections
    assert reaped_again == (CONNECTIONS if written == 0 else 0)
    mended = CONNECTIONS if written in (1, 2) else 0
    assert registry_due().lost == mended
    assert registry_clean().lost == mended
    assert still_open(dead) == (0, 0)
    assert registry_due().lost == registry_clean().lost == 0
    ends = Connection.objects.filter(node=dead).values_list("close_code", "close_reason")
    assert list(ends) == [(1006, "its node died")] * CONNECTIONS
    # The grace counts from when the node was last heard.
    left = Subscription.objects.filter(node=dead).values_list("left_at", flat=True)
    assert list(left) == [dead.last_heartbeat] * CONNECTIONS


@pytest.mark.parametrize("written", [1, 2])
def test_a_mend_leaves_alone_what_lives(owner: User, dead: Node, written: int) -> None:
    alive = make_node(owner, pid=1)
    with cut_off_after(written):
        nodes_reap_own_host(alive.pk)
    # It was only slow, and has not heard yet what others take it for.
    talk = conversation_create(owner=owner)
    add_connection(dead, owner, str(talk.pk), now() + timedelta(seconds=1))
    assert registry_clean().lost == CONNECTIONS
    assert still_open(alive) == (CONNECTIONS, CONNECTIONS)
    assert still_open(dead) == (1, 1)


def test_a_dead_node_whose_clock_was_ahead_leaves_nobody_waiting_for_its_time_to_come(
    owner: User,
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ahead = make_node(owner, pid=gone.pid, ago=timedelta(hours=-1))
    Connection.objects.update(connected_at=now())
    Subscription.objects.update(joined_at=now())
    with cut_off_after(1):
        nodes_reap_own_host(uuid.uuid4())
    registry_clean()
    assert still_open(ahead) == (0, 0)
    assert not Subscription.objects.filter(left_at__gt=now()).exists()
