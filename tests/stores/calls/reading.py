"""Reads: history, joins, lists, look-ups, and what a node reads every second."""

from __future__ import annotations

from connections import joining, selectors
from connections.models import Connection
from ovara.accounts.models import User
from sessions_app.selectors import history, participants_among
from sessions_app.unread import conversation_news
from tests.stores.calls.calls import Calls, of_alice, rest
from tests.support.crowd import Crowd

CALLS = Calls()


@CALLS
def history_newest(crowd: Crowd) -> None:
    history(conversation_id=crowd.giant)


@CALLS
def history_oldest(crowd: Crowd) -> None:
    history(conversation_id=crowd.giant, after=0)


@CALLS
def history_before(crowd: Crowd) -> None:
    history(conversation_id=crowd.giant, before=crowd.giant_length // 2)


@CALLS
def history_after(crowd: Crowd) -> None:
    history(conversation_id=crowd.giant, after=crowd.giant_length // 2)


@CALLS
def history_rest(crowd: Crowd) -> None:
    rest(crowd.alice, f"/api/conversations/{crowd.giant}/messages", limit=200)


@CALLS
def join_reads(crowd: Crowd) -> None:
    joining.look_up(crowd.talk, None, None)


@CALLS
def join_reads_since(crowd: Crowd) -> None:
    joining.look_up(crowd.giant, crowd.giant_length - 20, None)


@CALLS
def conversations(crowd: Crowd) -> None:
    rest(crowd.alice, "/api/conversations", page_size=100)


@CALLS
def conversations_second_page(crowd: Crowd) -> None:
    rest(crowd.alice, "/api/conversations", page_size=50, page=3)


@CALLS
def conversation(crowd: Crowd) -> None:
    rest(crowd.alice, f"/api/conversations/{crowd.talk}")


@CALLS
def sessions_own(crowd: Crowd) -> None:
    rest(crowd.alice, "/api/sessions")


@CALLS
def session(crowd: Crowd) -> None:
    rest(crowd.alice, f"/api/sessions/{crowd.session}")


@CALLS
def client_connections(crowd: Crowd) -> None:
    assert len(rest(crowd.alice, f"/api/clients/{crowd.client}/connections")["connections"]) == 2


@CALLS
def feed_news(crowd: Crowd) -> None:
    everybody = User.objects.order_by("pk").values_list("pk", flat=True)[:300]
    conversation_news(of_alice(crowd, 100), {str(crowd.alice.pk)})
    conversation_news([crowd.talk], {str(pk) for pk in everybody})


@CALLS
def resync_participants(crowd: Crowd) -> None:
    participants_among({(crowd.talk, str(crowd.alice.pk)), (crowd.giant, str(crowd.alice.pk))})


@CALLS
def presence(crowd: Crowd) -> None:
    selectors.presence(crowd.talk)


@CALLS
def look_ups(crowd: Crowd) -> None:
    selectors.connection_node(crowd.connections[0])
    selectors.connections_of_user(str(crowd.alice.pk))
    selectors.connections_joined(crowd.giant, str(crowd.alice.pk))
    selectors.connections_of_token("nobody's")
    selectors.other_nodes(crowd.nodes[0])


@CALLS
def every_second(crowd: Crowd) -> None:
    selectors.requested_closes(crowd.nodes[0])
    some = Connection.objects.order_by("pk").values_list("user_id", "token_family")[:500]
    selectors.rights_lost({str(user) for user, _ in some}, {family for _, family in some})
