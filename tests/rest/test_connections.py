"""Connections over REST, with sockets that are really open."""

from __future__ import annotations

import pytest

from ovara.ids import is_id, new_id
from tests.rest.test_conversations import error


@pytest.fixture
def quiet_server(server_with):
    """One of our own: its statistics are of this test alone."""
    return server_with(OVARA_PRESENCE_GRACE_SECONDS="0.1")


@pytest.fixture
def staff_of(rest, make_user):
    def make(server):
        return rest(server, make_user(server, is_staff=True))

    return make


class TestStatistics:
    async def test_they_count_connections_clients_users_and_conversations(
        self, quiet_server, make_user, make_conversation, connect, staff_of
    ):
        alice, bob = make_user(quiet_server), make_user(quiet_server)
        conversation_id = await make_conversation(quiet_server, alice, bob)
        first = await connect(quiet_server, alice)
        second = await connect(quiet_server, alice, client_id=first.client_id)
        await connect(quiet_server, alice)
        await connect(quiet_server, bob)
        await connect(quiet_server)
        await first.join(conversation_id)
        await second.join(conversation_id)

        answer = await staff_of(quiet_server).get("/api/connections/stats")

        assert answer.status_code == 200
        stats = answer.json()
        (node,) = stats.pop("nodes")
        assert stats == {
            "total_connections": 5,
            "authenticated_connections": 4,
            "unique_clients": 3,
            "unique_users": 2,
            "active_conversations": 1,
        }
        assert set(node) == {
            "id",
            "hostname",
            "pid",
            "started_at",
            "last_heartbeat",
            "alive",
            "connections",
        }
        assert is_id(node["id"])
        assert node["id"] == first.welcome["node"]
        assert node["pid"] == quiet_server.pid
        assert (node["alive"], node["connections"]) == (True, 5)

    async def test_who_is_gone_counts_no_more(self, quiet_server, make_user, connect, staff_of):
        alice = make_user(quiet_server)
        stays, goes = await connect(quiet_server, alice), await connect(quiet_server, alice)
        client_id = goes.client_id
        await goes.close()
        await stays.barrier()
        staff = staff_of(quiet_server)
        stats = (await staff.get("/api/connections/stats")).json()
        assert (stats["total_connections"], stats["unique_clients"]) == (1, 1)
        shown = (await staff.get(f"/api/clients/{client_id}/connections")).json()
        assert shown["connections"] == []


class TestCleanup:
    async def test_inactive_connections_are_closed_and_others_are_not(
        self, quiet_server, make_user, connect, staff_of
    ):
        alice = make_user(quiet_server)
        socket = await connect(quiet_server, alice)
        staff = staff_of(quiet_server)

        answer = await staff.post("/api/connections/cleanup?max_inactive_minutes=30")
        assert (answer.status_code, answer.json()) == (
            200,
            {"closed": 0, "max_inactive_minutes": 30},
        )
        await socket.barrier()

        # A ten-thousandth of a minute is 6 ms: longer ago than the last frame but `ping`.
        dry = await staff.post("/api/connections/cleanup?max_inactive_minutes=0.0001&dry_run=true")
        assert dry.json() == {"closed": 1, "max_inactive_minutes": 0.0001}
        await socket.barrier()

        done = await staff.post("/api/connections/cleanup?max_inactive_minutes=0.0001")
        assert done.json()["closed"] == 1
        code, _, disconnect = await socket.closed()
        assert code == 4408
        assert disconnect["reconnect"] is True

    async def test_thirty_minutes_are_the_default(self, server, staff_of):
        answer = await staff_of(server).post("/api/connections/cleanup?dry_run=true")
        assert answer.json()["max_inactive_minutes"] == 30
        assert isinstance(answer.json()["max_inactive_minutes"], int)

    @pytest.mark.parametrize("minutes", ["525600", "0.5", "1e2"])
    async def test_decimals_are_allowed_up_to_a_year(self, server, staff_of, minutes):
        answer = await staff_of(server).post(
            "/api/connections/cleanup", params={"max_inactive_minutes": minutes, "dry_run": "true"}
        )
        assert answer.status_code == 200
        assert answer.json()["max_inactive_minutes"] == float(minutes)

    @pytest.mark.parametrize(
        "minutes", ["0", "-1", "525600.1", "nan", "inf", "-inf", "x", "", "1e999", "9" * 2000]
    )
    async def test_other_numbers_are_400(self, server, staff_of, minutes):
        answer = await staff_of(server).post(
            "/api/connections/cleanup", params={"max_inactive_minutes": minutes}
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
        assert list(answer.json()["fields"]) == ["max_inactive_minutes"]

    async def test_dry_run_is_yes_or_no(self, server, staff_of):
        answer = await staff_of(server).post("/api/connections/cleanup?dry_run=maybe")
        assert (answer.status_code, list(answer.json()["fields"])) == (400, ["dry_run"])


class TestDisconnecting:
    async def test_the_connection_ends_with_4510(self, server, make_user, connect, staff_of):
        alice = make_user(server)
        ends, stays = await connect(server, alice), await connect(server, alice)

        answer = await staff_of(server).delete(f"/api/connections/{ends.connection_id}")

        assert (answer.status_code, answer.content) == (202, b"")
        code, _, disconnect = await ends.closed()
        assert code == 4510
        assert (disconnect["code"], disconnect["reconnect"]) == (4510, False)
        await stays.barrier()

    async def test_one_that_is_unknown_or_gone_is_404(self, server, make_user, connect, staff_of):
        staff = staff_of(server)
        assert error(await staff.delete(f"/api/connections/{new_id()}")) == (404, "not_found")
        socket = await connect(server, make_user(server))
        address = f"/api/connections/{socket.connection_id}"
        assert (await staff.delete(address)).status_code == 202
        await socket.closed()
        assert error(await staff.delete(address)) == (404, "not_found")

    async def test_nobody_but_staff_may(self, server, make_user, connect, rest):
        alice = make_user(server)
        socket = await connect(server, alice)
        answer = await rest(server, alice).delete(f"/api/connections/{socket.connection_id}")
        assert error(answer) == (403, "forbidden")
        await socket.barrier()


class TestConnectionsOfAClient:
    async def test_its_user_and_staff_see_them(
        self, server, make_user, make_conversation, connect, rest, staff_of
    ):
        alice = make_user(server)
        conversation_id = await make_conversation(server, alice)
        first = await connect(server, alice, headers={"User-Agent": "a browser"})
        second = await connect(server, alice, client_id=first.client_id)
        await connect(server, alice)
        await first.join(conversation_id)

        for caller in (rest(server, alice), staff_of(server)):
            answer = await caller.get(f"/api/clients/{first.client_id}/connections")
            assert answer.status_code == 200
            body = answer.json()
            assert (body["client_id"], body["user"]) == (first.client_id, alice.as_json)
            shown = {row.pop("connection_id"): row for row in body["connections"]}
            assert set(shown) == {first.connection_id, second.connection_id}
            row = shown[first.connection_id]
            assert row.pop("connected_at") <= row.pop("last_seen")
            assert row == {
                "node": first.welcome["node"],
                "authenticated": True,
                "ip_address": "127.0.0.1",
                "user_agent": "a browser",
                "conversations": [conversation_id],
            }
            assert shown[second.connection_id]["conversations"] == []

    async def test_others_get_the_answer_of_a_client_that_is_not_there(
        self, server, make_user, connect, rest
    ):
        socket = await connect(server, make_user(server))
        caller = rest(server, make_user(server))
        foreign = await caller.get(f"/api/clients/{socket.client_id}/connections")
        missing = await caller.get(f"/api/clients/{new_id()}/connections")
        assert error(foreign) == (404, "not_found")
        assert foreign.json() == missing.json()


class TestAcrossRestAndSockets:
    async def test_a_message_posted_by_rest_reaches_open_sockets(
        self, any_server, make_user, make_conversation, connect, rest
    ):
        alice, bob = make_user(any_server), make_user(any_server)
        conversation_id = await make_conversation(any_server, alice, bob)
        socket = await connect(any_server, bob)
        await socket.join(conversation_id)

        answer = await rest(any_server, alice).post(
            f"/api/conversations/{conversation_id}/messages", json={"content": "hello"}
        )

        assert answer.status_code == 201
        frame = await socket.expect("message", conversation_id=conversation_id)
        assert frame["message"] == answer.json()

    async def test_who_is_removed_hears_no_more(
        self, server, make_user, make_conversation, connect, rest
    ):
        alice, bob = make_user(server), make_user(server)
        conversation_id = await make_conversation(server, alice, bob)
        socket = await connect(server, bob)
        await socket.join(conversation_id)
        caller = rest(server, alice)

        removed = await caller.delete(
            f"/api/conversations/{conversation_id}/participants/{bob.username}"
        )

        assert removed.status_code == 204
        await socket.expect("conversation_removed", conversation_id=conversation_id)
        await caller.post(
            f"/api/conversations/{conversation_id}/messages", json={"content": "among us"}
        )
        assert await socket.pending("message") == []

    @pytest.mark.parametrize("how", ["blacklisted", "deactivated"])
    async def test_a_revoked_token_ends_its_connections(
        self, server, make_user, connect, rest, how
    ):
        alice = make_user(server)
        nobody = rest(server)
        body = {"username": alice.username, "password": alice.password}
        pair = (await nobody.post("/api/token/", json=body)).json()
        socket = await connect(server, token=pair["access"])

        if how == "blacklisted":
            await nobody.post("/api/token/blacklist/", json={"refresh": pair["refresh"]})
        else:
            # From a process of its own, which shares nothing with the server but the database.
            done = server.manage(
                "shell",
                "-c",
                "from ovara.accounts.models import User\n"
                f"user = User.objects.get(pk='{alice.id}')\n"
                "user.is_active = False\n"
                "user.save()\n",
            )
            assert done.returncode == 0, done.stderr

        code, _, disconnect = await socket.closed()
        assert code == 4401
        assert disconnect["code"] == 4401
