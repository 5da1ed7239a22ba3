"""What the registry writes in a connection's life."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Q

from connections import selectors
from connections.models import Connection
from connections.registry import write_batch as registry
from connections.registry.activity import Beat
from connections.registry.closing import Close
from connections.registry.gate import Identity
from connections.registry.opening import Authenticate, Confirm, Open, Renew
from connections.registry.presence import Expel, SetAway, Settle, Subscribe, Unsubscribe
from connections.registry.requests import RequestClose
from ovara.ids import new_id
from ovara.times import now
from sessions_app.models import Participant, Session
from tests.stores.calls.calls import Calls, good, ref
from tests.support.crowd import Crowd

CALLS = Calls()


def identities(count: int, *, expired: bool = False) -> list[Identity]:
    """Of clients that were here before; or of some whose session has expired meanwhile."""
    over = Q(expires_at__lte=now())
    rows = Session.objects.filter(over if expired else Q(expires_at__gt=now())).order_by(
        "expires_at"
    )
    return [
        Identity(str(user), str(client), str(key), ("jti", "family"), "family")
        for user, client, key in rows.values_list("user_id", "client_id", "pk")[:count]
    ]


def opens(crowd: Crowd, who: Sequence[Identity | None]) -> list[Open]:
    return [
        Open(str(new_id()), crowd.nodes[0], one, one is not None, f"192.0.2.{number}", "B")
        for number, one in enumerate(who)
    ]


@CALLS
def opening(crowd: Crowd) -> None:
    good(registry(opens(crowd, identities(1))))


@CALLS
def opening_many(crowd: Crowd) -> None:
    good(registry(opens(crowd, identities(50))))


@CALLS
def opening_after_the_sessions_end(crowd: Crowd) -> None:
    good(registry(opens(crowd, identities(2, expired=True))))


@CALLS
def authenticating(crowd: Crowd) -> None:
    who = identities(20)
    some = opens(crowd, [None] * len(who))
    good(registry(some))
    pairs = zip(some, who, strict=True)
    good(registry([Authenticate(one.connection_id, identity) for one, identity in pairs]))
    ids = [one.connection_id for one in some]
    good(registry([Confirm(one) for one in ids]))
    good(registry([Renew(ids[0], str(who[0].session_id), who[0])]))


@CALLS
def closing(crowd: Crowd) -> None:
    rows = Connection.objects.filter(pk__in=crowd.connections)
    good(
        registry(
            [
                Close(str(row.pk), str(row.client_id), str(row.session_id), 1000, "gone")
                for row in rows
            ]
        )
    )


@CALLS
def joining_and_leaving(crowd: Crowd) -> None:
    one = crowd.connections[0]
    who = (ref(crowd.alice), crowd.client, crowd.nodes[0], False)
    good(registry([Subscribe(one, crowd.talk, *who)]))
    good(registry([SetAway(one, ref(crowd.alice), True)]))
    good(registry([Unsubscribe(one, crowd.talk)]))
    good(registry([Settle()]))
    good(registry([Expel(crowd.talk, str(crowd.alice.pk))]))


@CALLS
def joining_of_many_in_many(crowd: Crowd) -> None:
    parts = Participant.objects.select_related("user").order_by("-pk")[:100]
    ids = Connection.objects.order_by("pk").values_list("pk", flat=True)[:100]
    good(
        registry(
            [
                Subscribe(
                    str(connection_id),
                    str(part.conversation_id),
                    ref(part.user),
                    crowd.client,
                    crowd.nodes[0],
                    False,
                )
                for connection_id, part in zip(ids, parts, strict=True)
            ]
        )
    )


@CALLS
def beating(crowd: Crowd) -> None:
    heard = tuple(crowd.connections)
    good(registry([Beat(crowd.nodes[0], heard, heard, [crowd.session])]))


@CALLS
def asking_to_close(crowd: Crowd) -> None:
    good(registry([RequestClose(tuple(crowd.connections), 4510, "out")]))
    assert len(selectors.requested_closes(crowd.nodes[0])) == 2
