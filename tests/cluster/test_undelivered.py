"""A node is killed when it has stored a message and not sent it yet."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import uuid
from datetime import timedelta

import pytest

from connections.models import Node
from connections.registry import nodes
from ovara.times import now
from sessions_app.models import Conversation
from tests.cluster.conftest import QUICK, Cluster, MakeConversation
from tests.conftest import Connect
from tests.support.environment import ROOT, server_environment
from tests.support.redis_server import RedisServer

# More than a kernel gives out: no process has it.
NO_PID = 2**31 - 1
# A node that commits as any other, and is gone before its loop hears of it.
STORES_AND_DIES = """
import asyncio, django, os, signal, sys
django.setup()
from connections.manager import websocket_manager
from sessions_app.batches import Draft
from sessions_app.journal import journal

async def main():
    await websocket_manager.node.ensure_started()
    draft = Draft(sys.argv[1], "stored", "system", None, "1", require_participant=False)
    journal.submit(draft).result()
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_members_elsewhere_are_told_to_look_and_find_it(
    redis_server: RedisServer,
    cluster: Cluster,
    make_conversation: MakeConversation,
    connect: Connect,
) -> None:
    first, second = cluster.start(2, redis_server)
    alice = first.make_user()
    talk, quiet = [await make_conversation(first, alice) for _ in range(2)]
    members = [await connect(node, alice) for node in (first, second)]
    for member in members:
        await member.join(talk)
        await member.join(quiet)
    await members[0].message(quiet, "long ago")
    await members[1].expect("message", conversation_id=quiet)
    long_ago = now() - timedelta(hours=1)
    rows = Conversation.objects.filter(pk=quiet)
    first.database.run(lambda alias: rows.using(alias).update(updated_at=long_ago))

    environment = server_environment(
        first.database.environment, QUICK | {"REDIS_URL": redis_server.url}
    )
    command = [sys.executable, "-c", STORES_AND_DIES, talk]
    died = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, env=environment)
    assert died.returncode == -9
    for member in members:
        told = await member.expect("resync", timeout=15)
        assert told == {"type": "resync", "conversation_id": talk}
        page = await member.request({"type": "history", "conversation_id": talk, "after": 0})
        assert [message["content"] for message in page["messages"]] == ["stored"]
        assert await member.pending("resync", "message") == []


def test_those_in_doubt_were_written_to_in_the_dead_nodes_last_moments(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "MAX_IN_DOUBT", 1)
    at = now()

    def reap() -> set[str] | None:
        Node.objects.create(hostname=socket.gethostname(), pid=NO_PID, last_heartbeat=at)
        return nodes.nodes_reap_own_host(uuid.uuid4()).in_doubt

    assert reap() == set()
    Conversation.objects.create(last_sequence=3, updated_at=at - timedelta(minutes=1))
    Conversation.objects.create(updated_at=at)  # nothing was said in it
    recent = Conversation.objects.create(last_sequence=1, updated_at=at - timedelta(seconds=5))
    assert reap() == {str(recent.pk)}
    Conversation.objects.create(last_sequence=1, updated_at=at)
    assert reap() is None, "too many to name them"
