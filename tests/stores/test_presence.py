"""Presence on each store: nodes that decide at once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from connections.models import Client, Connection, Node, Subscription
from sessions_app.models import Conversation
from tests.stores.writers import HIDERS, side_by_side
from tests.support.database import Database

# Conversations in each of which a user has a tab on either node.
CONVERSATIONS = 30


def test_of_the_last_two_tabs_that_are_hidden_on_two_nodes_at_once_one_says_away(
    database_template: Database, tmp_path: Path
) -> None:
    database = database_template.copy_to(tmp_path / "db.sqlite3")
    user = database.make_user("alice").user
    client = Client(user_id=user.pk)
    node = Node(hostname="here", pid=1)
    talks = [Conversation() for _ in range(CONVERSATIONS)]
    tabs = [
        [Connection(node_id=node.pk, client_id=client.pk, user_id=user.pk) for _ in talks]
        for _ in ("here", "there")
    ]
    subscriptions = [
        Subscription(
            conversation_id=talk.pk,
            connection_id=tab.pk,
            user_id=user.pk,
            client_id=client.pk,
            node_id=node.pk,
        )
        for side in tabs
        for talk, tab in zip(talks, side, strict=True)
    ]

    def write(alias: str) -> None:
        client.save(using=alias)
        node.save(using=alias)
        Conversation.objects.using(alias).bulk_create(talks)
        Connection.objects.using(alias).bulk_create([tab for side in tabs for tab in side])
        Subscription.objects.using(alias).bulk_create(subscriptions)

    database.run(write)
    told = side_by_side(
        HIDERS, database, [(str(user.pk), *(str(tab.pk) for tab in side)) for side in tabs]
    )
    hidden = database.run(
        lambda alias: set(Subscription.objects.using(alias).values_list("is_away"))
    )
    assert hidden == {(True,)}
    times = Counter(talk for side in told for changes in side for talk in changes)
    assert set(times) == {str(talk.pk) for talk in talks}
    if database.store.kind in {"sqlite", "postgresql"}:
        assert set(times.values()) == {1}
