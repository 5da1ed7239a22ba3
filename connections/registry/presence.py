"""Jobs about who is in which conversation.

A user is present while they have a subscription, whatever node holds it: one that is open, or ended
and not settled yet, so that a reload is silent. `Settle` removes what is past the grace; whoever's
deletion takes a user's last row announces, so every leave is said once in the cluster. What others
were told is so always what the rows say; a dead node's rows end when it is reaped.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.contrib.auth import get_user_model
from django.db import connection, transaction

from connections.models import Subscription
from ovara.conf import ovara_settings
from ovara.errors import NotFound
from ovara.pairs import few_by_few
from ovara.times import now
from sessions_app.records import UserRef
from sessions_app.selectors import participants_among

# Subscriptions that one `Settle` removes at the most: under SQLite's limit of variables in a
# statement, and soon done. What is left after a mass departure waits for the next heartbeat.
SETTLED_AT_ONCE = 5_000

State = Literal["active", "away"]
Place = tuple[str, str]  # conversation id, user id


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """What others shall hear of a user in a conversation."""

    conversation_id: str
    event: Literal["joined", "left", "state"]
    user: UserRef
    state: State


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A connection joins a conversation."""

    connection_id: str
    conversation_id: str
    user: UserRef
    client_id: str
    node_id: str
    is_away: bool


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """A connection leaves a conversation."""

    connection_id: str
    conversation_id: str


@dataclass(frozen=True, slots=True)
class SetAway:
    """A connection's tab was hidden, or is shown again."""

    connection_id: str
    user: UserRef
    is_away: bool


@dataclass(frozen=True, slots=True)
class Expel:
    """A user has no part in a conversation any more."""

    conversation_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Settle:
    """Remove the subscriptions whose grace is over."""


# Jobs whose result is what others shall hear.
TELLING = (Subscribe, SetAway, Expel, Settle)


def write_subscribes(jobs: Sequence[Subscribe]) -> list[list[PresenceChange] | NotFound]:
    """Add subscriptions; for each what others shall hear, or NotFound without a part."""
    parts = participants_among({(job.conversation_id, job.user.id) for job in jobs})
    allowed = [job for job in jobs if (job.conversation_id, job.user.id) in parts]
    present = _hold({(job.conversation_id, job.user.id) for job in allowed})
    known = {(str(row.connection_id), str(row.conversation_id)): row for row in present.rows}
    fresh: list[Subscription] = []
    results: list[list[PresenceChange] | NotFound] = []
    for job in jobs:
        place = (job.conversation_id, job.user.id)
        if place not in parts:
            results.append(NotFound())
            continue
        before = present.state(place)
        row = known.get((job.connection_id, job.conversation_id))
        if row is None:
            row = _subscription(job)
            fresh.append(row)
            known[job.connection_id, job.conversation_id] = row
            present.add(row)
        elif row.left_at is not None:
            row.left_at, row.is_away = None, job.is_away
            Subscription.objects.filter(pk=row.pk).update(left_at=None, is_away=job.is_away)
        results.append(_change(place[0], job.user, before, present.state(place)))
    Subscription.objects.bulk_create(fresh)
    return results


def write_unsubscribes(jobs: Sequence[Unsubscribe]) -> list[None]:
    """End subscriptions; others hear of it when the grace is over."""
    by_conversation: dict[str, list[str]] = defaultdict(list)
    for job in jobs:
        by_conversation[job.conversation_id].append(job.connection_id)
    for conversation_id, connection_ids in by_conversation.items():
        Subscription.objects.filter(
            conversation_id=conversation_id, connection_id__in=connection_ids, left_at__isnull=True
        ).update(left_at=now())
    return [None] * len(jobs)


def write_aways(jobs: Sequence[SetAway]) -> list[list[PresenceChange]]:
    """Mark tabs as hidden or shown; a user is away when every tab is.

    Written before it is read: where no transaction holds both together (MongoDB), of two tabs on
    two nodes the later one sees the other. Then both may tell the same.
    """
    results: list[list[PresenceChange]] = []
    for job in jobs:
        own = Subscription.objects.filter(connection_id=job.connection_id, left_at__isnull=True)
        was_away = dict(own.values_list("conversation_id", "is_away"))
        own.update(is_away=job.is_away)
        places = {(str(conversation_id), job.user.id) for conversation_id in was_away}
        present = _Presence(places)
        after = {place: present.state(place) for place in places}
        for row in present.rows:
            if str(row.connection_id) == job.connection_id:
                row.is_away = was_away.get(row.conversation_id, row.is_away)
        changes: list[PresenceChange] = []
        for place in sorted(places):
            changes += _change(place[0], job.user, present.state(place), after[place])
        results.append(changes)
    return results


def write_expulsions(jobs: Sequence[Expel]) -> list[list[PresenceChange]]:
    """Delete a user's subscriptions to a conversation at once."""
    results: list[list[PresenceChange]] = []
    for job in jobs:
        rows = Subscription.objects.filter(conversation_id=job.conversation_id, user_id=job.user_id)
        deleted, _ = rows.delete()
        user = _users([job.user_id]).get(job.user_id)
        gone = PresenceChange(job.conversation_id, "left", user, "active") if user else None
        results.append([gone] if deleted and gone else [])
    return results


def write_settlements(jobs: Sequence[Settle]) -> list[list[PresenceChange]]:
    """Delete subscriptions past the grace; the first job gets what others shall hear."""
    cutoff = now() - timedelta(seconds=ovara_settings().presence_grace_seconds)
    over = list(
        Subscription.objects.filter(left_at__lte=cutoff).order_by("left_at", "id")[:SETTLED_AT_ONCE]
    )
    if not over:
        return [[] for _ in jobs]
    last = {_place(row): row.pk for row in over}
    present = _Presence(last)
    before = {place: present.state(place) for place in last}
    deleted = _delete_ended([row.pk for row in over], cutoff)
    present.drop({row.pk for row in over})
    users = _users(user_id for _, user_id in last)
    changes: list[PresenceChange] = []
    for place in sorted(last):
        # Where several nodes settle at once, one of them takes the last row.
        if last[place] in deleted and (user := users.get(place[1])) is not None:
            changes += _change(place[0], user, before[place], present.state(place))
    return [changes, *([] for _ in jobs[1:])]


class _RacedError(Exception):
    """Somebody else deleted some of the rows."""


def _delete_ended(keys: list[uuid.UUID], cutoff: datetime) -> set[uuid.UUID]:
    """Delete subscriptions that ended before `cutoff`; which of them it was we who deleted."""
    ended = Subscription.objects.filter(left_at__lte=cutoff)
    if connection.features.supports_transactions:
        try:
            with transaction.atomic():
                deleted, _ = ended.filter(pk__in=keys).delete()
                if deleted != len(keys):
                    raise _RacedError
            return set(keys)
        except _RacedError:
            pass
    return {key for key in keys if ended.filter(pk=key).delete()[0]}


class _Presence:
    """The subscriptions of some users in some conversations."""

    def __init__(self, places: Iterable[Place]) -> None:
        wanted = set(places)
        self.rows = [
            row
            for conversations, users in few_by_few(wanted)
            for row in Subscription.objects.filter(
                conversation_id__in=conversations, user_id__in=users
            )
            if _place(row) in wanted
        ]
        self._by_place: dict[Place, list[Subscription]] = defaultdict(list)
        for row in self.rows:
            self.add(row)

    def add(self, row: Subscription) -> None:
        self._by_place[_place(row)].append(row)

    def drop(self, keys: set[uuid.UUID]) -> None:
        for rows in self._by_place.values():
            rows[:] = [row for row in rows if row.pk not in keys]

    def state(self, place: Place) -> State | None:
        """None: not present."""
        rows = self._by_place.get(place)
        return presence_state(rows) if rows else None

    def waning(self) -> list[uuid.UUID]:
        """The rows of those who are present only until they are settled."""
        return [
            row.pk
            for rows in self._by_place.values()
            if all(row.left_at is not None for row in rows)
            for row in rows
        ]


def _hold(places: Iterable[Place]) -> _Presence:
    """Who is present; nobody is settled by another node before this transaction ends."""
    present = _Presence(places)
    waning = present.waning()
    ended = Subscription.objects.filter(pk__in=waning, left_at__isnull=False)
    if waning and ended.update(left_at=now()) != len(waning):
        return _Presence(places)
    return present


def _place(row: Subscription) -> Place:
    return str(row.conversation_id), str(row.user_id)


def presence_state(rows: Sequence[Subscription]) -> State:
    """Away when every tab is. One in its grace counts as it was: it may be a reload."""
    return "away" if all(row.is_away for row in rows) else "active"


def _change(
    conversation_id: str, user: UserRef, before: State | None, after: State | None
) -> list[PresenceChange]:
    if before == after:
        return []
    if before is None and after is not None:
        return [PresenceChange(conversation_id, "joined", user, after)]
    if after is None:
        return [PresenceChange(conversation_id, "left", user, before or "active")]
    return [PresenceChange(conversation_id, "state", user, after)]


def _users(user_ids: Iterable[str]) -> dict[str, UserRef]:
    rows = get_user_model()._default_manager.filter(pk__in=set(user_ids))
    return {str(pk): UserRef(str(pk), name) for pk, name in rows.values_list("pk", "username")}


def _subscription(job: Subscribe) -> Subscription:
    return Subscription(
        connection_id=job.connection_id,
        conversation_id=job.conversation_id,
        user_id=job.user.id,
        client_id=job.client_id,
        node_id=job.node_id,
        is_away=job.is_away,
    )


def conversations_joined(connection_ids: Iterable[str]) -> dict[str, list[str]]:
    """The conversations that open connections have joined, by connection id."""
    joined: dict[str, list[str]] = defaultdict(list)
    rows = Subscription.objects.filter(connection_id__in=list(connection_ids), left_at__isnull=True)
    for connection_id, conversation_id in rows.values_list("connection_id", "conversation_id"):
        joined[str(connection_id)].append(str(conversation_id))
    return joined
