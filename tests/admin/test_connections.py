"""Connections, clients and nodes: what their pages say, find and allow."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client as Browser

from connections.models import Client, Connection, Node
from ovara.times import now
from tests.admin import rows
from tests.admin.pages import list_address, listed, page_address, text_of

pytestmark = pytest.mark.django_db


def test_live_connections_come_first_then_lost_then_closed_ones(admin: Browser) -> None:
    node, dead = rows.make_node(), rows.make_node(alive=False)
    moment = now()
    minutes = iter(range(6))

    def connect(**fields: object) -> Connection:
        at = moment + timedelta(minutes=next(minutes))
        return rows.make_connection(connected_at=at, **fields)  # type: ignore[arg-type]

    older_live, newer_live = connect(node=node), connect(node=node)
    lost = connect(node=dead)
    lost_of_stopped = connect(node=rows.make_node(stopped=True))
    later = moment + timedelta(minutes=10)
    older_closed = connect(node=node, closed=1000)
    newer_closed = connect(node=dead, closed=4408, disconnected_at=later)
    assert listed(admin, Connection) == [
        newer_live,
        older_live,
        lost_of_stopped,
        lost,
        newer_closed,
        older_closed,
    ]


def test_live_connections_come_first_when_no_node_is_alive(admin: Browser) -> None:
    dead = rows.make_node(alive=False)
    closed, lost = rows.make_connection(node=dead, closed=1000), rows.make_connection(node=dead)
    assert listed(admin, Connection) == [lost, closed]


def test_the_state_filter_tells_live_lost_and_closed_apart(admin: Browser) -> None:
    live = rows.make_connection()
    lost = rows.make_connection(node=rows.make_node(alive=False))
    of_stopped = rows.make_connection(node=rows.make_node(stopped=True))
    closed = rows.make_connection(closed=4408)
    assert listed(admin, Connection, state="live") == [live]
    assert set(listed(admin, Connection, state="lost")) == {lost, of_stopped}
    assert listed(admin, Connection, state="closed") == [closed]


def test_the_node_and_user_filters_find_their_connections(admin: Browser) -> None:
    node, alice = rows.make_node(), rows.make_user("alice")
    theirs = rows.make_connection(user=alice)
    there = rows.make_connection(node=node)
    rows.make_connection(user=rows.make_user("alice2"))
    assert listed(admin, Connection, node=str(node.pk)) == [there]
    assert listed(admin, Connection, user="alice") == [theirs]
    assert listed(admin, Connection, user="alice", node=str(node.pk)) == []


def test_the_user_filter_keeps_the_rest_of_the_query_and_lists_no_users(admin: Browser) -> None:
    rows.make_connection(user=rows.make_user("alice"))
    rows.make_user("somebody-not-connected")
    page = admin.get(list_address(Connection), {"state": "live", "q": "ali"}).content.decode()
    assert '<input type="hidden" name="state" value="live">' in page
    assert '<input type="hidden" name="q" value="ali">' in page
    assert "somebody-not-connected" not in page


def test_the_node_filter_offers_the_newest_nodes_alone(admin: Browser) -> None:
    nodes = [rows.make_node(f"host-{number}") for number in range(25)]
    page = text_of(admin, list_address(Connection))
    offered = [node for node in nodes if str(node) in page]
    assert len(offered) == 20


def test_connections_are_found_by_whole_id_user_name_and_address(admin: Browser) -> None:
    alice = rows.make_user("alice")
    one = rows.make_connection(user=alice, ip_address="192.0.2.7")
    other = rows.make_connection(ip_address="198.51.100.192")
    for key in (one.pk, one.client_id, one.session_id, alice.pk):
        assert listed(admin, Connection, q=str(key)) == [one]
    assert listed(admin, Connection, q=one.pk.hex.upper()) == [one]
    assert listed(admin, Connection, q=str(one.pk)[:-1]) == []
    assert listed(admin, Connection, q="LIC") == [one]
    assert listed(admin, Connection, q="192.0.") == [one]
    assert listed(admin, Connection, q="198.51") == [other]


def test_a_connection_says_in_words_when_it_was_last_seen(admin: Browser) -> None:
    moment = now() - timedelta(minutes=3, seconds=5)
    row = rows.make_connection(last_seen=moment)
    page = admin.get(list_address(Connection))
    assert "3 minutes ago" in text_of(admin, list_address(Connection))
    assert moment.strftime("%Y-%m-%d %H:%M:%S UTC") in page.content.decode()
    assert "3 minutes ago" in text_of(admin, page_address(row))


def test_a_connection_links_to_its_client_session_user_and_node(admin: Browser) -> None:
    row = rows.make_connection()
    assert row.client is not None
    assert row.session is not None
    assert row.user is not None
    for address in (list_address(Connection), page_address(row)):
        page = admin.get(address).content.decode()
        for target in (row.client, row.session, row.user, row.node):
            assert f'href="{page_address(target)}"' in page


def test_a_connection_that_is_not_authenticated_yet_is_shown(admin: Browser) -> None:
    row = Connection.objects.create(node=rows.make_node())
    assert listed(admin, Connection) == [row]
    assert "live" in text_of(admin, page_address(row))


def test_a_closed_connection_shows_its_code_and_reason(admin: Browser) -> None:
    row = rows.make_connection(closed=4408, close_reason="idle <b>")
    assert "closed 4408" in text_of(admin, list_address(Connection))
    assert "idle <b>" in text_of(admin, page_address(row))


def test_a_connection_shows_the_conversations_it_has_joined(admin: Browser) -> None:
    row = rows.make_connection()
    joined, left = rows.make_subscription(row), rows.make_subscription(row)
    left.left_at = now()
    left.save()
    page = admin.get(page_address(row)).content.decode()
    assert page_address(joined.conversation) in page
    assert page_address(left.conversation) not in page


def test_a_closed_connection_can_be_deleted_an_open_one_not(admin: Browser) -> None:
    closed, live = rows.make_connection(closed=1000), rows.make_connection()
    lost = rows.make_connection(node=rows.make_node(alive=False))
    assert admin.post(page_address(closed, "delete"), {"post": "yes"}).status_code == 302
    for row in (live, lost):
        assert admin.post(page_address(row, "delete"), {"post": "yes"}).status_code == 403
    assert set(Connection.objects.all()) == {live, lost}


def test_a_selection_with_an_open_connection_is_not_deleted(admin: Browser) -> None:
    closed, live = rows.make_connection(closed=1000), rows.make_connection()
    chosen = {"action": "delete_selected", "post": "yes"}
    admin.post(list_address(Connection), chosen | {"_selected_action": [closed.pk, live.pk]})
    assert Connection.objects.count() == 2
    admin.post(list_address(Connection), chosen | {"_selected_action": [closed.pk]})
    assert Connection.objects.get() == live


def test_clients_are_found_by_id_and_by_user(admin: Browser) -> None:
    alice = rows.make_user("alice")
    mine = rows.make_connection(user=alice).client
    rows.make_connection()
    assert mine is not None
    for query in ({"q": str(mine.pk)}, {"q": str(alice.pk)}, {"q": "ali"}, {"user": "alice"}):
        assert listed(admin, Client, **query) == [mine]


def test_a_client_counts_its_open_connections_and_links_to_its_session(admin: Browser) -> None:
    one = rows.make_connection()
    rows.make_connection(closed=1000)
    for _ in range(2):
        Connection.objects.create(node=one.node, client=one.client, user=one.user)
    counts = {row.pk: row.connection_count for row in listed(admin, Client)}
    assert one.client is not None
    assert one.session is not None
    assert sorted(counts.values()) == [0, 3]
    assert counts[one.client.pk] == 3
    page = admin.get(page_address(one.client)).content.decode()
    assert f'href="{page_address(one.session)}"' in page
    assert f'href="{list_address(Connection)}?q={one.client.pk}">3</a>' in page


def test_a_client_can_be_deleted_only_when_it_is_not_connected(admin: Browser) -> None:
    live, closed = rows.make_connection().client, rows.make_connection(closed=1000).client
    assert live is not None
    assert closed is not None
    assert admin.post(page_address(live, "delete"), {"post": "yes"}).status_code == 403
    assert admin.post(page_address(closed, "delete"), {"post": "yes"}).status_code == 302
    assert Client.objects.get() == live


def test_a_node_shows_whether_it_is_alive_and_what_it_holds(admin: Browser) -> None:
    alive, dead = rows.make_node("up"), rows.make_node("down", alive=False)
    stopped = rows.make_node("gone", stopped=True)
    for node, closed in ((alive, None), (alive, None), (alive, 1000), (dead, None)):
        rows.make_connection(node=node, closed=closed)
    page = admin.get(list_address(Node)).content.decode()
    cells = {
        node: page.split(f">{node}</a>")[1].split("</tr>")[0] for node in (alive, dead, stopped)
    }
    assert 'alt="True"' in cells[alive]
    assert f'href="{list_address(Connection)}?node={alive.pk}&amp;state=live">2</a>' in cells[alive]
    assert 'alt="False"' in cells[dead]
    assert "0 (1 lost)" in cells[dead]
    assert 'alt="False"' in cells[stopped]
    assert "11 seconds ago" in cells[dead].replace("\xa0", " ")


def test_a_node_can_not_be_deleted(admin: Browser) -> None:
    node = rows.make_node(stopped=True)
    assert admin.post(page_address(node, "delete"), {"post": "yes"}).status_code == 403
    assert Node.objects.get() == node
