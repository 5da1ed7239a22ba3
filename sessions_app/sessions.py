"""Opening and resuming sessions, many at a time."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from ovara.conf import ovara_settings
from ovara.ids import key_of, new_text_id
from ovara.prepared import PreparedSelect, PreparedUpdate, as_json, as_moment, as_uuid
from ovara.prepared_insert import PreparedInsert
from ovara.times import now
from sessions_app.models import Session


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A client's session; `resumed`: it existed before this connection."""

    id: str
    resumed: bool
    state: dict[str, Any]


def session_end(moment: datetime) -> datetime:
    """When a session that was active at `moment` expires."""
    return moment + timedelta(days=ovara_settings().session_ttl_days)


@dataclass(slots=True)
class _Row:
    """A session as it is, or shall be, in the database."""

    id: str
    client_id: str
    user_id: str
    state: dict[str, Any]
    expires_at: datetime


class SessionBook:
    """The sessions that one batch of connections needs: two queries to read, three to write."""

    def __init__(self, *, session_ids: Collection[str], client_ids: Collection[str]) -> None:
        self.moment = now()
        rows = _rows(_BY_ID, session_ids)
        rows += _rows(_BY_CLIENT, set(client_ids) | {row.client_id for row in rows})
        self._by_client = {row.client_id: row for row in rows}
        self._clients = {row.id: row.client_id for row in rows}
        self._fresh: dict[str, _Row] = {}
        self._expired: list[_Row] = []
        self._resumed: set[str] = set()

    def client_ids(self) -> set[str]:
        """The clients of every session that was found."""
        return set(self._by_client)

    def client_of(self, session_id: str, user_id: str) -> str | None:
        """The client of a session; None for one that is unknown, expired or another user's."""
        row = self._by_client.get(self._clients.get(session_id, ""))
        if row is None or row.expires_at <= self.moment or row.user_id != user_id:
            return None
        return row.client_id

    def open(self, *, client_id: str, user_id: str) -> OpenedSession:
        """Resume the client's session, or begin one where it has none that is good."""
        row = self._by_client.get(client_id)
        good = row is not None and row.expires_at > self.moment and row.user_id == user_id
        if row is None or not good:
            if row is not None:
                self._expired.append(row)
            fresh = _Row(new_text_id(), client_id, user_id, {}, session_end(self.moment))
            self._by_client[client_id] = self._fresh[client_id] = fresh
            return OpenedSession(fresh.id, resumed=False, state={})
        if client_id not in self._fresh:
            self._resumed.add(row.id)
        return OpenedSession(row.id, resumed=True, state=row.state)

    def save(self) -> None:
        """Write what was opened."""
        if self._expired:
            Session.objects.filter(pk__in=[row.id for row in self._expired]).delete()
        _INSERT.run(
            [
                (
                    row.id,
                    row.client_id,
                    row.user_id,
                    row.state,
                    self.moment,
                    self.moment,
                    row.expires_at,
                )
                for row in self._fresh.values()
            ]
        )
        sessions_touch(self._resumed, self.moment)


def sessions_touch(session_ids: Collection[str], moment: datetime) -> None:
    """Say that these sessions were in use at `moment`, and so live on."""
    if session_ids:
        _TOUCH.run([([key_of(one) for one in session_ids], moment, session_end(moment))])


def sessions_states(session_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """The states of some sessions, by their ids."""
    rows = Session.objects.filter(pk__in=session_ids)
    return {str(pk): state for pk, state in rows.values_list("pk", "state")}


def sessions_expired() -> QuerySet[Session]:
    """Sessions that can't be resumed any more."""
    return Session.objects.filter(expires_at__lte=now())


def sessions_purge() -> int:
    """Delete expired sessions. Returns how many."""
    expired = list(sessions_expired().values_list("pk", flat=True))
    for start in range(0, len(expired), 500):
        Session.objects.filter(pk__in=expired[start : start + 500]).delete()
    return len(expired)


def _rows(select: PreparedSelect, ids: Collection[str]) -> list[_Row]:
    if not ids:
        return []
    return [
        _Row(as_uuid(pk), as_uuid(client), as_uuid(user), as_json(state), as_moment(end))
        for pk, client, user, state, end in select.rows([key_of(one) for one in ids])
    ]


def _by(lookup: str) -> PreparedSelect:
    columns = ("pk", "client_id", "user_id", "state", "expires_at")
    return PreparedSelect(
        lambda ids: Session.objects.filter(**{lookup: ids}).order_by().values_list(*columns)
    )


def _touch(
    ids: list[uuid.UUID], moment: datetime, end: datetime
) -> tuple[QuerySet[Session], dict[str, Any]]:
    return Session.objects.filter(pk__in=ids), {"last_active_at": moment, "expires_at": end}


_BY_ID, _BY_CLIENT = _by("pk__in"), _by("client_id__in")
_TOUCH = PreparedUpdate(_touch)
_INSERT = PreparedInsert(
    Session,
    "id",
    "client_id",
    "user_id",
    "state",
    "created_at",
    "last_active_at",
    "expires_at",
)
