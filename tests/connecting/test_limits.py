"""Too many: of a client, a user, an address, a node; or too often. Accepted, told why, closed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from tests.connecting.conftest import Connect, ServerWith, closed_row, refused
from tests.support.client import Closed
from tests.support.server import KINDS, ServerProcess

PER_CLIENT, PER_USER, PER_ADDRESS, HANDSHAKES = 2, 3, 5, 12


@pytest.fixture(scope="module")
def addresses() -> Iterator[str]:
    """Loopback addresses that nobody has come from yet."""
    return (f"127.0.{high}.{low}" for high in range(1, 255) for low in range(1, 255))


@pytest.fixture
def strict_server(shared_server_with: ServerWith) -> ServerProcess:
    """Few connections for everybody; each test comes from an address of its own."""
    return shared_server_with(
        OVARA_MAX_CONNECTIONS_PER_CLIENT=str(PER_CLIENT),
        OVARA_MAX_CONNECTIONS_PER_USER=str(PER_USER),
        OVARA_MAX_CONNECTIONS_PER_ADDRESS=str(PER_ADDRESS),
        OVARA_HANDSHAKES_PER_SECOND="0.2",
        OVARA_HANDSHAKE_BURST=str(HANDSHAKES),
    )


def stays_away(end: Closed, words: str) -> None:
    """Refused with 4509, for that reason, for good."""
    assert end.code == 4509
    assert end.disconnect is not None
    assert end.disconnect["reconnect"] is False
    assert end.disconnect["reason"] == words


async def test_a_client_has_so_many_connections_and_no_more(
    strict_server: ServerProcess, connect: Connect, addresses: Iterator[str]
) -> None:
    alice, here = strict_server.make_user(), next(addresses)
    first = await connect(strict_server, alice, local_address=here)
    client_id = first.client_id
    await connect(strict_server, alice, client_id=client_id, local_address=here)
    for via in ("header", "subprotocol"):
        end = await refused(
            connect, strict_server, alice, client_id=client_id, local_address=here, via=via
        )
        stays_away(end, "too many connections of this client")

    late = await connect(strict_server, client_id=client_id, local_address=here)
    await late.send({"type": "authenticate", "token": alice.token()})
    stays_away(await late.closed(), "too many connections of this client")
    assert first.welcome["client_connections"] == 1
    assert await first.pending("disconnect") == []

    # One that goes makes room for another.
    await first.close()
    await closed_row(strict_server, first.connection_id)
    again = await connect(strict_server, alice, client_id=client_id, local_address=here)
    assert again.welcome["client_connections"] == 2


async def test_a_user_has_so_many_connections_and_no_more(
    strict_server: ServerProcess, connect: Connect, addresses: Iterator[str]
) -> None:
    alice, bob, here = strict_server.make_user(), strict_server.make_user(), next(addresses)
    for _ in range(PER_USER):
        assert (await connect(strict_server, alice, local_address=here)).welcome
    end = await refused(connect, strict_server, alice, local_address=next(addresses))
    stays_away(end, "too many connections of this user")
    assert (await connect(strict_server, bob, local_address=here)).welcome


async def test_an_address_has_so_many_connections_and_no_more(
    strict_server: ServerProcess, connect: Connect, addresses: Iterator[str]
) -> None:
    here, elsewhere = next(addresses), next(addresses)
    for number in range(PER_ADDRESS):
        # Those without a token count too.
        user = strict_server.make_user() if number % 2 else None
        assert (await connect(strict_server, user, local_address=here)).welcome
    for user in (None, strict_server.make_user()):
        end = await refused(connect, strict_server, user, local_address=here)
        stays_away(end, "too many connections of this address")
    assert (await connect(strict_server, local_address=elsewhere)).welcome


async def test_limits_hold_for_those_who_come_at_once(
    strict_server: ServerProcess, connect: Connect, addresses: Iterator[str]
) -> None:
    alice = strict_server.make_user()
    places = list(itertools.islice(addresses, 3))
    clients = await asyncio.gather(
        *(connect(strict_server, alice, local_address=place) for place in places * 3)
    )
    assert sum(bool(client.welcome) for client in clients) == PER_USER


async def test_an_address_may_knock_so_often_and_no_more(
    strict_server: ServerProcess, connect: Connect, addresses: Iterator[str]
) -> None:
    here = next(addresses)
    for _ in range(HANDSHAKES):
        client = await connect(strict_server, local_address=here)
        assert client.welcome
        await client.close()
        await closed_row(strict_server, client.connection_id)
    end = await refused(connect, strict_server, strict_server.make_user(), local_address=here)
    assert end.code == 4429
    assert end.disconnect["reconnect"] is True
    assert 1 <= end.disconnect["retry_after"] <= 5
    assert (await connect(strict_server, local_address=next(addresses))).welcome


@pytest.mark.parametrize("kind", KINDS)
async def test_a_full_node_sends_everybody_to_come_back(
    shared_server_with: ServerWith, connect: Connect, kind: str
) -> None:
    server = shared_server_with(kind=kind, OVARA_MAX_CONNECTIONS_PER_NODE="3")
    clients = await asyncio.gather(*(connect(server, server.make_user()) for _ in range(6)))
    accepted = [client for client in clients if client.welcome]
    assert len(accepted) == 3
    for client in clients:
        if not client.welcome:
            end = await client.closed()
            assert end.code == 4413
            assert end.disconnect is not None
            assert end.disconnect["reconnect"] is True
            assert end.disconnect["retry_after"] > 0
    await accepted[0].close()
    await closed_row(server, accepted[0].connection_id)
    assert (await connect(server)).welcome
    for client in accepted[1:]:
        await client.close()


async def test_a_refused_connection_leaves_no_row_and_nothing_to_send_to(
    any_server: ServerProcess, connect: Connect
) -> None:
    from connections.models import Client, Connection

    def counts() -> tuple[int, int]:
        def count(alias: str) -> tuple[int, int]:
            rows = Connection.objects.using(alias)
            return rows.count(), Client.objects.using(alias).count()

        return any_server.database.run(count)

    alice, bob = any_server.make_user(), any_server.make_user()
    hers = await connect(any_server, alice)
    before = counts()
    await refused(connect, any_server, bob, client_id=hers.client_id)
    await refused(connect, any_server, None, token="nonsense", via="subprotocol")
    await refused(connect, any_server, alice, client_id="malformed")
    assert counts() == before
