"""The connection manager in five areas, each a class; `python -m pytest tests/test_phase2.py -v`.

Real database, the process's own manager, plain fake sockets. Every area is tested in depth where
its code is: tests/manager, tests/connecting, tests/frames, tests/commands.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command

from connections.close_codes import CloseCode
from connections.errors import Disconnect
from connections.manager import WebSocketManager
from connections.models import Connection
from ovara.database import in_thread
from ovara.errors import Forbidden, NotFound
from ovara.ids import new_id
from ovara.times import now
from sessions_app.models import Session
from sessions_app.notes import session_state_replace
from tests.support.in_process import (
    BlockedSocket,
    BrokenSocket,
    FakeSocket,
    add,
    make_conversation,
    make_person,
    running_manager,
    until,
)

NOTICE = {"type": "notification", "text": "hello"}


@pytest.fixture
async def manager(transactional_db: None) -> AsyncIterator[WebSocketManager]:
    async with running_manager() as manager:
        yield manager


class TestManagerCore:
    """Who is here, and who gets what is sent."""

    async def test_one_client_may_have_several_connections(self, manager: WebSocketManager) -> None:
        alice = await make_person()
        client_id = str(new_id())
        tabs = [await add(manager, alice, client_id=client_id) for _ in range(3)]
        assert set(manager.client_connections[client_id]) == {tab for tab, _ in tabs}
        assert len(manager.active_connections) == 3

    async def test_each_connection_has_an_id_of_its_own(self, manager: WebSocketManager) -> None:
        alice = await make_person()
        ids = [await manager.add_connection(FakeSocket(), user_id=alice.id) for _ in range(3)]
        assert len(set(ids)) == 3 == len(manager.active_connections)

    async def test_a_frame_reaches_one_connection(self, manager: WebSocketManager) -> None:
        alice = await make_person()
        connection_id, socket = await add(manager, alice)
        _, other = await add(manager, alice)
        await manager.send_to_connection(connection_id, NOTICE)
        assert (socket.frames, other.frames) == ([NOTICE], [])

    async def test_a_frame_reaches_every_tab_of_a_client(self, manager: WebSocketManager) -> None:
        alice = await make_person()
        client_id = str(new_id())
        sockets = [(await add(manager, alice, client_id=client_id))[1] for _ in range(2)]
        _, other = await add(manager, alice)
        await manager.send_to_client(client_id, NOTICE)
        assert all(socket.of_type("notification") == [NOTICE] for socket in sockets)
        assert other.frames == []

    async def test_a_frame_reaches_every_client_of_a_user(self, manager: WebSocketManager) -> None:
        alice, bob = await make_person(), await make_person()
        sockets = [(await add(manager, alice))[1] for _ in range(2)]
        _, other = await add(manager, bob)
        await manager.send_to_user(alice.id, NOTICE)
        assert [socket.frames for socket in sockets] == [[NOTICE], [NOTICE]]
        assert other.frames == []

    async def test_a_frame_reaches_a_conversation_but_not_the_excluded(
        self, manager: WebSocketManager
    ) -> None:
        alice, bob = await make_person(), await make_person()
        talk = await make_conversation(alice, bob)
        sender, own = await add(manager, alice, None, talk)
        _, others = await add(manager, bob, None, talk)
        _, outside = await add(manager, bob)
        await manager.send_to_conversation(talk, NOTICE, exclude=sender)
        assert others.of_type("notification") == [NOTICE]
        assert own.of_type("notification") == outside.of_type("notification") == []

    async def test_a_message_is_stored_then_delivered(self, manager: WebSocketManager) -> None:
        alice = await make_person()
        talk = await make_conversation(alice)
        _, socket = await add(manager, alice, None, talk)
        message = await manager.post_message(talk, "hello")
        (frame,) = socket.of_type("message")
        assert frame["message"]["id"] == message.id
        assert frame["message"]["sequence"] == message.sequence == 1

    async def test_the_statistics_count_everything(self, manager: WebSocketManager) -> None:
        alice, bob = await make_person(), await make_person()
        talk = await make_conversation(alice, bob)
        await add(manager, alice, None, talk)
        await add(manager, bob, None, talk)
        await manager.add_connection(FakeSocket())
        stats = await manager.get_connection_stats()
        assert stats["total_connections"] == 3
        assert stats["authenticated_connections"] == 2
        assert stats["unique_clients"] == stats["unique_users"] == 2
        assert stats["active_conversations"] == 1


class TestSessionIntegration:
    """What outlives a connection."""

    async def test_a_new_client_gets_a_session(self, manager: WebSocketManager) -> None:
        alice = await make_person()
        connection_id = await manager.add_connection(FakeSocket(), user_id=alice.id)
        connection = manager.active_connections[connection_id]
        session = await in_thread(Session.objects.get)
        assert str(session.pk) == connection.session_id
        assert str(session.client_id) == connection.client_id
        assert str(session.user_id) == alice.id

    async def test_a_client_that_comes_back_resumes_its_session(
        self, manager: WebSocketManager
    ) -> None:
        alice = await make_person()
        client_id = str(new_id())
        first, _ = await add(manager, alice, client_id=client_id)
        session_id = manager.active_connections[first].session_id
        assert session_id is not None
        await session_state_replace(
            session_id=session_id, client_id=client_id, state={"draft": "dear bob"}
        )
        await manager.remove_connection(first)
        again, _ = await add(manager, alice, client_id=client_id)
        assert manager.active_connections[again].session_id == session_id
        assert (await in_thread(Session.objects.get)).state == {"draft": "dear bob"}

    async def test_a_session_id_alone_brings_its_client(self, manager: WebSocketManager) -> None:
        alice = await make_person()
        first, _ = await add(manager, alice)
        known = manager.active_connections[first]
        again = await manager.add_connection(FakeSocket(), None, alice.id, known.session_id)
        assert manager.active_connections[again].client_id == known.client_id

    async def test_tabs_of_one_client_share_a_session(self, manager: WebSocketManager) -> None:
        alice = await make_person()
        client_id = str(new_id())
        for _ in range(2):
            await add(manager, alice, client_id=client_id)
        sessions = {connection.session_id for connection in manager.active_connections.values()}
        assert len(sessions) == 1

    async def test_nobody_resumes_anothers_session(self, manager: WebSocketManager) -> None:
        alice, mallory = await make_person(), await make_person()
        first, _ = await add(manager, alice)
        known = manager.active_connections[first]
        other = await manager.add_connection(FakeSocket(), None, mallory.id, known.session_id)
        assert manager.active_connections[other].session_id != known.session_id
        assert manager.active_connections[other].client_id != known.client_id


class TestConnectionLifecycle:
    """Added, authenticated, joined, left, removed; in memory and in the database."""

    async def test_from_the_first_to_the_last(self, manager: WebSocketManager) -> None:
        alice = await make_person()
        talk = await make_conversation(alice)
        socket = FakeSocket()
        connection_id = await manager.add_connection(socket, new_id(), alice.id)
        assert not manager.active_connections[connection_id].authenticated
        assert await manager.authenticate_connection(connection_id)
        assert manager.active_connections[connection_id].authenticated
        assert await manager.join_conversation(connection_id, talk)
        assert connection_id in manager.conversation_connections[talk]
        assert await manager.leave_conversation(connection_id, talk)
        assert talk not in manager.conversation_connections
        assert await manager.remove_connection(connection_id)
        assert not manager.active_connections and not manager.client_connections

    async def test_the_database_knows_how_it_went(self, manager: WebSocketManager) -> None:
        alice = await make_person()
        connection_id, _ = await add(manager, alice)
        row = await in_thread(Connection.objects.get, pk=connection_id)
        assert (row.authenticated, row.disconnected_at) == (True, None)
        await manager.remove_connection(connection_id, 1001, "going away")
        await until(lambda: in_thread(Connection.objects.exclude(disconnected_at=None).exists))
        row = await in_thread(Connection.objects.get, pk=connection_id)
        assert (row.close_code, row.close_reason) == (1001, "going away")

    async def test_a_removed_connection_leaves_its_conversations(
        self, manager: WebSocketManager
    ) -> None:
        alice, bob = await make_person(), await make_person()
        talk = await make_conversation(alice, bob)
        connection_id, _ = await add(manager, alice, None, talk)
        other, _ = await add(manager, bob, None, talk)
        await manager.remove_connection(connection_id)
        assert set(manager.conversation_connections[talk]) == {other}

    async def test_the_other_tabs_hear_how_many_they_are(self, manager: WebSocketManager) -> None:
        alice = await make_person()
        client_id = str(new_id())
        _, first = await add(manager, alice, client_id=client_id)
        second, _ = await add(manager, alice, client_id=client_id)
        await until(lambda: first.of_type("client_connections"))
        await manager.remove_connection(second)
        await until(lambda: len(first.of_type("client_connections")) == 2)
        counts = [frame["count"] for frame in first.of_type("client_connections")]
        assert counts == [2, 1]

    async def test_an_administrator_ends_it(self, manager: WebSocketManager) -> None:
        alice = await make_person()
        connection_id, socket = await add(manager, alice)
        assert await manager.disconnect(connection_id, reason="enough")
        assert socket.frames[-1]["type"] == "disconnect"
        assert socket.closed == (CloseCode.DISCONNECTED, "enough")
        assert not manager.active_connections


class TestErrorHandling:
    """What is unknown, broken, slow or forbidden harms nobody else."""

    async def test_unknown_ids_reach_nobody(self, manager: WebSocketManager) -> None:
        _, socket = await add(manager, await make_person())
        for unknown in (str(new_id()), "no id at all"):
            await manager.send_to_connection(unknown, NOTICE)
            await manager.send_to_client(unknown, NOTICE)
            await manager.send_to_user(unknown, NOTICE)
            await manager.send_to_conversation(unknown, NOTICE)
            assert not await manager.remove_connection(unknown)
            assert not await manager.disconnect(unknown)
        assert socket.frames == []

    async def test_a_broken_socket_is_forgotten_and_the_others_get_everything(
        self, manager: WebSocketManager
    ) -> None:
        alice = await make_person()
        broken_id, _ = await add(manager, alice, BrokenSocket())
        _, healthy = await add(manager, alice)
        await manager.send_to_user(alice.id, NOTICE)
        assert healthy.frames == [NOTICE]
        await until(lambda: broken_id not in manager.active_connections)

    async def test_a_slow_socket_holds_up_nobody(self, manager: WebSocketManager) -> None:
        alice = await make_person()
        _, slow = await add(manager, alice, BlockedSocket())
        _, quick = await add(manager, alice)
        for _ in range(3):
            await manager.send_to_user(alice.id, NOTICE)
        assert (len(quick.frames), len(slow.frames)) == (3, 0)

    async def test_strangers_do_not_join(self, manager: WebSocketManager) -> None:
        talk = await make_conversation(await make_person())
        connection_id, _ = await add(manager, await make_person())
        assert not await manager.join_conversation(connection_id, talk)

    async def test_a_client_belongs_to_its_first_user(self, manager: WebSocketManager) -> None:
        alice, mallory = await make_person(), await make_person()
        client_id = new_id()
        await add(manager, alice, client_id=str(client_id))
        with pytest.raises(Disconnect) as refusal:
            await manager.add_connection(FakeSocket(), client_id, mallory.id)
        assert refusal.value.code is CloseCode.FORBIDDEN

    async def test_nobody_is_authenticated_as_somebody_else(
        self, manager: WebSocketManager
    ) -> None:
        alice, mallory = await make_person(), await make_person()
        connection_id = await manager.add_connection(FakeSocket(), user_id=alice.id)
        with pytest.raises(Forbidden):
            await manager.authenticate_connection(connection_id, mallory.id)

    async def test_a_message_to_nowhere_is_an_error(self, manager: WebSocketManager) -> None:
        with pytest.raises(NotFound):
            await manager.post_message(new_id(), "hello")


class TestCleanup:
    """Who is inactive, and what is past its time."""

    @staticmethod
    async def be_silent(manager: WebSocketManager, connection_id: str, minutes: float) -> None:
        manager.active_connections[connection_id].active_at -= minutes * 60
        moment = now() - timedelta(minutes=minutes)
        rows = Connection.objects.filter(pk=connection_id)
        await in_thread(lambda: rows.update(last_active=moment))

    async def test_only_the_inactive_are_closed(self, manager: WebSocketManager) -> None:
        alice = await make_person()
        silent, silent_socket = await add(manager, alice)
        active, active_socket = await add(manager, alice)
        await self.be_silent(manager, silent, minutes=31)
        await self.be_silent(manager, active, minutes=29)
        assert await manager.cleanup_inactive_connections(max_inactive_minutes=30) == 1
        assert silent_socket.closed == (CloseCode.IDLE, "inactive for 30 minutes")
        assert active_socket.closed is None
        assert list(manager.active_connections) == [active]

    async def test_a_dry_run_closes_nobody(self, manager: WebSocketManager) -> None:
        silent, socket = await add(manager, await make_person())
        await self.be_silent(manager, silent, minutes=31)
        assert await manager.cleanup_inactive_connections(30, dry_run=True) == 1
        assert socket.closed is None

    async def test_cleaning_up_twice_closes_once(self, manager: WebSocketManager) -> None:
        silent, _ = await add(manager, await make_person())
        await self.be_silent(manager, silent, minutes=31)
        assert await manager.cleanup_inactive_connections() == 1
        await until(lambda: in_thread(Connection.objects.exclude(disconnected_at=None).exists))
        assert await manager.cleanup_inactive_connections() == 0

    async def test_the_command_closes_them_too(self, manager: WebSocketManager) -> None:
        silent, socket = await add(manager, await make_person())
        await self.be_silent(manager, silent, minutes=31)
        output = StringIO()
        await in_thread(call_command, "cleanup", "--max-inactive-minutes=30", stdout=output)
        assert "Connections inactive for 30 minutes, closed: 1" in output.getvalue()
        assert socket.closed is not None and socket.closed[0] == CloseCode.IDLE

    async def test_a_time_that_makes_no_sense_is_refused(self, manager: WebSocketManager) -> None:
        for minutes in (0, -1, float("nan")):
            with pytest.raises(ValueError, match="max_inactive_minutes"):
                await manager.cleanup_inactive_connections(minutes)
